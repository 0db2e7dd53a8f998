"""The README's first DAG as it stands, each way that users run it, with the connection in the database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_falinvoke.emulator import Emulator
from tests.airflow.deployment import Deployment
from tests.docs.blocks import ROOT, blocks_of

DAG_ID = "city_of_the_day"
#: Longer than the worker waits before it defers, so that the triggerer has to find the connection too.
SECONDS = 8.0


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(durations={"fal-ai/flux/schnell": SECONDS}) as running:
        yield running


@pytest.fixture(scope="module")
def airflow(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    home = tmp_path_factory.mktemp("ways")
    code = blocks_of(ROOT / "README.md")[0].code
    assert "/tmp/cities" in code
    (home / "dags").mkdir()
    (home / "dags" / "hero.py").write_text(code.replace("/tmp/cities", str(home / "cities")))
    (home / "connection.json").write_text(json.dumps({"falinvoke_default": emulator.connection}))
    with Deployment(home / "airflow", home / "dags", {}) as deployment:
        deployment.run("connections", "import", str(home / "connection.json"))
        yield deployment


def pictures(airflow: Deployment) -> list[Path]:
    return sorted((airflow.home.parent / "cities").rglob("*.png"))


def test_airflow_dags_test(airflow: Deployment, emulator: Emulator) -> None:
    posts, files = len(emulator.posts()), len(pictures(airflow))
    airflow.run("dags", "test", DAG_ID)
    assert (len(emulator.posts()), len(pictures(airflow))) == (posts + 1, files + 1)


def test_scheduled_and_triggered_by_the_command_and_over_rest(airflow: Deployment, emulator: Emulator) -> None:
    posts, files = len(emulator.posts()), len(pictures(airflow))
    airflow.unpause(DAG_ID)
    airflow.run("dags", "trigger", DAG_ID, "--run-id", "by_the_command")
    airflow.api("POST", f"/dags/{DAG_ID}/dagRuns", json={"logical_date": None, "dag_run_id": "over_rest"})

    def ended() -> dict[str, str] | None:
        runs = airflow.api("GET", f"/dags/{DAG_ID}/dagRuns")["dag_runs"]
        # That of airflow dags test has ended before, if it ran.
        states = {
            run["run_type"] if run["run_type"] == "scheduled" else run["dag_run_id"]: run["state"] for run in runs
        }
        wanted = {name: states.get(name, "") for name in ("scheduled", "by_the_command", "over_rest")}
        return wanted if all(state in ("success", "failed") for state in wanted.values()) else None

    states = airflow.until("all three runs ended", ended, seconds=240)
    assert set(states.values()) == {"success"}, airflow.tails()
    assert (len(emulator.posts()), len(pictures(airflow))) == (posts + 3, files + 3)
    log = airflow.log(DAG_ID, "over_rest", "draw")
    assert "Deferring" in log
    assert "Resumed: the job" in log
