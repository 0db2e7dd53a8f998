"""Runs tasks against an API that repeats the key wherever it can; all that they leave behind is for test_secrets.py.

Usage: python -m tests.support.secret_run FOLDER. It uses a process of its own, because Airflow sets its log level once.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

KEY = "sk-do-v1-THIS/IS+THE~KEY-0123456789"


def main(folder: Path) -> None:
    """Leave airflow.db, files, and ``left.json`` with the emulator's records and all errors in ``folder``."""
    (folder / "dags").mkdir()
    os.environ.update(
        AIRFLOW_HOME=str(folder),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__CORE__DAGS_FOLDER=str(folder / "dags"),
        AIRFLOW__LOGGING__LOGGING_LEVEL="DEBUG",
        AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL="0",
        AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME="0",
    )
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.utils.db import initdb

    from airflow_provider_falinvoke.emulator import Emulator, Fault
    from airflow_provider_falinvoke.triggers import falinvoke as triggers

    initdb()
    DagBundlesManager().sync_bundles_to_db()
    triggers.RESUME_MARGIN = 0.05
    says_the_key = {"message": f"wrong: Bearer {KEY}"}
    everywhere: dict[str, tuple[list[Fault], dict[str, Any]]] = {
        "all is well": ([], {}),
        "deferred": ([], {"defer_after": 0}),
        "401 to the POST": ([Fault("answer", on="post", status=401, body=says_the_key)], {}),
        "401 while deferred": ([Fault("answer", on="get", status=401, body=says_the_key)], {"defer_after": 0}),
        "HTML": ([Fault("html", on="post", status=502, body=f"<html>{KEY}</html>")], {}),
        "503, then fine": ([Fault("answer", on="get", status=503, body=says_the_key)], {}),
        "FAILED while deferred": ([Fault("fail", body=f"the key {KEY} was refused")], {"defer_after": 0}),
        "output": ([Fault("merge", on="get", value={"model_id": KEY}, times=None)], {"defer_after": 0}),
        "timeout while deferred": (
            [Fault("spelling", on="get", value={"COMPLETED": "IN_PROGRESS"}, times=None)],
            {"timeout": 0.25, "defer_after": 0},
        ),
        "dropped": ([Fault("drop", on="post", accepted=True)], {}),
        "redirected": ([Fault("redirect", on="get", value="http://api.invalid/")], {}),
        "media": ([Fault("answer", on="media", status=410, body=says_the_key)], {}),
    }
    left: dict[str, Any] = {"states": {}, "errors": [], "log": [], "deferred": [], "leaks": []}
    with Emulator(
        api_key=KEY, durations={"fal-ai/fast-sdxl": 0.35}, log=lambda record: left["log"].append(record.line())
    ) as emulator:
        os.environ["AIRFLOW_CONN_FALINVOKE_DEFAULT"] = emulator.connection_json
        for name, (faults, changes) in everywhere.items():
            emulator.clear_faults()
            for fault in faults:
                emulator.add_fault(fault)
            run_one(folder, name, changes, left)
        left["records"] = [repr(record) for record in emulator.requests]
        left["leaks"] = emulator.leaks
    (folder / "left.json").write_text(json.dumps(left))


def run_one(folder: Path, name: str, changes: dict[str, Any], left: dict[str, Any]) -> None:
    """Run one task and note how it ended."""
    from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator
    from tests.support.dags import run_tasks

    given = {
        "input": {"prompt": "a fox", "image_size": {"width": 32, "height": 32}},
        "tags": {"case": name},
        "output_path": (folder / "out").as_uri(),
        "poll_interval": 0.1,
        **changes,
    }
    ran = run_tasks(lambda: FalInvokeOperator(task_id="draw", model_id="fal-ai/fast-sdxl", **given))
    left["states"][name] = ran.state
    left["deferred"] += [repr(arguments) for arguments in ran.deferred]
    for error in ran.errors.values():
        left["errors"].append("".join(traceback.format_exception(error)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
