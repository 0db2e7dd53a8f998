"""Assets, lineage and decorated functions where they matter: with a scheduler, workers and a triggerer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx

from airflow_provider_falinvoke.emulator import Emulator
from tests.airflow.deployment import Deployment
from tests.support.s3 import CONN_ID, Bucket

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "dags_examples"
#: Longer than the worker waits, so that each task defers.
DURATIONS = {
    "fal-ai/flux/schnell": 9.0,
    "fal-ai/fast-sdxl": 9.0,
    "fal-ai/stable-audio-25/text-to-audio": 10.0,
    "fal-ai/elevenlabs/tts/multilingual-v2": 11.0,
}
ASKED = {"prompt": "a fox", "num_images": 2}
MAKE, CHECK = "falinvoke_make_assets", "falinvoke_check_assets"


def test_assets_lineage_and_functions_survive_a_deferral(tmp_path: Path, s3_server: Bucket) -> None:
    dags = tmp_path / "dags"
    dags.mkdir()
    for file in (EXAMPLES / "make_assets.py", EXAMPLES / "check_assets.py", HERE / "dags" / "decorated.py"):
        shutil.copy(file, dags)
    told = tmp_path / "openlineage.jsonl"
    settings = {
        "AIRFLOW_VAR_FALINVOKE_OUTPUT": s3_server.path("made"),
        f"AIRFLOW_CONN_{CONN_ID.upper()}": s3_server.connection_json,
        # On a busy machine a try may not reach Airflow's api-server in time; the next takes up what it submitted.
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "3",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        "AIRFLOW__OPENLINEAGE__DISABLED": "False",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": str(told), "append": True}),
    }
    with (
        Emulator(durations=DURATIONS) as emulator,
        Deployment(
            tmp_path / "airflow", dags, {"falinvoke_default": emulator.connection}, settings=settings
        ) as airflow,
    ):
        airflow.until("the DAG on the assets is parsed", lambda: is_parsed(airflow, CHECK), seconds=300)
        made = airflow.trigger(MAKE)
        calls = tmp_path / "calls"
        drawn = airflow.trigger("decorated", calls=str(calls))
        assert airflow.wait_for_run(MAKE, made, seconds=240) == "success", airflow.tails()
        assert airflow.wait_for_run("decorated", drawn, seconds=240) == "success", airflow.tails()

        results = {task_id: airflow.xcom(MAKE, made, task_id) for task_id in ("draw", "play", "say")}
        for task_id in results:
            assert "Deferring" in airflow.log(MAKE, made, task_id), "or this shows nothing of a deferral"
        checked = airflow.until("the scheduler ran the DAG on the assets", lambda: run_of(airflow, CHECK), seconds=300)
        assert checked["run_type"] == "asset_triggered"
        assert airflow.wait_for_run(CHECK, checked["dag_run_id"], seconds=300) == "success", airflow.tails()
        assert airflow.xcom(CHECK, checked["dag_run_id"], "check") == 3
        events = airflow.api("GET", f"/dags/{CHECK}/dagRuns/{checked['dag_run_id']}/upstreamAssetEvents")[
            "asset_events"
        ]
        assert {event["name"]: event["extra"] for event in events} == {
            f"falinvoke_{name}": {key: value for key, value in results[task_id].items() if key != "output"}
            for name, task_id in (("picture", "draw"), ("sound", "play"), ("speech", "say"))
        }

        drawing = airflow.xcom("decorated", drawn, "draw")
        assert "Deferring" in airflow.log("decorated", drawn, "draw")
        (shown,) = airflow.task_instances("decorated", drawn)
        assert len(calls.read_text().splitlines()) == shown["try_number"], "once a try, and not after the deferral"
        assert drawing["estimated_cost"] == 1.0
        assert emulator.jobs[drawing["request_id"]].input == shown["rendered_fields"]["input"] == ASKED
        assert len(emulator.posts()) == len(emulator.jobs) == 4

    assert len(s3_server.objects()) == 3
    outputs = {
        (output["namespace"], output["name"])
        for event in map(json.loads, told.read_text().splitlines())
        if event["eventType"] == "COMPLETE"
        for output in event["outputs"]
    }
    assert outputs == {(f"s3://{s3_server.bucket}", key) for key in s3_server.objects()}


def is_parsed(airflow: Deployment, dag_id: str) -> bool:
    try:
        return bool(airflow.api("GET", f"/dags/{dag_id}")["dag_id"])
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == 404, error.response.text
        return False


def run_of(airflow: Deployment, dag_id: str) -> dict[str, Any] | None:
    runs: list[dict[str, Any]] = airflow.api("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"]
    return runs[0] if runs else None
