"""Runs the first halves of a DAG's tasks, up to their deferral, in this process.

``python -m benchmarks.support.first_halves DAG_ID`` does what ``dag.test()`` does with a task, by the same functions of
Airflow: its in-process supervisor runs the operator, and its own Execution API stores the deferral in the metadata
database, exactly as for a worker; but each task is left deferred for a real triggerer to find.
"""

from __future__ import annotations

import logging
import os
import sys
import time


def main(dag_id: str) -> None:
    """Make a run of the DAG and run its tasks until all have deferred."""
    # Before Airflow is imported: the log of 1,000 tasks is nobody's to read.
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
    from airflow import settings
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    from airflow.models.dagrun import DagRun, get_or_create_dagrun
    from airflow.sdk import timezone
    from airflow.sdk.definitions.dag import _run_task
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.utils.state import TaskInstanceState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    logging.disable(logging.WARNING)
    assert settings.Session is not None, "Airflow makes it when it is imported"
    session = settings.Session()
    manager = DagBundlesManager()
    manager.sync_bundles_to_db(session=session)
    session.commit()
    bundle = next(iter(manager.get_all_dag_bundles()))
    bundle.initialize()
    bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
    assert not bag.import_errors, bag.import_errors
    sync_bag_to_db(bag, bundle.name, bundle.version)
    dag = bag.dags[dag_id]
    now = timezone.utcnow()
    run = get_or_create_dagrun(
        dag=DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag)),
        start_date=now,
        logical_date=now,
        data_interval=None,
        run_after=now,
        run_id=DagRun.generate_run_id(run_type=DagRunType.MANUAL, logical_date=now, run_after=now),
        session=session,
        conf=None,
        triggered_by=DagRunTriggeredByType.TEST,
        triggering_user_name="benchmark",
    )
    waiting, _ = run.update_state(session=session)
    for each in waiting:
        each.try_number += 1
        each.state = TaskInstanceState.SCHEDULED
        each.scheduled_dttm = timezone.utcnow()
    session.commit()
    since, cpu = time.monotonic(), time.process_time()
    for each in run.get_task_instances(session=session):
        _run_task(ti=each, task=dag.task_dict[each.task_id], run_triggerer=False)
    session.expire_all()
    states = [str(each.state) for each in run.get_task_instances(session=session)]
    assert set(states) == {"deferred"}, {state: states.count(state) for state in states}
    print(
        f"deferred {len(states)} in {time.monotonic() - since:.0f} s, {time.process_time() - cpu:.0f} s of CPU",
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1])
