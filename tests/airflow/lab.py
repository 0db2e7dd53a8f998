"""A place to break things: an Airflow on PostgreSQL with two triggerers, an emulator, and jobs to watch.

Each job has a model of its own, so that the emulator's records and faults can be told apart.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from airflow_provider_falinvoke.emulator import Emulator, Fault, RecordedRequest
from tests.airflow.deployment import Deployment

POSTGRES = "127.0.0.1"
DAGS = Path(__file__).parent / "dags"
#: Defaults but for the two times after which Airflow notices a dead task, 300 s each, so that a row takes a minute.
SETTINGS = {
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
}


class Lab:
    """The emulator, the deployment, and its database."""

    def __init__(self, home: Path, emulator: Emulator, airflow: Deployment, database: str) -> None:
        self.home = home
        self.emulator = emulator
        self.airflow = airflow
        self.database = database

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


class Job:
    """One run of a chaos DAG, and the job that it pays for.

    :param model_id: a model of its own.
    :param path: ``deferrable`` or ``sync``.
    :param seconds: how long the emulator takes for it.
    :param timeout: the operator's timeout in seconds.
    :param output: where the files go.
    """

    def __init__(self, lab: Lab, model_id: str, path: str, *, seconds: float, timeout: float, output: str) -> None:
        self.lab = lab
        self.model_id = model_id
        self.path = path
        self.dag_id = f"chaos_{path}"
        self.output = output
        self._conf = {"model_id": model_id, "seconds": seconds, "timeout": timeout, "output": output}
        self.run_id = ""

    def fault(self, kind: str, *, on: Any, **options: Any) -> None:
        """Ask the emulator for a fault on this job alone."""
        self.lab.emulator.add_fault(Fault(kind, on=on, model_id=self.model_id, **options))

    def start(self) -> Job:
        """Start the run."""
        self.run_id = self.lab.airflow.trigger(self.dag_id, **self._conf)
        return self

    @property
    def posts(self) -> list[RecordedRequest]:
        """The POSTs that the emulator saw, refused ones included."""
        return [post for post in self.lab.emulator.posts() if post.model_id == self.model_id]

    @property
    def paid(self) -> list[str]:
        """The request_ids of the jobs that the emulator made, each of them a bill."""
        return [job.request_id for job in self.lab.emulator.jobs.values() if job.model_id == self.model_id]

    def task_instance(self) -> dict[str, Any]:
        """Return the task instance as Airflow's REST API shows it."""
        found = self.lab.airflow.task_instances(self.dag_id, self.run_id)
        return found[0] if found else {"state": None}

    def state(self) -> str | None:
        """Return the task instance's state."""
        state = self.task_instance()["state"]
        return None if state is None else str(state)

    def until_state(self, *states: str, seconds: float = 120.0) -> str:
        """Wait until the task instance is in one of these states."""

        def reached() -> str | None:
            state = self.state()
            return state if state in states else None

        return str(self.lab.until(f"{self.model_id} ({self.path}) is {' or '.join(states)}", reached, seconds))

    def until_failed(self) -> None:
        """Wait until the task failed and Airflow has heard so from everybody.

        A supervisor that lingers for some seconds reports the end once more, and a task that was cleared meanwhile
        takes that for its own (apache/airflow #71580 in another guise).
        """
        self.until_state("failed", seconds=180)
        time.sleep(8)

    def until_posted(self) -> None:
        """Wait until the emulator has accepted the job."""
        self.lab.airflow.until(f"{self.model_id} ({self.path}) is submitted", lambda: self.paid, seconds=90)

    def until_waiting(self) -> None:
        """Wait until the job is submitted and stored, and the task awaits it: on the worker, or in a triggerer."""
        self.until_posted()
        if self.path == "deferrable":
            self.until_state("deferred")
        else:
            self.lab.airflow.until(f"{self.model_id} is asked for", self._gets, seconds=30)

    def until_looked_at(self) -> None:
        """Wait until the worker has looked at the submitted job once: its request_id is stored by then."""
        self.until_posted()
        self.lab.airflow.until(f"{self.model_id} is asked for", self._gets, seconds=30)

    def _gets(self) -> list[RecordedRequest]:
        return [get for request_id in self.paid for get in self.lab.emulator.gets(request_id)]

    def until_saving(self) -> None:
        """Wait until a file is being fetched."""
        self.lab.airflow.until(
            f"{self.model_id} ({self.path}) is saved",
            lambda: [r for r in self.lab.emulator.requests if r.route == "media" and r.request_id in self.paid],
            seconds=90,
        )

    def kill_task(self) -> None:
        """kill -9 the process that runs the task now."""
        task_instance = str(self.task_instance()["id"])
        scheduler = psutil.Process(self.lab.airflow.processes["scheduler"].pid)
        for worker in scheduler.children(recursive=True):
            with suppress(psutil.Error):
                if task_instance in " ".join(worker.cmdline()):
                    for task in worker.children():
                        os.kill(task.pid, signal.SIGKILL)
                    return
        raise AssertionError(f"no process runs {self.model_id}")

    def mark(self, state: str) -> None:
        """Mark the task as a user does."""
        self.lab.airflow.api(
            "PATCH", f"/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/job", json={"new_state": state}
        )

    def clear(self) -> None:
        """Clear the task as a user does."""
        self.lab.airflow.api(
            "POST",
            f"/dags/{self.dag_id}/clearTaskInstances",
            json={"dry_run": False, "task_ids": ["job"], "dag_run_id": self.run_id, "only_failed": False},
        )

    def until_ended(self, seconds: float = 240.0) -> str:
        """Wait until the task ended for good, and return its state."""
        return self.until_state("success", "failed", seconds=seconds)

    def result(self) -> Any:
        """Return the task's XCom."""
        return self.lab.airflow.xcom(self.dag_id, self.run_id, "job")

    def log(self) -> str:
        """Return all that the task and its triggers logged."""
        return self.lab.airflow.log(self.dag_id, self.run_id, "job")


@contextmanager
def opened(home: Path) -> Iterator[Lab]:
    """Give a lab; a test is skipped where no PostgreSQL answers, unless FALINVOKE_REQUIRE_POSTGRES is set."""
    with (
        own_database() as database,
        Emulator(quota_per_minute=None, quota_per_hour=None) as emulator,
        Deployment(
            home / "airflow",
            DAGS,
            {"falinvoke_default": emulator.connection},
            database=url_of(database),
            triggerers=2,
            settings=SETTINGS,
        ) as airflow,
    ):
        yield Lab(home, emulator, airflow, database)


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
