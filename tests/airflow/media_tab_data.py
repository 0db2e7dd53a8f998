"""Writes a run and the results of its tasks to the database of a deployment, and prints who may come with what.

The tokens of two users, and the task that still runs, with the token and the heartbeat of its worker.

``python -m tests.airflow.media_tab_data``, in the deployment's environment; the results by task as JSON on stdin.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from typing import Any

RUN_ID = "manual__2026-01-01T00:00:00+00:00"
DAG_ID = "pictures"


#: The task that runs, and where it says that it does.
RUNNING = "running"
HOST, PID = "a-worker", 7
HEARTBEAT = {"hostname": HOST, "pid": PID}


def write(results: dict[str, Any]) -> str:
    """Make a DAG of tasks that ended in success, each with a result; return the id of the one that runs."""
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.xcom import XComModel
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    from tests.support.dags import store

    with DAG(DAG_ID, schedule=None, start_date=datetime(2026, 1, 1)) as dag:
        for task_id in results:
            EmptyOperator(task_id=task_id)
    with create_session() as session:
        session.merge(DagBundleModel(name="dags-folder"))
    store(dag)
    with create_session() as session:
        stored = SerializedDagModel.get_dag(DAG_ID, session=session)
        assert stored is not None
        now = datetime.now(timezone.utc)
        run = stored.create_dagrun(
            run_id=RUN_ID,
            run_after=now,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state="running",  # type: ignore[arg-type]  # its text is its value
            session=session,
        )
        session.flush()
        for ti in run.get_task_instances(session=session):
            ti.state = "success"
            if ti.task_id == RUNNING:
                ti.state, ti.hostname, ti.pid = "running", HOST, PID
                running = str(ti.id)
        session.flush()
        for task_id, value in results.items():
            XComModel.set(
                key="return_value", value=value, dag_id=DAG_ID, task_id=task_id, run_id=RUN_ID, session=session
            )
    return running


def token(role: str | None) -> str:
    """Return what a user of this role signs in with; None has no right to anything."""
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    return str(SimpleAuthManager().generate_jwt(SimpleAuthManagerUser(username=f"a {role}", role=role)))


def worker_token(ti_id: str) -> str:
    """Return what the process of a task signs in with."""
    from airflow.api_fastapi.auth.tokens import JWTGenerator, get_signing_args
    from airflow.configuration import conf

    audience = conf.get_mandatory_list_value("execution_api", "jwt_audience")[0]
    generator = JWTGenerator(valid_for=600, audience=audience, **get_signing_args(make_secret_key_if_needed=False))
    return str(generator.generate({"sub": ti_id}))


if __name__ == "__main__":
    ti_id = write(json.load(sys.stdin))
    tokens = {"viewer": token("viewer"), "nobody": token(None), "worker": worker_token(ti_id)}
    print(json.dumps({"tokens": tokens, "running": ti_id}))
