"""A whole Airflow on this machine: each component a process group of its own, ended by its id.

As a deployment has it: an api-server that workers and triggerers talk to, a scheduler with LocalExecutor (or Celery's
workers, see ``celery_lab.py``), a dag-processor, and one or more triggerers, all over one metadata database. Settings
are Airflow's defaults but for ports, secrets and paths.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from tests.airflow.audit import Try

T = TypeVar("T")
AIRFLOW = [sys.executable, "-m", "airflow"]
ENDED = frozenset(("success", "failed", "upstream_failed", "skipped", "removed"))


class Deployment:
    """Start it with ``with``; then use its REST API through the methods.

    :param home: the AIRFLOW_HOME; logs of the components lie there too.
    :param dags: the DAGs folder.
    :param connections: fields of Airflow connections by conn_id.
    :param database: the metadata database's URL; SQLite in ``home`` by default.
    :param components: what to start beside the api-server and the triggerers.
    :param triggerers: how many triggerers to start.
    :param settings: further environment variables.
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        connections: Mapping[str, Mapping[str, Any]],
        *,
        database: str | None = None,
        components: Sequence[str] = ("scheduler", "dag-processor"),
        triggerers: int = 1,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home
        self.port = _free_port()
        self.components = components
        self.triggerers = [f"triggerer-{number}" for number in range(1, triggerers + 1)]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._client: httpx.Client | None = None
        self._reviving = threading.Lock()
        home.mkdir(parents=True, exist_ok=True)
        keep = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        self.env = {
            **keep,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__OPENLINEAGE__DISABLED": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{self.port}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database or f"sqlite:///{home}/airflow.db",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{self.port}",
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(_free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(_free_port()),
            **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in connections.items()},
            **(settings or {}),
        }

    def __enter__(self) -> Deployment:
        self.run("db", "migrate")
        self.start("api-server")
        for name in (*self.components, *self.triggerers):
            self.start(name)
        try:
            self.until("the api-server answers", self._answers, seconds=300)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, *arguments: str) -> str:
        """Run an ``airflow`` command to its end and return what it printed."""
        done = subprocess.run([*AIRFLOW, *arguments], env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"airflow {' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def start(self, name: str) -> None:
        """Start a component: ``api-server``, ``scheduler``, ``dag-processor``, ``triggerer-N`` or ``worker-N``."""
        command = [name.rpartition("-")[0] if name[-1].isdigit() else name]
        options = ["--skip-serve-logs"] if command[0] in ("scheduler", "triggerer", "worker") else []
        if command == ["worker"]:
            command = ["celery", "worker"]
            options += ["--celery-hostname", f"{name}@%h", "--pid", str(self.home / f"{name}.pid")]
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*AIRFLOW, *command, *options],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def send_signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to all processes of a component."""
        os.killpg(self.processes[name].pid, number)

    def kill(self, name: str) -> None:
        """End a component as a dying machine would, what it runs included, and reap it."""
        for child in self._family(name):
            with contextlib.suppress(psutil.Error):
                child.kill()
        self.processes.pop(name).wait()

    def revive(self) -> None:
        """Start again what has ended by itself, as a deployment's process manager does."""
        with self._reviving:
            for name in [name for name, process in self.processes.items() if process.poll() is not None]:
                self.kill(name)
                self.start(name)

    def _family(self, name: str) -> list[psutil.Process]:
        """Return a component's processes; task processes lead groups of their own."""
        with contextlib.suppress(psutil.Error):
            parent = psutil.Process(self.processes[name].pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def stop(self) -> None:
        """End everything that was started here, politely first."""
        if self._client is not None:
            self._client.close()
        families = [process for name in self.processes for process in self._family(name)]
        for name in self.processes:
            self._signal_quietly(name, signal.SIGCONT)
            self._signal_quietly(name, signal.SIGTERM)
        patience = time.monotonic() + 10
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, patience - time.monotonic()))
        for left in families:
            with contextlib.suppress(psutil.Error):
                left.kill()
        for process in self.processes.values():
            process.wait()
        self.processes.clear()

    def _signal_quietly(self, name: str, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.send_signal(name, number)

    def until(self, what: str, check: Callable[[], T | bool | None], *, seconds: float) -> T:
        """Return what ``check`` returns once it is true; it is asked twice a second."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            if result := check():
                return result  # type: ignore[return-value]  # True only where T is bool
            time.sleep(0.5)
        raise AssertionError(f"{seconds} s passed before {what}\n{self.tails()}")

    def tails(self, lines: int = 30) -> str:
        """Return the last lines of each component's log."""
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
            for path in sorted(self.home.glob("*.log"))
        )

    def _answers(self) -> bool:
        try:
            token = httpx.get(f"http://127.0.0.1:{self.port}/auth/token", trust_env=False).json()["access_token"]
        except (httpx.HTTPError, ValueError, KeyError):
            return False
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}/api/v2",
            headers={"Authorization": f"Bearer {token}"},
            timeout=300,  # a machine that is starting everything at once takes its time
            trust_env=False,
        )
        return True

    def api(self, method: str, path: str, **arguments: Any) -> Any:
        """Call Airflow's REST API and return the answer's JSON."""
        assert self._client is not None, "the deployment was not started"
        answer = self._client.request(method, path, **arguments)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def unpause(self, dag_id: str) -> None:
        """Unpause a DAG once it is parsed."""

        def unpaused() -> bool:
            try:
                self.api("PATCH", f"/dags/{dag_id}", json={"is_paused": False})
            except httpx.HTTPStatusError as error:
                assert error.response.status_code == 404, error.response.text
                return False
            return True

        self.until(f"DAG {dag_id} is parsed", unpaused, seconds=300)

    def trigger(self, dag_id: str, **conf: Any) -> str:
        """Unpause a DAG once it is parsed, start a run of it, and return the run's id."""
        self.unpause(dag_id)
        run = self.api("POST", f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
        return str(run["dag_run_id"])

    def mark(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, *, state: str) -> None:
        """Mark a task instance as a user does."""
        place = task_id if map_index < 0 else f"{task_id}/{map_index}"
        self.api("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{place}", json={"new_state": state})

    def clear(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> None:
        """Clear a task instance as a user does."""
        one = task_id if map_index < 0 else [task_id, map_index]
        choice = {"dry_run": False, "task_ids": [one], "dag_run_id": run_id, "only_failed": False}
        self.api("POST", f"/dags/{dag_id}/clearTaskInstances", json=choice)

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run, mapped ones each for itself."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.api(
                "GET",
                f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances",
                params={"limit": 100, "offset": len(found)},
            )
            found += page["task_instances"]
            if len(found) >= page["total_entries"] or not page["task_instances"]:
                return found

    def wait_for_run(self, dag_id: str, run_id: str, *, seconds: float) -> str:
        """Return the state in which a run ended."""

        def ended() -> str | None:
            state = self.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"]
            return str(state) if state in ENDED else None

        return self.until(f"run {run_id} of {dag_id} ended", ended, seconds=seconds)

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, key: str = "return_value") -> Any:
        """Return what a task instance pushed, or None."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        try:
            return self.api("GET", path, params={"map_index": map_index, "deserialize": "false"})["value"]
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 404:
                return None
            raise

    def connect(self, conn_id: str, fields: Mapping[str, Any]) -> None:
        """Store a connection in the database, as a user does in Airflow's pages."""
        extra = {name: json.dumps(value) for name, value in fields.items() if name == "extra"}
        self.api("POST", "/connections", json={"connection_id": conn_id, **fields, **extra})

    def tries(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> list[Try]:
        """Return the tries of a task instance, the one that goes on included."""
        place = task_id if map_index < 0 else f"{task_id}/{map_index}"
        found = self.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{place}/tries")["task_instances"]
        return [
            Try(
                number=one["try_number"],
                state=str(one["state"]),
                ended_at=datetime.fromisoformat(one["end_date"]).timestamp() if one["end_date"] else math.inf,
                log=self.log(dag_id, run_id, task_id, map_index, attempt=one["try_number"]),
            )
            for one in sorted(found, key=lambda one: int(one["try_number"]))
        ]

    def log(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, *, attempt: int | None = None) -> str:
        """Return all log files of a task instance, triggerer's included.

        :param attempt: of one try alone.
        """
        pattern = f"logs/dag_id={dag_id}/run_id={run_id}/task_id={task_id}/" + (
            "" if map_index < 0 else f"map_index={map_index}/"
        )
        names = "attempt=*" if attempt is None else f"attempt={attempt}.log*"
        files = sorted(path for path in (self.home / pattern).glob(names) if path.is_file())
        return "\n".join(path.read_text(errors="replace") for path in files)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
