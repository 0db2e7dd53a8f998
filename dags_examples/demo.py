"""Run the example DAGs in real Airflow, with real triggers, and show what came home.

``make demo`` runs them against the emulator; with ``MODEL_ACCESS_KEY`` set, against the real API, which costs money.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.sdk import DAG
    from sqlalchemy.orm import Session

EXAMPLES = ("daily_image", "mapped_prompts", "batch", "audio_and_speech", "make_assets", "check_assets")
#: The one whose files go to an S3 server, where one is started here, and the connection that leads there.
ON_S3, S3_CONN_ID, BUCKET = "make_assets", "falinvoke_s3", "demo"
HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run the examples; return 0 if all of them succeeded."""
    started = time.monotonic()
    output = Path.cwd() / "demo-output" / datetime.now().strftime("%Y-%m-%d_%H%M%S")
    with tempfile.TemporaryDirectory() as home, _connections() as connections:
        _prepare(Path(home), connections)
        print("Starting Airflow (a throw-away one, in this process) ...", flush=True)
        from airflow.utils.db import initdb

        initdb()
        progress = _Progress()
        rows: list[tuple[str, ...]] = []
        failed = []
        for name in EXAMPLES:
            print(f"\n{name}", flush=True)
            on_s3 = name == ON_S3 and S3_CONN_ID in connections
            os.environ["AIRFLOW_VAR_FALINVOKE_OUTPUT"] = f"s3://{S3_CONN_ID}@{BUCKET}" if on_s3 else output.as_uri()
            dag = importlib.import_module(f"dags_examples.{name}").dag
            run = run_for_its_assets(dag) if isinstance(dag.schedule, list) else dag.test()
            if str(run.state) != "success":
                failed.append(name)
            for ti in run.get_task_instances():
                rows += _rows(ti, progress.requests)
    _table(rows)
    print(f"\nFiles: {output}\n{time.monotonic() - started:.0f} s in all")
    if failed:
        print(f"FAILED: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def run_for_its_assets(dag: DAG) -> DagRun:
    """Run a DAG that is scheduled on assets, in this process, because of their events.

    A function of Airflow's own scheduler makes the run out of the events that lie in the database, as in a deployment;
    ``dag.test()``, which would make one without any, runs its tasks.

    :param dag: a DAG that Airflow knows.
    :return: the run, ended.
    :raises LookupError: no event asks for a run.
    """
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.sqlalchemy import prohibit_commit
    from sqlalchemy import select

    with create_session() as session, prohibit_commit(session) as guard:
        SchedulerJobRunner(job=Job())._create_dagruns_for_dags(guard, session)

    def made_by_the_scheduler(*, session: Session, dag: Any, start_date: datetime, **_: Any) -> DagRun:
        wanted = select(DagRun).where(DagRun.dag_id == dag.dag_id, DagRun.state == "queued")
        run: DagRun | None = session.scalar(wanted)
        if run is None:
            raise LookupError(f"no asset event asks for a run of {dag.dag_id}")
        run.dag, run.start_date, run.state = dag, start_date, "running"
        session.commit()
        return run

    with mock.patch("airflow.models.dagrun.get_or_create_dagrun", made_by_the_scheduler):
        ran: DagRun = dag.test()
    return ran


@contextlib.contextmanager
def _connections() -> Iterator[dict[str, dict[str, Any]]]:
    """Give the connections' fields: to the real API with a key in the environment, else to servers started here."""
    if key := os.environ.get("MODEL_ACCESS_KEY"):
        print("MODEL_ACCESS_KEY is set: this runs fifteen jobs on the real API, and they are paid.")
        yield {"falinvoke_default": {"conn_type": "falinvoke", "password": key}}
        return
    from airflow_provider_falinvoke.emulator import Emulator

    with Emulator() as emulator, _s3_server() as s3:
        print(f"No MODEL_ACCESS_KEY: this runs against an emulator of the API on {emulator.url}, for free,")
        print(f"and against an S3 server on {s3['extra']['endpoint_url']}.")
        yield {"falinvoke_default": emulator.connection, S3_CONN_ID: s3}


@contextlib.contextmanager
def _s3_server() -> Iterator[dict[str, Any]]:
    """Serve S3 on this machine, out of memory, with an empty bucket; give the connection's fields."""
    import boto3  # type: ignore[import-untyped]  # no stubs
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        at = {"endpoint_url": f"http://{host}:{port}", "region_name": "us-east-1"}
        fields: dict[str, Any] = {"conn_type": "aws", "login": "demo", "password": "demo", "extra": at}
        client = boto3.client("s3", aws_access_key_id=fields["login"], aws_secret_access_key=fields["password"], **at)
        client.create_bucket(Bucket=BUCKET)
        yield fields
    finally:
        server.stop()


def _prepare(home: Path, connections: dict[str, dict[str, Any]]) -> None:
    # Settings of this shell might lead to somebody's real database, or real cloud.
    for name in [name for name in os.environ if name.startswith(("AIRFLOW", "AWS"))]:
        del os.environ[name]
    os.environ.update(
        {f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(fields) for conn_id, fields in connections.items()},
        AIRFLOW_HOME=str(home),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__CORE__DAGS_FOLDER=str(HERE),
        AIRFLOW__LOGGING__LOGGING_LEVEL="ERROR",
    )


class _Progress(logging.Handler):
    """Print the package's log lines as they come, and count the GETs of each job in those that are for debugging."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: Counter[str] = Counter()
        logger = logging.getLogger("airflow_provider_falinvoke")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(self)
        logging.getLogger("airflow_provider_falinvoke.api.drivers").setLevel(logging.DEBUG)

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.levelno > logging.DEBUG:
            print(f"  {datetime.now():%H:%M:%S} {message}", flush=True)
        elif match := re.search(r"GET /v1/async-invoke/([\w-]+)", message):
            self.requests[match[1]] += 1


def _rows(ti: TaskInstance, gets: Counter[str]) -> Iterator[tuple[str, ...]]:
    task = ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]"
    result = ti.xcom_pull(task_ids=ti.task_id, map_indexes=None if ti.map_index < 0 else ti.map_index)
    if not isinstance(result, dict):
        if str(ti.state) != "success":
            yield task, f"({ti.state})", "", "", "", ""
        return
    from airflow.sdk import ObjectStoragePath

    lines = ObjectStoragePath(result["manifest"]).read_text().splitlines() if "items" in result else []
    for number, job in enumerate(map(json.loads, lines) if lines else [result]):
        request_id = str(job["request_id"])
        files = ", ".join(Path(file["path"]).name for file in job["files"])
        name = f"{task} #{number}" if lines else task
        yield name, str(job["model_id"]), request_id, str(job["seconds"]), str(1 + gets[request_id]), files


def _table(rows: list[tuple[str, ...]]) -> None:
    head = ("task", "model", "request_id", "seconds", "requests", "file")
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    print()
    for row in (head, tuple("-" * width for width in widths), *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
