"""Many jobs at once while task processes and triggerers are killed at random."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

import psutil

from tests.airflow.chaos import AMBIGUOUS
from tests.airflow.lab import Lab

JOBS = 200
SHORTEST, LONGEST = 5.0, 30.0
#: Seconds between two kills of a task process, and of a triggerer.
TASK_KILLS, TRIGGERER_KILLS = 3.0, 40.0


@dataclass(frozen=True)
class Storm:
    """What became of the jobs, half of them deferrable and half of them not; each counted once."""

    results: int
    ambiguous: int
    other: list[str]
    paid_twice: list[str]
    posts: int
    task_kills: int
    triggerer_kills: int
    seconds: float

    def __str__(self) -> str:
        """Return the figures in one line."""
        return (
            f"{JOBS} jobs of {SHORTEST:.0f} to {LONGEST:.0f} s, {self.task_kills} task processes and "
            f"{self.triggerer_kills} triggerers killed at random: {self.posts} POSTs, {self.results} results, "
            f"{self.ambiguous} ambiguous submits reported, {len(self.paid_twice)} paid twice, {len(self.other)} lost, "
            f"in {self.seconds:.0f} s"
        )


def run(lab: Lab, seed: int = 1) -> Storm:
    """Run the storm.

    :param seed: of the durations and of who is killed.
    """
    rng = random.Random(seed)
    durations = [rng.uniform(SHORTEST, LONGEST) for _ in range(JOBS)]
    lab.emulator.reset()
    started = time.monotonic()
    run_id = lab.airflow.trigger("storm_jobs", durations=durations)
    kills: Counter[str] = Counter()
    over = threading.Event()
    killer = threading.Thread(target=_kill_at_random, args=(lab, rng, kills, over))
    killer.start()
    try:
        lab.airflow.wait_for_run("storm_jobs", run_id, seconds=1500)
    finally:
        over.set()
        killer.join()
    paid = Counter(job.input["prompt"] for job in lab.emulator.jobs.values())
    ids = {job.request_id: job.input["prompt"] for job in lab.emulator.jobs.values()}
    results, ambiguous, other = 0, 0, []
    for ti in lab.airflow.task_instances("storm_jobs", run_id):
        if ti["task_id"] != "job":
            continue
        prompt = f"job {ti['map_index']}"
        if ti["state"] == "success":
            result = lab.airflow.xcom("storm_jobs", run_id, "job", ti["map_index"])
            if ids.get(result["request_id"]) == prompt:
                results += 1
                continue
        log = lab.airflow.log("storm_jobs", run_id, "job", ti["map_index"])
        if ti["state"] == "failed" and any(words in log for words in AMBIGUOUS):
            ambiguous += 1
        else:
            other.append(f"{prompt} is {ti['state']}: {log[-1500:]}")
    return Storm(
        results=results,
        ambiguous=ambiguous,
        other=other,
        paid_twice=[prompt for prompt, count in paid.items() if count > 1],
        posts=len(lab.emulator.posts()),
        task_kills=kills["task"],
        triggerer_kills=kills["triggerer"],
        seconds=time.monotonic() - started,
    )


def _kill_at_random(lab: Lab, rng: random.Random, kills: Counter[str], over: threading.Event) -> None:
    next_triggerer = time.monotonic() + TRIGGERER_KILLS
    while not over.wait(TASK_KILLS):
        scheduler = psutil.Process(lab.airflow.processes["scheduler"].pid)
        with suppress(psutil.Error, IndexError):
            tasks = [
                child
                for worker in scheduler.children()
                if "LocalExecutor" in " ".join(worker.cmdline())
                for child in worker.children()
                if child.status() != psutil.STATUS_ZOMBIE
            ]
            rng.choice(tasks).kill()
            kills["task"] += 1
        if time.monotonic() > next_triggerer:
            name = rng.choice(lab.airflow.triggerers)
            lab.airflow.kill(name)
            kills["triggerer"] += 1
            over.wait(5)
            lab.airflow.start(name)
            next_triggerer = time.monotonic() + TRIGGERER_KILLS
