"""What fails after a payment, on PostgreSQL in a real deployment: SQLite and ``dag.test()`` show none of it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from airflow_provider_falinvoke.emulator import Emulator
from tests.airflow import lab
from tests.airflow.deployment import Deployment

pytestmark = pytest.mark.chaos

DAG_ID = "nach_der_zahlung_é"
#: The backends of metrics and of lineage fail.
SETTINGS = {
    "AIRFLOW__METRICS__STATSD_ON": "True",
    "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
    "AIRFLOW__METRICS__STATSD_CUSTOM_CLIENT_PATH": "tests.support.failing_statsd.FailingClient",
    "AIRFLOW__METRICS__STAT_NAME_HANDLER": "tests.support.failing_statsd.ascii_name",
    "AIRFLOW__OPENLINEAGE__DISABLED": "False",
    "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "http", "url": "http://127.0.0.1:9", "timeout": 1}),
    "AIRFLOW__CORE__PARALLELISM": "4",
}


def test_whatever_is_told_of_a_paid_job_each_task_succeeds_and_is_paid_once(tmp_path: Path) -> None:
    """Each kind of task, on the worker and after a deferral, without retries; the events of what can be named."""
    dags, out = tmp_path / "dags", tmp_path / "out"
    dags.mkdir()
    shutil.copy(lab.DAGS / "after_payment.py", dags)
    with (
        lab.own_database() as database,
        Emulator(durations={"fal-ai/flux/schnell": 0.2}, quota_per_minute=None, quota_per_hour=None) as emulator,
        Deployment(
            tmp_path / "airflow",
            dags,
            {"falinvoke_default": emulator.connection},
            database=lab.url_of(database),
            settings={**SETTINGS, "AFTER_PAYMENT_OUT": out.as_uri()},
        ) as airflow,
    ):
        run = airflow.trigger(DAG_ID)
        airflow.wait_for_run(DAG_ID, run, seconds=400)
        tasks = airflow.task_instances(DAG_ID, run)
        failed = {ti["task_id"]: ti["state"] for ti in tasks if ti["state"] != "success"}
        assert not failed, airflow.log(DAG_ID, run, next(iter(failed)))[-3000:] + airflow.tails()
        assert {ti["try_number"] for ti in tasks} == {1}

        assert len(emulator.posts()) == len(emulator.jobs) == 9, "five drawn, two of a batch, two labelled"
        results = {
            name: airflow.xcom(DAG_ID, run, name) for name in ("zeichne_ü", "deferred_ü", "long", "too_long", "hole_ß")
        }
        files = {name: result["files"][0] for name, result in results.items()}
        assert all(Path(file["path"].removeprefix("file://")).is_file() for file in files.values())

        told = [event for event in events(airflow) if event["source_run_id"] == run]
        plain = Counter(event["source_task_id"] for event in told if not event["uri"].startswith("file:"))
        assert plain == dict.fromkeys(("zeichne_ü", "deferred_ü", "long", "too_long", "submit"), 1)
        named = {event["source_task_id"]: event for event in told if event["uri"].startswith("file:")}
        assert set(named) == {"zeichne_ü", "deferred_ü", "hole_ß", "stapel_ö"}
        for name in ("zeichne_ü", "deferred_ü", "hole_ß"):
            assert named[name]["extra"] == files[name]
            assert unquote(named[name]["uri"]) == files[name]["path"]
            assert named[name]["uri"].isascii()
        for name in ("long", "too_long"):
            log = airflow.log(DAG_ID, run, name)
            assert "gets no asset for" in log
            assert results[name]["request_id"] in log
        assert "could not be sent" in airflow.log(DAG_ID, run, "zeichne_ü"), "or the metrics did not fail"

        labels = {ti["map_index"]: ti["rendered_map_index"] for ti in tasks if ti["task_id"] == "labelled"}
        assert labels == {0: "é" * 249 + "…", 1: "1984"}


def events(airflow: Deployment) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = airflow.api("GET", "/assets/events", params={"limit": 100})["asset_events"]
    return found
