"""A place to break things: an Airflow on PostgreSQL with two triggerers, an emulator, S3, and jobs to watch.

Each job has a model of its own, so that the emulator's records and faults can be told apart.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from airflow_provider_falinvoke.emulator import Emulator
from tests.airflow import xcom_away
from tests.airflow.audit import Paid
from tests.airflow.deployment import Deployment
from tests.airflow.door import Door
from tests.airflow.job import Job
from tests.airflow.xcom_away import XComAway
from tests.support.s3 import Bucket, new_bucket, s3_serving

ROOT = Path(__file__).parents[2]
POSTGRES = "127.0.0.1"
DAGS = Path(__file__).parent / "dags"
#: Whatever lies below these is a model of the lab.
MODELS = {"fal-ai/flux": 2.0, "fal-ai/elevenlabs/tts": 4.0}
#: Defaults but for the two times after which Airflow notices a dead task, 300 s each, so that a row takes a minute.
SETTINGS = {
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
}


class Lab:
    """The emulator, the deployment, its database, and an S3 server where a test wants one."""

    def __init__(
        self, home: Path, emulator: Emulator, airflow: Deployment, database: str, bucket: Bucket | None = None
    ) -> None:
        self.home = home
        self.emulator = emulator
        self.airflow = airflow
        self.database = database
        self._bucket = bucket
        self._doors = ExitStack()
        self._numbers = itertools.count(1)

    def close(self) -> None:
        """Shut all doors."""
        self._doors.close()

    def door(self, port: int) -> Door:
        """Return a new door, open, to a server on this machine."""
        return self._doors.enter_context(Door(port))

    def connect(self, fields: Mapping[str, Any]) -> str:
        """Store a connection in Airflow's database, and return its conn_id."""
        conn_id = f"conn_{next(self._numbers)}"
        self.airflow.connect(conn_id, fields)
        return conn_id

    @property
    def bucket(self) -> Bucket:
        """The bucket on the S3 server."""
        assert self._bucket is not None, "this lab has no S3 server"
        return self._bucket

    @property
    def s3_port(self) -> int:
        """The S3 server's port."""
        return int(self.bucket.url.rpartition(":")[2])

    def bucket_behind(self, door: Door) -> str:
        """Return a folder of the bucket, by a connection that leads through a door, as ``output_path`` takes it."""
        fields = json.loads(self.bucket.connection_json)
        fields["extra"]["endpoint_url"] = f"http://127.0.0.1:{door.port}"
        conn_id = self.connect(fields)
        return f"s3://{conn_id}@{self.bucket.bucket}/{conn_id}"

    def read(self, path: str) -> bytes:
        """Return what lies at a path of a result, ``file://…`` or ``s3://…``."""
        if path.startswith("s3://"):
            key = path.partition(f"{self.bucket.bucket}/")[2]
            return bytes(self.bucket.client.get_object(Bucket=self.bucket.bucket, Key=key)["Body"].read())
        return Path(path.removeprefix("file://")).read_bytes()

    def bills(self, model_id: str) -> list[Paid]:
        """Return the jobs that the emulator made of one request, told by a model of its own."""
        return [
            Paid(job.request_id, job.created_at, job.status == "FAILED")
            for job in self.emulator.jobs.values()
            if job.model_id == model_id
        ]

    def processes_of(self, task_instance: str) -> tuple[psutil.Process, list[psutil.Process]]:
        """Return the process that supervises a task instance now, by its id, and those that run it."""
        scheduler = psutil.Process(self.airflow.processes["scheduler"].pid)
        for worker in scheduler.children(recursive=True):
            with suppress(psutil.Error):
                if task_instance in " ".join(worker.cmdline()):
                    return worker, worker.children()
        raise AssertionError(f"no process runs the task instance {task_instance}")

    def named(self, request_ids: Collection[str], log: str = "") -> set[str]:
        """Return those request_ids that stand in a log file of any component or task, or in a batch's journal.

        :param log: one that may tell sooner.
        """
        missing = {request_id for request_id in request_ids if request_id not in log}
        for text in self._texts():
            if not missing:
                break
            missing = {request_id for request_id in missing if request_id.encode() not in text}
        return set(request_ids) - missing

    def _texts(self) -> Iterator[bytes]:
        for path in itertools.chain((self.home / "airflow").rglob("*.log*"), (self.home / "out").rglob("_batch/*")):
            if path.is_file():
                yield path.read_bytes()
        yield from (content for key, content in self.bucket.objects().items() if "/_batch/" in key)

    @contextmanager
    def xcom_away(self, run_id: str = xcom_away.ALL, *, hangs: bool = False) -> Iterator[None]:
        """Let the XCom backend take nothing, for one run or for all.

        :param hangs: it does not refuse either.
        """
        flag = self.home / "xcom-away" / run_id
        flag.parent.mkdir(exist_ok=True)
        flag.write_text(xcom_away.HANGS if hangs else "")
        try:
            yield
        finally:
            flag.unlink()

    def job(self, name: str, path: str, *, seconds: float = 12.0, timeout: float = 600.0, output: str = "") -> Job:
        """Return a job that is not yet started; see :class:`Job`."""
        output = output or f"file://{self.home}/out/{name}"
        return Job(self, f"fal-ai/flux/{name}", path, seconds=seconds, timeout=timeout, output=output)

    def until(self, what: str, check: Callable[[], Any], seconds: float = 90.0) -> Any:
        """Wait until ``check`` is true; a call that fails meanwhile is asked again (a component may be down).

        Components that end by themselves, as they do without their database, are started again meanwhile.
        """

        def checked() -> Any:
            self.airflow.revive()
            with suppress(httpx.HTTPError):
                return check()
            return None

        return self.airflow.until(what, checked, seconds=seconds)


