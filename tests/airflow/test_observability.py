"""What a task's log and Airflow's metrics tell of a job: submitted, deferred, resumed, failed, taken up again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from airflow_provider_falinvoke.emulator import Emulator, Fault
from tests.airflow.deployment import Deployment
from tests.airflow.job import Job
from tests.airflow.lab import DAGS, MODELS, Lab
from tests.support.statsd import StatsdServer


@dataclass(frozen=True)
class Told:
    """Three jobs that ended, and what there is to read of them.

    :param plain: a job that was deferred, asked for once too often (429), and came home.
    :param retried: one whose file could not be saved at first.
    :param refused: one that the API refused for good.
    """

    plain: Job
    retried: Job
    refused: Job
    statsd: StatsdServer
    emulator: Emulator

    def log(self, job: Job) -> str:
        """Return the log as the UI shows it: all files of all tries, in order of time."""
        lab, lines = job.lab, ""
        for attempt in range(1, int(job.task_instance()["try_number"]) + 1):
            path = f"/dags/{job.dag_id}/dagRuns/{job.run_id}/taskInstances/job/logs/{attempt}"
            lines += str(lab.airflow.api("GET", path, headers={"Accept": "application/json"}))
        return lines


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    home: Path = tmp_path_factory.mktemp("observed")
    with (
        StatsdServer() as statsd,
        Emulator(durations=MODELS, quota_per_minute=None, quota_per_hour=None) as emulator,
        Deployment(
            home / "airflow", DAGS, {"falinvoke_default": emulator.connection}, settings=statsd.settings
        ) as airflow,
    ):
        lab = Lab(home, emulator, airflow, "")
        plain = lab.job("plain", "deferrable", seconds=20)
        plain.fault("answer", on="get", status=429, headers={"Retry-After": "1"}, after=1)
        retried = lab.job("retried", "deferrable", seconds=9)
        emulator.add_fault(Fault("answer", on="media", status=503, times=None, model_id=retried.model_id))
        refused = lab.job("refused", "sync", seconds=1)
        refused.fault("fail", on="post", body={"detail": [{"msg": "refused", "type": "content_policy"}]})
        for job in (plain, retried, refused):
            job.start()
        retried.until_state("up_for_retry", seconds=300)
        emulator.clear_faults()
        states = [job.until_ended(seconds=300) for job in (plain, retried, refused)]
        assert states == ["success", "success", "failed"], airflow.tails()
        yield Told(plain, retried, refused, statsd, emulator)


def in_order(log: str, *words: str) -> None:
    """Assert that these words follow one another in the log."""
    at = 0
    for each in words:
        found = log.find(each, at)
        assert found >= 0, f"{each!r} is not in the log after {log[:at][-300:]!r}\n{log[-4000:]}"
        at = found


def test_a_deferred_jobs_log_tells_its_story_in_order(told: Told) -> None:
    """The triggerer's lines among them, and the line of the resume says again which job it is."""
    (request_id,) = told.plain.paid
    model_id = told.plain.model_id
    in_order(
        told.log(told.plain),
        f"Submitted {model_id} as {request_id}",
        "Deferring, ",
        f"Waiting for the job {request_id} of {model_id}, submitted ",
        f"Invocation {request_id} is COMPLETED",
        f"Resumed: the job {request_id} of {model_id} is completed ",
        " s after its submit; the triggerer looked ",
        "Saved ",
        f"The job {request_id} of {model_id} is home: 20.0 s by the API's times, 1 files saved",
    )


def test_a_retry_says_which_job_it_takes_up_again(told: Told) -> None:
    (request_id,) = told.retried.paid
    in_order(
        told.log(told.retried),
        f"Submitted {told.retried.model_id} as {request_id}",
        f"Resumed: the job {request_id} of {told.retried.model_id} is completed ",
        "could not be saved",
        f"Taking up the job {request_id} of an earlier try, submitted ",
        f"The job {request_id} of {told.retried.model_id} is home",
    )


def test_each_job_and_request_is_counted_once_on_worker_and_triggerer(told: Told) -> None:
    statsd = told.statsd
    jobs = {"plain": told.plain, "retried": told.retried, "refused": told.refused}
    for name, counts in {
        "plain": {"submitted": 1, "completed": 1, "rate_limited": 1},
        "retried": {"submitted": 1, "failed": 1, "resumed": 1, "completed": 1},
        "refused": {"submitted": 1, "failed": 1},
    }.items():
        model = f"fal-ai_flux_{name}"
        found = {
            each: statsd.total(f"{each}.{model}")
            for each in ("submitted", "completed", "failed", "resumed", "rate_limited")
        }
        assert {each: count for each, count in found.items() if count} == counts, name
        sent = [r for r in told.emulator.requests if r.model_id == jobs[name].model_id and r.route != "media"]
        assert statsd.total(f"requests.{model}") == len(sent)
    assert statsd.total("submitted") == 3
    assert statsd.total("requests") == len([r for r in told.emulator.requests if r.route != "media"])


def test_waits_and_runs_are_timed(told: Told) -> None:
    (waited,) = told.statsd.times("wait_duration.fal-ai_flux_plain")
    assert told.statsd.times("run_duration.fal-ai_flux_plain") == [20_000.0]
    assert waited >= 20_000
    assert told.statsd.times("wait_duration.fal-ai_flux_refused") == []
