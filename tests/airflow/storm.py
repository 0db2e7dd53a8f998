"""Jobs of every kind at once, while everything is done to them at random that users, machines and networks do.

What is done is drawn from a seed. Then the weather clears, and a user clears what failed, until nothing more comes of
that; what is left is judged by ``audit.py``.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.airflow import audit
from tests.airflow.disturbances import Disturber, Place, draw
from tests.airflow.job import request
from tests.airflow.lab import Lab

#: How long things are done to the jobs, and how long the jobs may take to end afterwards, in seconds.
ROUGH, CALM = 120.0, 240.0
MAPPED, ITEMS = 36, 8
SHORTEST, LONGEST = 3.0, 20.0
#: The kinds of single tasks and batches, and of the pairs of a submit and a sensor, in ``dags/storm.py``.
SINGLES, PAIRS = ("deferrable", "sync"), ("deferrable", "poke")
#: How often a user clears what failed, at the most, and how long after.
ROUNDS, PATIENCE = 4, 8.0
_OVER = frozenset(("success", "failed", "upstream_failed", "skipped", "removed"))


@dataclass
class Storm:
    """What became of the jobs.

    :param done: how often each disturbance was done.
    :param jobs: how many were wanted.
    :param results: how many of them are there, as a user sees them.
    :param by_hand: how many of them a user did without, who marked their task as succeeded.
    :param posts: how many POSTs the API saw.
    :param paid: how many it accepted.
    :param doubts: tries that failed by saying that a submit may be paid.
    :param lost: results that are not there, and paid jobs that nobody knows of.
    :param twice: jobs that are paid though nobody asked for them.
    :param for_nothing: tasks that failed for good though nothing was sent.
    """

    seed: int
    done: Counter[str]
    jobs: int = 0
    results: int = 0
    by_hand: int = 0
    posts: int = 0
    paid: int = 0
    doubts: int = 0
    seconds: float = 0.0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    for_nothing: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return the figures in one line."""
        done = ", ".join(f"{kind} {count} times" for kind, count in sorted(self.done.items()))
        return (
            f"Seed {self.seed}: {self.jobs} jobs of {SHORTEST:.0f} to {LONGEST:.0f} s; {done}: {self.posts} POSTs, "
            f"{self.paid} paid, {self.results} results, {self.by_hand} jobs of tasks that were marked as succeeded, "
            f"{self.doubts} tries that reported ambiguous submits, {len(self.lost)} lost, {len(self.twice)} paid "
            f"twice, {len(self.for_nothing)} failed for good where nothing was sent, in {self.seconds:.0f} s"
        )


def seeds() -> list[int]:
    """Return the seeds that ``FALINVOKE_CHAOS_SEED`` names, separated by blanks; or one that was never there."""
    return [int(seed) for seed in os.environ.get("FALINVOKE_CHAOS_SEED", "").split()] or [
        random.SystemRandom().randrange(10**6)
    ]


def run(lab: Lab, seed: int) -> Storm:
    """Run the storm.

    :param seed: of the durations, and of what is done when to whom.
    """
    lab.emulator.reset()
    began = time.monotonic()
    there = Run(lab, seed)
    lab.until("the mapped tasks are there", lambda: len(there.states()) >= MAPPED, 120)
    there.disturber.run(list(draw(seed, ROUGH)))
    there.until_calm()
    return there.judged(seconds=time.monotonic() - began)


def wanted(rng: random.Random) -> dict[str, list[dict[str, Any]]]:
    """Return the requests of each task by its task_id."""
    sizes = {"job": MAPPED}
    sizes |= {f"single_{kind}": 1 for kind in SINGLES} | {f"batch_{kind}": ITEMS for kind in SINGLES}
    sizes |= {f"submit_{kind}": 1 for kind in PAIRS}
    return {
        task_id: [
            request(f"fal-ai/flux/storm/{task_id}/{number}", round(rng.uniform(SHORTEST, LONGEST), 1))
            for number in range(size)
        ]
        for task_id, size in sizes.items()
    }


