"""Jobs that end about when a deferral begins meet a race in Airflow's core (apache/airflow #71580); ours must not."""

from __future__ import annotations

from pathlib import Path

from airflow_provider_falinvoke.emulator import Emulator
from tests.airflow.deployment import Deployment

DAGS = Path(__file__).parent / "dags"
KEY = "do-not-show-this-key-5e1f"


def test_96_mapped_jobs_of_1_to_12_seconds_all_succeed_without_retries(tmp_path: Path) -> None:
    """Default settings, retries=0; one POST a job; the key in no file that Airflow wrote."""
    durations = [1.0 + number % 12 for number in range(96)]
    with (
        Emulator(api_key=KEY, quota_per_minute=None, quota_per_hour=None) as emulator,
        Deployment(tmp_path / "airflow", DAGS, {"falinvoke_default": emulator.connection}) as airflow,
    ):
        run = airflow.trigger("short_jobs", durations=durations)
        state = airflow.wait_for_run("short_jobs", run, seconds=400)
        jobs = [ti for ti in airflow.task_instances("short_jobs", run) if ti["task_id"] == "job"]
        failed = [ti["map_index"] for ti in jobs if ti["state"] != "success"]
        assert not failed, airflow.log("short_jobs", run, "job", failed[0])[-3000:]
        assert (state, len(jobs)) == ("success", 96)

        posts = [post.request_id for post in emulator.posts()]
        assert len(posts) == len(set(posts)) == 96
        returned = [airflow.xcom("short_jobs", run, "job", ti["map_index"])["request_id"] for ti in jobs]
        assert sorted(returned) == sorted(filter(None, posts))
        assert not emulator.leaks
    shown = [path.name for path in airflow.home.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert not shown
