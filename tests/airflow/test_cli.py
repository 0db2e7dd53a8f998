"""``airflow falinvoke`` as a user runs it: a real home, a connection in the database, a real Ctrl-C."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import airflow
import pytest

from airflow_provider_falinvoke.emulator import Emulator, ManualClock

KEY = "do-not-show-this-key-5e1f"
MODEL = "fal-ai/flux/schnell"
if tuple(int(part) for part in airflow.__version__.split(".")[:2]) < (3, 2):
    pytest.skip("Airflow 3.1 has no commands of providers", allow_module_level=True)


class Home:
    """An AIRFLOW_HOME, and the commands run in it."""

    def __init__(self, path: Path) -> None:
        keep = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        self.env = {**keep, "AIRFLOW_HOME": str(path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "COLUMNS": "200"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err


@pytest.fixture
def takes_ctrl_c() -> Iterator[None]:
    """As in a terminal: what a script starts in the background ignores it (``make test &``), and hands that on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("takes_ctrl_c")
def test_an_interrupted_request_is_collected_by_the_command_that_it_names(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    clock = ManualClock(time.time())
    with Emulator(api_key=KEY, clock=clock, durations={MODEL: 600.0}) as emulator:
        assert home.run("db", "migrate")[0] == 0
        fields = {"type": "falinvoke", "host": "127.0.0.1", "port": str(emulator.connection["port"]), "schema": "http"}
        options = [word for name, value in fields.items() for word in (f"--conn-{name}", value)]
        assert home.run("connections", "add", "mine", *options, "--conn-password", KEY)[0] == 0

        request = ["test-request", MODEL, "--prompt", "a fox", "--conn-id", "mine", "--save-to", str(tmp_path / "out")]
        code, out, err = home.run("falinvoke", *request)
        assert (code, out, emulator.requests) == (2, "", []), err
        assert "nobody is here to ask" in err

        process = home.start("falinvoke", *request, "--yes")
        give_up = time.monotonic() + 240
        while len(emulator.gets()) < 2:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < give_up, "the job was not looked at"
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=180)
        (request_id,) = emulator.jobs
        assert process.returncode == 130, err
        assert f'"request_id": "{request_id}"' in out
        assert "Traceback" not in err
        later = shlex.split(err.strip().splitlines()[-1].rpartition("To collect it: ")[2])
        assert later[:4] == ["airflow", "falinvoke", "collect", request_id]

        clock.advance(600)
        code, out, err = home.run(*later[1:])
        assert code == 0, err
        assert request_id in out
        assert [path.suffix for path in (tmp_path / "out").iterdir()] == [".png"]
        assert len(emulator.posts()) == 1
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "airflow.cfg"]
    assert [path.name for path in written if KEY.encode() in path.read_bytes()] == []
