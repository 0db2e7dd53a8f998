"""Runs tasks in real Airflow, in this process, with ``dag.test()``."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.sdk import DAG

_numbers = itertools.count(1)


@dataclass
class Ran:
    """What became of a run.

    :param states: each task's last state, by its id (``id[2]`` for a mapped one).
    :param tries: how often each was tried.
    :param results: what each one returned.
    :param pushed: the XComs that each one pushed under the key ``request_id``.
    :param errors: what each failed one raised, the last time.
    :param deferred: the trigger's keyword arguments, for each deferral.
    """

    state: str
    states: dict[str, str] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    pushed: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, BaseException] = field(default_factory=dict)
    deferred: list[dict[str, Any]] = field(default_factory=list)


def run_tasks(build: Callable[[], Any], *, dag_args: dict[str, Any] | None = None) -> Ran:
    """Make a DAG of the tasks that ``build`` makes, and run it.

    :param build: makes the tasks; called within the DAG. A retry follows at once.
    """
    from airflow.sdk import DAG

    with DAG(
        f"test_{next(_numbers)}",
        schedule=None,
        start_date=datetime(2026, 1, 1),
        default_args={"retries": 0, "retry_delay": timedelta(0)},
        **(dag_args or {}),
    ) as dag:
        build()
    store(dag)
    return run_dag(dag)


def store(dag: DAG) -> None:
    """Write a DAG that lies in no file to Airflow's database, as the DAG processor would."""
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import LazyDeserializedDAG

    try:
        from airflow.serialization.definitions.dag import SerializedDAG
    except ImportError:  # Airflow 3.1
        from airflow.serialization.serialized_objects import SerializedDAG  # type: ignore[attr-defined]  # moved in 3.2

    lazy = LazyDeserializedDAG.from_dag(dag)
    SerializedDAG.bulk_write_to_db("dags-folder", None, [lazy])
    SerializedDagModel.write_dag(lazy, bundle_name="dags-folder")


def run_dag(dag: DAG, start: Callable[[DAG], DagRun] | None = None) -> Ran:
    """Run a DAG that Airflow knows.

    :param start: makes a run and runs it to its end in this process; ``dag.test()`` by default.
    """
    from unittest import mock

    from airflow.sdk.execution_time import supervisor

    from airflow_provider_falinvoke.triggers.falinvoke import FalInvokeTrigger

    deferred: list[dict[str, Any]] = []
    run_trigger = FalInvokeTrigger.run

    def watched_run(trigger: FalInvokeTrigger) -> Any:
        deferred.append(trigger.serialize()[1])
        return run_trigger(trigger)

    errors: dict[str, BaseException] = {}
    run_task = supervisor.run_task_in_process

    def watched_task(ti: Any, task: Any) -> Any:
        # Airflow 3.1 calls no failure callbacks in dag.test().
        result = run_task(ti, task)
        if result.error is not None:
            errors[ti.task_id] = result.error
        return result

    with (
        mock.patch.object(FalInvokeTrigger, "run", watched_run),
        mock.patch.object(supervisor, "run_task_in_process", watched_task),
    ):
        run = start(dag) if start else dag.test()
    ran = Ran(str(run.state.value if hasattr(run.state, "value") else run.state), deferred=deferred, errors=errors)
    for ti in run.get_task_instances():
        mapped = ti.map_index >= 0
        name = f"{ti.task_id}[{ti.map_index}]" if mapped else ti.task_id
        ran.states[name] = str(getattr(ti.state, "value", ti.state))
        ran.tries[name] = ti.try_number
        indexes = ti.map_index if mapped else None
        ran.results[name] = ti.xcom_pull(task_ids=ti.task_id, map_indexes=indexes)
        ran.pushed[name] = ti.xcom_pull(task_ids=ti.task_id, map_indexes=indexes, key="request_id")
    return ran
