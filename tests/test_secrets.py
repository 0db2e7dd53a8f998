"""The key is in the Authorization header to the connection's own host, and nowhere else."""

from __future__ import annotations

import base64
import copy
import json
import os
import pickle
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_falinvoke.emulator import Emulator
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator
from airflow_provider_falinvoke.sensors.falinvoke import FalInvokeSensor
from tests.support.secret_run import KEY

#: The key as it is, percent-encoded, and within base64 at each of its three offsets.
FORMS = [KEY, quote(KEY, safe="")] + [
    base64.b64encode(b" " * offset + KEY.encode())[4:-4].decode() for offset in range(3)
]


def forms_in(text: str) -> list[str]:
    return [form for form in FORMS if form in text]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return all that a process left behind that met every kind of failure, with logs at DEBUG."""
    folder = tmp_path_factory.mktemp("secrets")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.secret_run", str(folder)],
        cwd=Path(__file__).resolve().parent.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with closing(sqlite3.connect(folder / "airflow.db")) as database:
        dump = "\n".join(database.iterdump())
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".db", ".json")]
    return {
        "printed": done.stdout + done.stderr,
        "database": dump,
        "files": {str(path): path.read_bytes().decode("latin-1") for path in files},
        **json.loads((folder / "left.json").read_text()),
    }


def test_the_runs_met_what_they_were_to_meet(left: dict[str, Any]) -> None:
    """Otherwise the tests below would hold for nothing."""
    assert {name for name, state in left["states"].items() if state == "success"} == {
        "all is well",
        "deferred",
        "503, then fine",
        "output",
    }
    assert len(left["errors"]) == len(left["states"]) - 4
    assert len(left["deferred"]) >= 4
    assert sum("***" in error for error in left["errors"]) >= 4
    assert left["printed"].count("httpcore") > 50
    for table in ("xcom", "rendered_task_instance_fields", "trigger"):
        assert f'INSERT INTO "{table}"' in left["database"] or f"INSERT INTO {table}" in left["database"]


def test_the_key_is_in_no_log(left: dict[str, Any]) -> None:
    # At DEBUG, dag.test()'s in-process supervisor logs Airflow's own request to mask the connection's password.
    lines = [line for line in left["printed"].splitlines() if "MaskSecret(value=" not in line]
    assert [line for line in lines if forms_in(line)] == []
    assert [path for path, text in left["files"].items() if path.endswith(".log") and forms_in(text)] == []


def test_the_key_is_in_no_exception_and_no_traceback(left: dict[str, Any]) -> None:
    assert [error for error in left["errors"] if forms_in(error)] == []


def test_the_key_is_nowhere_in_airflows_database(left: dict[str, Any]) -> None:
    """XComs, rendered fields, triggers, the task state store, serialized DAGs, audit log."""
    assert forms_in(left["database"]) == []


def test_the_key_is_in_no_trigger(left: dict[str, Any]) -> None:
    assert [arguments for arguments in left["deferred"] if forms_in(arguments)] == []


def test_the_key_is_in_no_file(left: dict[str, Any]) -> None:
    assert [path for path, text in left["files"].items() if forms_in(text)] == []


def test_the_emulator_neither_logs_nor_records_the_key(left: dict[str, Any]) -> None:
    assert len(left["log"]) > 20
    assert [line for line in left["log"] + left["records"] if forms_in(line)] == []


def test_the_key_is_in_no_copy_of_a_hook_or_an_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    with Emulator(api_key=KEY) as emulator:
        monkeypatch.setenv("AIRFLOW_CONN_FALINVOKE_DEFAULT", emulator.connection_json)
        operator = FalInvokeOperator(task_id="draw", model_id="fal-ai/flux/schnell", input={"prompt": "x"})
        sensor = FalInvokeSensor(task_id="wait", request_id="x")
        for one in (operator, sensor):
            one.hook.list_models()
            assert one.hook.endpoint.key.get_secret_value() == KEY
            for holder in (one, one.hook):
                left = pickle.dumps(holder).decode("latin-1") + repr(holder) + repr(vars(copy.deepcopy(holder)))
                assert forms_in(left) == []
            assert copy.deepcopy(one.hook).list_models(), "a copy looks the connection up for itself"


def test_the_key_went_to_no_media_host(left: dict[str, Any]) -> None:
    assert left["leaks"] == []
