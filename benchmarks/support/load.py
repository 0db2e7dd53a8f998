"""Runs a load of jobs by one design against an emulator, both on the same clock, and says what came of it."""

from __future__ import annotations

import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.support import clock
from benchmarks.support.emulated import client_environment, emulator

#: The three families: model, input, and the median of its durations in seconds.
FAMILIES: tuple[tuple[str, dict[str, Any], float], ...] = (
    ("fal-ai/flux/schnell", {"prompt": "a red fox"}, 2.0),
    ("fal-ai/elevenlabs/tts/multilingual-v2", {"text": "good morning"}, 15.0),
    ("fal-ai/stable-audio-25/text-to-audio", {"prompt": "rain on a roof", "seconds_total": 10}, 45.0),
)
SIGMA = 0.5
HOUR, MINUTE = 3600.0, 60.0

Job = dict[str, Any]


def mixed_jobs(count: int, seed: int = 1) -> list[Job]:
    """Return jobs of the three families in turn, their durations log-normal around the family's median."""
    rng = random.Random(seed)
    jobs = []
    for number in range(count):
        model_id, given, median = FAMILIES[number % len(FAMILIES)]
        seconds = rng.lognormvariate(math.log(median), SIGMA)
        jobs.append({"model_id": model_id, "input": given, "seconds": round(seconds, 3)})
    return jobs


@dataclass(frozen=True)
class Load:
    """What is asked of a design, and how fast the clock runs.

    :param in_flight: at the most so many jobs submitted and not yet found done.
    :param slots: how many tasks run on workers at a time.
    :param factor: how many times faster the clock of client and emulator runs.
    :param per_minute: the quota that the emulator enforces; 0 for none.
    :param stop_after: seconds of the clock after which the run ends in any case.
    :param interval: the design's fixed pause, None for ours.
    :param extra: of our connection.
    """

    jobs: Sequence[Job]
    in_flight: int
    factor: float
    per_minute: int = 250
    per_hour: int = 5000
    slots: int = 16
    stop_after: float = 24 * HOUR
    interval: float | None = None
    extra: dict[str, Any] | None = None


@dataclass(frozen=True)
class Found:
    """A job that was found done.

    :param at: when, in seconds since the run's first request.
    :param seconds: how long the job took.
    :param delay: how long it had been done by then.
    :param requests: that were sent for it, its POST included.
    """

    model_id: str
    at: float
    seconds: float
    delay: float
    requests: int


@dataclass(frozen=True)
class Run:
    """What came of a load; times are seconds since the first request."""

    design: str
    found: list[Found]
    lost: int
    retries: int
    submitted: int
    #: When each request came, and whether it was rejected with 429.
    requests: list[tuple[float, bool]]
    lasted: float
    real_seconds: float

    @property
    def done(self) -> int:
        """How many jobs were found done."""
        return len(self.found)

    @property
    def jobs_an_hour(self) -> float:
        """Jobs found done, by the time until the last one; an hour at the least where the run was stopped."""
        return self.done / max((each.at for each in self.found), default=HOUR) * HOUR

    @property
    def requests_a_job(self) -> float:
        """Requests that were sent, rejected ones too, by jobs found done."""
        return len(self.requests) / max(1, self.done)

    @property
    def accepted(self) -> int:
        """Requests that the quota let through."""
        return sum(not rejected for _, rejected in self.requests)

    def rejected(self, since: float = 0.0) -> int:
        """Return how many requests were rejected from a moment on."""
        return sum(rejected and at >= since for at, rejected in self.requests)

    def delay(self, quantile: float) -> float:
        """Return a quantile of the delays, in seconds."""
        return percentile([each.delay for each in self.found], quantile)


def percentile(values: Sequence[float], quantile: float) -> float:
    """Return a quantile (0 to 1) of some values; not a number where there are none."""
    if not values:
        return math.nan
    return sorted(values)[min(len(values) - 1, math.ceil(quantile * len(values)) - 1 if quantile else 0)]


def run(design: str, load: Load) -> Run:
    """Run a load, in processes of its own."""
    began = clock.real_time()
    variables = clock.environment(began, load.factor)
    quota = ("--quota-per-minute", str(load.per_minute), "--quota-per-hour", str(load.per_hour))
    with tempfile.TemporaryDirectory() as home, emulator(*quota, variables=variables) as api:
        connection = {**api.connection, **({"extra": load.extra} if load.extra else {})}
        task = {
            "design": design,
            "jobs": list(load.jobs),
            "slots": load.slots,
            "in_flight": load.in_flight,
            "stop_after": load.stop_after,
            "interval": load.interval,
            "url": api.url,
            "key": api.key,
        }
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.support.fleet"],
            env={**client_environment(connection, home), **variables},
            input=json.dumps(task) + "\n",
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        answer = json.loads(done.stdout.splitlines()[-1])
        requests, jobs = api.ask("requests")["requests"], api.ask("jobs")
    return _read(design, answer, requests, jobs, time.time() - began)


def _read(
    design: str, answer: dict[str, Any], requests: list[dict[str, Any]], jobs: dict[str, Any], real_seconds: float
) -> Run:
    # What was on its way when the run was stopped belongs to no figure.
    requests = [each for each in requests if each["at"] <= answer["until"]]
    zero = requests[0]["at"]
    counts: dict[str, int] = {}
    for each in requests:
        if each["request_id"] is not None:
            counts[each["request_id"]] = counts.get(each["request_id"], 0) + 1
    found = []
    for end in answer["ends"]:
        if end["state"] == "done":
            job = jobs[end["request_id"]]
            delay = end["at"] - job["ends_at"]
            found.append(Found(job["model_id"], end["at"] - zero, job["duration"], delay, counts[end["request_id"]]))
    assert all(each.delay >= 0 for each in found), "a job was found done before it was"
    errors = [end["error"] for end in answer["ends"] if end["state"] == "lost"]
    if errors:
        print(f"{design}: {len(errors)} lost, the first: {errors[0]}", flush=True)
    return Run(
        design=design,
        found=found,
        lost=len(errors),
        retries=answer["retries"],
        submitted=len(jobs),
        requests=[(each["at"] - zero, each["status"] == 429) for each in requests],
        lasted=answer["until"] - zero,
        real_seconds=real_seconds,
    )


def share_within(found: Sequence[Found], share: float, seconds: float) -> float:
    """Return the 95th percentile of ``(delay - seconds) / duration``: the delay beyond a constant, as a share."""
    return percentile([(each.delay - seconds) / each.seconds for each in found], 0.95) if found else share


def mean(values: Sequence[float]) -> float:
    """Return the mean; not a number where there are none."""
    return statistics.fmean(values) if values else math.nan
