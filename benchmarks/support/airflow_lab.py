"""A real Airflow for a benchmark: a database of its own on PostgreSQL, and processes that are watched from outside."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent.parent
DAGS = Path(__file__).resolve().parent / "dags"
MIB = 2**20


@contextmanager
def database() -> Iterator[str]:
    """Make a database for the time of the block, and give its name."""
    from tests.airflow.lab import sql

    name = f"falinvoke_bench_{os.getpid()}_{int(time.time())}"
    sql(f'create database "{name}"')
    try:
        yield name
    finally:
        sql(f'drop database if exists "{name}" with (force)')


def url_of(name: str) -> str:
    """Return the URL of a database, as Airflow takes it."""
    from tests.airflow.lab import POSTGRES

    return f"postgresql+psycopg2://postgres@{POSTGRES}:5432/{name}"


class Airflow:
    """An AIRFLOW_HOME over a database, and the processes that were started for it.

    :param home: the AIRFLOW_HOME.
    :param name: of the database.
    :param settings: further environment variables.
    """

    def __init__(self, home: Path, name: str, settings: Mapping[str, str]) -> None:
        self.home = home
        self.name = name
        # Each deferred task has a log file in the triggerer; Airflow's docs ask for a higher limit, too.
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
        clean = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
        self.env = {
            **clean,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url_of(name),
            "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-of-this-benchmark-and-of-nothing-else-in-the-world-at-all",
            "PYTHONPATH": str(ROOT),
            **settings,
        }

    def run(self, *arguments: str) -> None:
        """Run an ``airflow`` command to its end."""
        command = [sys.executable, "-m", "airflow", *arguments]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"airflow {arguments[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")

    def add_connection(self, conn_id: str, fields: Mapping[str, Any]) -> None:
        """Add a connection to the database, where users have theirs."""
        self.run("connections", "add", conn_id, "--conn-json", json.dumps(fields))

    def first_halves(self, *dag_ids: str) -> None:
        """Run the first halves of the tasks of some DAGs, each DAG in a process of its own; see that module."""
        command = [sys.executable, "-m", "benchmarks.support.first_halves"]
        logs = [(self.home / f"{dag_id}.log").open("w") for dag_id in dag_ids]
        running = [
            subprocess.Popen([*command, dag_id], env=self.env, stdout=log, stderr=subprocess.STDOUT)
            for dag_id, log in zip(dag_ids, logs, strict=True)
        ]
        failed = [dag_id for dag_id, process in zip(dag_ids, running, strict=True) if process.wait()]
        for log in logs:
            log.close()
        if failed:
            raise RuntimeError((self.home / f"{failed[0]}.log").read_text()[-3000:])

    def query(self, statement: str) -> list[Any]:
        """Return the rows that a statement selects."""
        import psycopg2

        from tests.airflow.lab import POSTGRES

        connection = psycopg2.connect(host=POSTGRES, user="postgres", dbname=self.name)
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            return list(cursor.fetchall())
        finally:
            connection.close()


class Triggerer:
    """A real ``airflow triggerer``; its runner, the process with the event loop, is looked at twice a second.

    :param airflow: what it belongs to.
    :param number: of its log.
    """

    def __init__(self, airflow: Airflow, number: int = 1) -> None:
        self.log = airflow.home / f"triggerer-{number}.log"
        #: Time in epoch seconds, resident bytes, and seconds of CPU of the runner and of its supervisor.
        self.samples: list[tuple[float, int, float, float]] = []
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs"],
                env=airflow.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._stopped = threading.Event()
        self._watch = threading.Thread(target=self._sample, daemon=True)
        self._watch.start()

    def __enter__(self) -> Triggerer:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._watch.join()
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def until_running(self, seconds: float = 180.0) -> None:
        """Wait until its runner has imported everything and idles."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            recent = self.samples[-8:]
            if len(recent) == 8 and recent[-1][2] - recent[0][2] < 0.5:
                return
            assert self._process.poll() is None, self.log.read_text()[-3000:]
            time.sleep(0.5)
        raise AssertionError(f"the triggerer was not idle within {seconds} s\n{self.log.read_text()[-3000:]}")

    def between(self, since: float, until: float) -> list[tuple[float, int, float, float]]:
        """Return the samples of a time."""
        return [each for each in self.samples if since <= each[0] <= until]

    def _sample(self) -> None:
        supervisor = psutil.Process(self._process.pid)
        runner: psutil.Process | None = None
        while not self._stopped.wait(0.5):
            try:
                runner = runner or next(iter(supervisor.children()), None)
                if runner is not None:
                    with runner.oneshot():
                        sample = (time.time(), runner.memory_info().rss, _cpu(runner), _cpu(supervisor))
                    self.samples.append(sample)
            except psutil.NoSuchProcess:
                runner = None


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def airflow(settings: Mapping[str, str]) -> Iterator[Airflow]:
    """Give an Airflow with a migrated database of its own.

    :param settings: environment variables.
    """
    with tempfile.TemporaryDirectory(prefix="falinvoke-bench-") as folder, database() as name:
        home = Path(folder) / "airflow"
        home.mkdir()
        made = Airflow(home, name, settings)
        made.run("db", "migrate")
        yield made
