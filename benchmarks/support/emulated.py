"""The emulator in a process of its own, as a benchmark starts it: by its command line, on the clock of the run."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

_START = (
    "import sys, time; from benchmarks.support import clock; monotonic, nap = time.monotonic, time.sleep; "
    # Its time of day alone: its sockets and timers are the machine's.
    "clock.install(); time.monotonic, time.sleep = monotonic, nap; "
    "from airflow_provider_falinvoke.emulator.__main__ import main; sys.exit(main(sys.argv[1:]))"
)


@dataclass(frozen=True)
class Emulated:
    """A running emulator.

    :param connection: fields of the Airflow connection to it.
    """

    url: str
    key: str
    connection: dict[str, Any]
    control: httpx.Client

    def ask(self, name: str) -> Any:
        """Return what the control interface tells under a name."""
        return self.control.get(f"/_emulator/{name}").raise_for_status().json()

    def fault(self, **fields: Any) -> None:
        """Set a fault."""
        self.control.post("/_emulator/faults", json=fields).raise_for_status()

    def submit(self, seconds: float, model_id: str = "fal-ai/flux/schnell") -> str:
        """Make a job of so many seconds and return its request_id."""
        answer = self.control.post(
            "/v1/async-invoke",
            headers={"Authorization": f"Bearer {self.key}"},
            json={
                "model_id": model_id,
                "input": {"prompt": "a red fox"},
                "tags": [{"key": "emulator-duration", "value": str(seconds)}],
            },
        )
        return str(answer.raise_for_status().json()["request_id"])


@contextmanager
def emulator(
    *options: str, variables: Mapping[str, str] | None = None, tls: Sequence[Path] | None = None
) -> Iterator[Emulated]:
    """Run an emulator for the time of the block.

    :param options: of its command line.
    :param variables: further environment variables, such as those of a faster clock.
    :param tls: a certificate and its key.
    """
    certificate = [f"--tls-cert={tls[0]}", f"--tls-key={tls[1]}"] if tls else []
    process = subprocess.Popen(
        [sys.executable, "-c", _START, "--quiet", *options, *certificate],
        env={**os.environ, **(variables or {})},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(3)]
        assert all(lines), "the emulator did not start"
        url = lines[0].split()[-1]
        connection = json.loads(lines[2].partition("='")[2].removesuffix("'"))
        verify = ssl.create_default_context(cafile=tls[0]) if tls else True
        with httpx.Client(base_url=url, timeout=60, trust_env=False, verify=verify) as control:
            yield Emulated(url, connection["password"], connection, control)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def client_environment(connection: Mapping[str, Any], home: Path | str) -> dict[str, str]:
    """Return the environment of a client process: an Airflow of its own, with each design's connection to an emulator.

    :param connection: the connection of this package.
    :param home: the AIRFLOW_HOME, a throw-away folder.
    """
    url = f"{connection['schema']}://{connection['host']}:{connection['port']}"
    authorization = {"Authorization": f"Bearer {connection['password']}"}
    connections = {
        "FALINVOKE_DEFAULT": connection,
        "HTTP_DEFAULT": {"conn_type": "http", "host": url, "extra": authorization},
        "ANTHROPIC_DEFAULT": {
            "conn_type": "anthropic",
            "host": url,
            "password": "unused",
            "extra": {"anthropic_client_kwargs": {"default_headers": authorization}},
        },
    }
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        **{f"AIRFLOW_CONN_{name}": json.dumps(fields) for name, fields in connections.items()},
    }