class Run:
    """One run of the storm's DAG: started when it is made, disturbed, waited for, and judged."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self._lab = lab
        self._seed = seed
        self._requests = wanted(random.Random(seed))
        api, storage = lab.door(int(lab.emulator.connection["port"])), lab.door(lab.s3_port)
        self._run_id = lab.airflow.trigger(
            "storm",
            conn_id=lab.connect({**lab.emulator.connection, "port": api.port}),
            requests=self._requests,
            storage=lab.bucket_behind(storage),
            local=f"file://{lab.home}/out/storm-{seed}",
        )
        self.disturber = Disturber(lab, self._run_id, api=api, storage=storage)

    def states(self) -> dict[Place, str]:
        """Return the state of each task instance."""
        found = self._lab.airflow.task_instances("storm", self._run_id)
        return {(ti["task_id"], ti["map_index"]): str(ti["state"]) for ti in found}

    def until_calm(self) -> None:
        """Wait until all tasks ended, and clear what failed as a user does who wants the results."""
        give_up = time.monotonic() + CALM
        for left in reversed(range(ROUNDS)):
            try:
                patience = max(1.0, give_up - time.monotonic())
                states = self._lab.until("all tasks ended", self._ended, patience)
            except AssertionError:
                return  # what goes on is judged as lost
            failed = [place for place, state in states.items() if state != "success"]
            if not failed or not left:
                return
            time.sleep(PATIENCE)
            for place in failed:
                self._lab.airflow.clear("storm", self._run_id, *place)

    def _ended(self) -> dict[Place, str]:
        states = self.states()
        return states if set(states.values()) <= _OVER else {}

    def judged(self, *, seconds: float) -> Storm:
        """Return what became of the jobs, now that it is over."""
        posts = len(self._lab.emulator.posts())
        storm = Storm(self._seed, self.disturber.done, seconds=seconds, posts=posts)
        for place, state in sorted(self.states().items()):
            if place[0] != "jobs":
                self._judge(storm, place, state)
        return storm

    @cached_property
    def _named(self) -> set[str]:
        return self._lab.named(list(self._lab.emulator.jobs))

    def _judge(self, storm: Storm, place: Place, state: str) -> None:
        """Add to the storm what became of a task instance."""
        task_id, map_index = place
        name = f"{task_id} {map_index}"
        asked = self._requests.get(task_id, [])
        asked = asked if map_index < 0 else asked[map_index : map_index + 1]
        bills = {one["model_id"]: self._lab.bills(one["model_id"]) for one in asked}
        tries = self._lab.airflow.tries("storm", self._run_id, *place)
        story = f"\n{audit.excerpt(tries)}"
        storm.jobs += len(bills)
        storm.paid += sum(map(len, bills.values()))
        storm.doubts += sum(one.reported for one in tries)
        results = dict(self._results(place)) if state == "success" else {}
        by_hand = state == "success" and not results and place in self.disturber.marked
        for model, paid in bills.items():
            storm.twice += [f"{name}, {model}: {one}{story}" for one in audit.unasked(paid, tries)]
            unknown = [] if by_hand else audit.silent(paid, self._named, tries)
            storm.lost += [f"{name}, {model}: {one} is paid and known to nobody{story}" for one in unknown]
        posts = [[post.at for post in self._lab.emulator.posts() if post.model_id == model] for model in bills]
        struck = self.disturber.struck[place]
        if task_id.startswith("batch"):  # its journal may hold an intent whose writing was not answered
            struck = [*struck, *self.disturber.storage_away]
        storm.for_nothing += [f"{name}: {at}{story}" for at in audit.doubted_for_nothing(posts, tries, struck)]
        if by_hand:  # no further try could say what the last one left
            storm.by_hand += len(bills)
            return
        ids = {one.request_id for paid in bills.values() for one in paid} or set(self._lab.emulator.jobs)
        good = {request_id for request_id, sizes in results.items() if request_id in ids and all(sizes)}
        storm.results += len(good) if bills else 0
        if len(good) < max(1, len(bills)):
            storm.lost.append(f"{name} is {state} and has {len(good)} results of {len(bills)}: {results}{story}")

    def _results(self, place: Place) -> Iterator[tuple[str, list[int]]]:
        """Yield of each job of a task's result the request_id, and the sizes of its files where they lie."""
        result = self._lab.airflow.xcom("storm", self._run_id, *place)
        if isinstance(result, str):  # of a task that only submits
            yield result, []
        elif isinstance(result, dict):
            rows = [result]
            if result.get("items") is not None:  # of a batch
                rows = [json.loads(line) for line in self._lab.read(result["manifest"]).splitlines()]
            for row in rows:
                yield str(row["request_id"]), [len(self._lab.read(file["path"])) for file in row["files"]]
