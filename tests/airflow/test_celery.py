"""On a cluster, whole or losing machines, each job is paid once and its file comes home. ``make test-celery``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.airflow import celery_lab
from tests.airflow.celery_lab import WORKERS, running, slot_seconds
from tests.airflow.lab import Lab

pytestmark = pytest.mark.celery
EXAMPLES = ("falinvoke_daily_image", "falinvoke_mapped_prompts", "falinvoke_audio_and_speech")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with celery_lab.opened(tmp_path_factory.mktemp("celery")) as lab:
        yield lab


def all_home(lab: Lab, results: list[dict[str, Any]]) -> set[str]:
    """Assert that each result has its files, and return the request_ids."""
    for result in results:
        assert result["files"]
        for file in result["files"]:
            assert Path(file["path"].removeprefix("file://")).stat().st_size == file["size"] > 0
    return {str(result["request_id"]) for result in results}


def results_of(lab: Lab, dag_id: str, run_id: str) -> list[dict[str, Any]]:
    """Return what the tasks of a run brought home."""
    found = [
        lab.airflow.xcom(dag_id, run_id, ti["task_id"], ti["map_index"])
        for ti in lab.airflow.task_instances(dag_id, run_id)
    ]
    return [result for result in found if isinstance(result, dict)]


def paid_since(lab: Lab, before: set[str]) -> set[str]:
    return set(lab.emulator.jobs) - before


def held_so_far(lab: Lab) -> dict[str, list[float]]:
    """Return what :func:`slot_seconds` does, once no worker has anything left to report: supervisors linger."""
    lab.until("the workers are idle", lambda: not any(running(lab, worker) for worker in WORKERS), seconds=60)
    return slot_seconds(lab)


def test_the_examples_run(lab: Lab) -> None:
    """One of them has a schedule, so unpausing it starts a run."""
    for dag_id in EXAMPLES[1:]:
        lab.airflow.trigger(dag_id)
    lab.airflow.unpause(EXAMPLES[0])
    results = []
    for dag_id in EXAMPLES:

        def runs(dag_id: str = dag_id) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = lab.airflow.api("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"]
            return found

        for run in lab.until(f"a run of {dag_id} begins", runs, seconds=120):
            assert lab.airflow.wait_for_run(dag_id, run["dag_run_id"], seconds=240) == "success", lab.airflow.tails()
            results += results_of(lab, dag_id, run["dag_run_id"])
    assert all_home(lab, results) == set(lab.emulator.jobs)
    assert len(lab.emulator.posts()) == len(results)


def test_jobs_side_by_side_hold_slots_for_seconds(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """24 jobs of 20 s on 8 slots; both workers take part."""
    before, held_before = set(lab.emulator.jobs), held_so_far(lab)
    output = (lab.home / "side").as_uri()
    since = time.monotonic()
    run = lab.airflow.trigger("deployed_jobs", output=output, jobs=[{"seconds": 20, "deferrable": True}] * 24)
    assert lab.airflow.wait_for_run("deployed_jobs", run, seconds=400) == "success", lab.airflow.tails()
    took = time.monotonic() - since
    assert all_home(lab, results_of(lab, "deployed_jobs", run)) == paid_since(lab, before)
    assert len(paid_since(lab, before)) == 24
    held = {name: seconds[len(held_before[name]) :] for name, seconds in held_so_far(lab).items()}
    assert all(held.values()), "one of the workers did nothing"
    total = sum(map(sum, held.values()))
    with capsys.disabled():
        print(f"\n24 jobs of 20 s took {took:.0f} s, and held worker slots for {total:.0f} s: {total / 24:.1f} s a job")


def test_a_batch_of_500_in_one_task(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """500 jobs of 2 s, 250 of them in flight at a time."""
    before, held_before = set(lab.emulator.jobs), held_so_far(lab)
    inputs = [f"picture {number}" for number in range(500)]
    since = time.monotonic()
    run = lab.airflow.trigger("deployed_batch", output=(lab.home / "batch").as_uri(), inputs=inputs)
    assert lab.airflow.wait_for_run("deployed_batch", run, seconds=600) == "success", lab.airflow.tails()
    took = time.monotonic() - since
    (summary,) = results_of(lab, "deployed_batch", run)
    assert (summary["items"], summary["done"], summary["failed"], summary["files_saved"]) == (500, 500, 0, 500)
    assert len(paid_since(lab, before)) == 500
    assert len(lab.emulator.posts()) == len(lab.emulator.jobs)
    pictures = list((lab.home / "batch").rglob("*.png"))
    assert len(pictures) == 500
    assert all(path.stat().st_size for path in pictures)
    held = [second for name, seconds in held_so_far(lab).items() for second in seconds[len(held_before[name]) :]]
    with capsys.disabled():
        print(f"\na batch of 500 jobs of 2 s took {took:.0f} s, {len(held)} turns of {sum(held):.0f} slot seconds")


def test_jobs_come_home_though_a_worker_and_a_triggerer_die(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """They are not started again: what is left of the cluster takes their work over, and pays for nothing anew."""
    before = set(lab.emulator.jobs)
    # Those that wait on a worker come last, so that they still do when all are submitted.
    jobs = [{"seconds": 45, "deferrable": number < 18} for number in range(24)]
    since = time.monotonic()
    run = lab.airflow.trigger("deployed_jobs", output=(lab.home / "killed").as_uri(), jobs=jobs)

    def all_looked_at() -> bool:
        # A look says that the request_id is stored; a kill before that leaves a job in doubt, which chaos.py tests.
        paid = paid_since(lab, before)
        return len(paid) == len(jobs) and all(lab.emulator.gets(request_id) for request_id in paid)

    lab.until("all jobs are submitted", all_looked_at, seconds=240)
    victim = max(WORKERS, key=lambda worker: running(lab, worker))
    assert running(lab, victim), "no task waits on a worker any more, so the kill would prove nothing"
    lab.airflow.kill(victim)
    lab.airflow.kill("triggerer-1")

    assert lab.airflow.wait_for_run("deployed_jobs", run, seconds=500) == "success", lab.airflow.tails()
    took = time.monotonic() - since
    assert all_home(lab, results_of(lab, "deployed_jobs", run)) == paid_since(lab, before)
    assert len(paid_since(lab, before)) == len(jobs)
    assert len(lab.emulator.posts()) == len(lab.emulator.jobs)
    tries = [ti["try_number"] for ti in lab.airflow.task_instances("deployed_jobs", run) if ti["task_id"] == "job"]
    assert max(tries) > 1, "the kill hit no task"
    with capsys.disabled():
        print(f"\n24 jobs, a worker and a triggerer killed: 24 POSTs, {sum(tries) - 24} tries repeated, {took:.0f} s")