@contextmanager
def opened(home: Path) -> Iterator[Lab]:
    """Give a lab; a test is skipped where no PostgreSQL answers, unless FALINVOKE_REQUIRE_POSTGRES is set."""
    with (
        own_database() as database,
        Emulator(durations=MODELS, quota_per_minute=None, quota_per_hour=None) as emulator,
        s3_serving() as (url, client),
        Deployment(
            home / "airflow",
            DAGS,
            {"falinvoke_default": emulator.connection},
            database=url_of(database),
            triggerers=2,
            settings={
                **SETTINGS,
                "AIRFLOW__CORE__XCOM_BACKEND": f"{XComAway.__module__}.{XComAway.__name__}",
                xcom_away.VARIABLE: str(home / "xcom-away"),
                "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            },
        ) as airflow,
    ):
        lab = Lab(home, emulator, airflow, database, new_bucket(url, client))
        with closing(lab):
            yield lab


@contextmanager
def own_database() -> Iterator[str]:
    """Give a database of one's own by its name, and drop it afterwards."""
    database = f"falinvoke_{os.getpid()}_{int(time.time())}"
    require_postgres()
    sql(f'create database "{database}"')
    try:
        yield database
    finally:
        sql(f'drop database if exists "{database}" with (force)')


def url_of(database: str) -> str:
    """Return a database's URL as Airflow takes it."""
    return f"postgresql+psycopg2://postgres@{POSTGRES}:5432/{database}"


def require_postgres() -> None:
    """Skip the test, or fail it where FALINVOKE_REQUIRE_POSTGRES is set, if no PostgreSQL answers."""
    try:
        sql("select 1")
    except (OSError, RuntimeError) as error:
        reason = f"no PostgreSQL on {POSTGRES}:5432 for the user postgres: {error}"
        if os.environ.get("FALINVOKE_REQUIRE_POSTGRES"):
            pytest.fail(reason)
        pytest.skip(reason)


def sql(statement: str, database: str = "postgres") -> None:
    """Run a statement outside of any transaction."""
    import psycopg2

    try:
        connection = psycopg2.connect(host=POSTGRES, user="postgres", dbname=database, connect_timeout=5)
    except psycopg2.OperationalError as error:
        raise RuntimeError(str(error).strip()) from error
    try:
        connection.autocommit = True
        connection.cursor().execute(statement)
    finally:
        connection.close()


def outage(database: str, seconds: float) -> None:
    """Cut all connections to a database of ours and let no new ones in for a while, as a restart does."""
    sql(f'alter database "{database}" allow_connections false')
    try:
        sql(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database}'")
        time.sleep(seconds)
    finally:
        sql(f'alter database "{database}" allow_connections true')


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """Mount a file system of ``size`` on ``folder``; gives a function that changes its size. Needs root."""
    folder.mkdir(parents=True, exist_ok=True)

    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, capture_output=True)

    mount(f"size={size}")
    try:
        yield lambda new: mount(f"remount,size={new}")
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)
