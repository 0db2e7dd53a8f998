"""What is done to a deployment at random: drawn from a seed beforehand, and each undone after its time."""

from __future__ import annotations

import heapq
import itertools
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import httpx
import psutil

from airflow_provider_falinvoke.emulator import Fault
from tests.airflow.door import Door
from tests.airflow.job import freeze, thaw
from tests.airflow.lab import Lab

#: Seconds between two disturbances, on average.
APART = 2.5
#: Within so many seconds Airflow ends a process whose task is over: a heartbeat, and the patience after its SIGTERM.
END = 15.0
#: What can be done: how often compared with the others, and how long it lasts, in seconds.
KINDS: Mapping[str, tuple[float, float, float]] = {
    "clear": (5, 0, 0),
    "kill": (5, 0, 0),
    "freeze": (3, 2, 50),
    "mark failed": (1.5, 0, 0),
    "mark success": (0.5, 0, 0),
    "kill a triggerer": (0.7, 3, 8),
    "freeze a triggerer": (0.7, 3, 40),
    "API away": (1.5, 2, 15),
    "API slow": (3, 5, 10),
    "API over its quota": (1.5, 5, 15),
    "API loses replies": (1, 1, 2),
    "storage away": (1.5, 3, 20),
    "XCom backend away": (1.5, 3, 15),
    "media host away": (1.5, 3, 15),
}
#: What a user clears or marks: mostly what goes on, now and then what is over.
_GOES_ON = frozenset(("running", "deferred", "up_for_retry", "queued", "scheduled"))
_OVER = frozenset(("success", "failed"))
_SHARE_OVER = 0.15

Undo = Callable[[], None]
T = TypeVar("T")
#: A task instance: its task_id and map_index.
Place = tuple[str, int]


@dataclass(frozen=True)
class Planned:
    """One disturbance to come.

    :param at: seconds from the beginning.
    :param kind: one of :data:`KINDS`.
    :param seconds: how long it lasts.
    :param pick: from 0 to 1, decides whom it meets.
    """

    at: float
    kind: str
    seconds: float
    pick: float


def draw(seed: int, seconds: float) -> Iterator[Planned]:
    """Yield what a seed brings within so many seconds."""
    rng = random.Random(seed)
    at = 0.0
    while (at := at + rng.expovariate(1 / APART)) < seconds:
        kind = rng.choices(list(KINDS), [weight for weight, _, _ in KINDS.values()])[0]
        _, shortest, longest = KINDS[kind]
        yield Planned(at, kind, rng.uniform(shortest, longest), rng.random())


class Disturber:
    """Does what was drawn to one run of the storm's DAG.

    :param lab: where.
    :param run_id: the run.
    :param api: the door to the API.
    :param storage: the door to the storage.
    """

    def __init__(self, lab: Lab, run_id: str, *, api: Door, storage: Door) -> None:
        self._lab = lab
        self._run_id = run_id
        self._faults: list[Fault] = []
        self._lasting: Mapping[str, Callable[[float], AbstractContextManager[None]]] = {
            "kill a triggerer": lambda pick: self._without_a_triggerer(pick, killed=True),
            "freeze a triggerer": lambda pick: self._without_a_triggerer(pick, killed=False),
            "API away": lambda pick: api.shut_while(cut=pick > 1 / 2),
            "API slow": lambda _: self._fault(Fault("slow", on="post", seconds=4, times=None)),
            "API over its quota": lambda _: self._fault(Fault("answer", on="post", status=429, seconds=3, times=None)),
            "API loses replies": lambda _: self._fault(Fault("drop", on="post", accepted=True, times=None)),
            "media host away": lambda _: self._fault(Fault("answer", on="media", status=503, times=None)),
            "storage away": lambda _: self._storage_away(storage),
            "XCom backend away": lambda _: lab.xcom_away(run_id),
        }
        self._going_on: set[str] = set()
        #: How often each kind was done.
        self.done: Counter[str] = Counter()
        #: From when to when each task instance was struck, in epoch seconds.
        self.struck: defaultdict[Place, list[tuple[float, float]]] = defaultdict(list)
        #: From when to when the storage was away.
        self.storage_away: list[tuple[float, float]] = []
        #: Which task instances a user marked as succeeded.
        self.marked: set[Place] = set()

    def run(self, plan: Sequence[Planned]) -> None:
        """Do all of it in its time, and undo all of it."""
        began = time.monotonic()
        order = itertools.count()
        due: list[tuple[float, int, Planned | Undo]] = [(one.at, next(order), one) for one in plan]
        heapq.heapify(due)
        while due:
            at, _, what = heapq.heappop(due)
            time.sleep(max(0.0, began + at - time.monotonic()))
            if not isinstance(what, Planned):
                what()
            elif undo := self._do(what):
                self.done[what.kind] += 1
                heapq.heappush(due, (time.monotonic() - began + what.seconds, next(order), undo))

    def _do(self, planned: Planned) -> Undo | None:
        """Begin a disturbance; return how to end it, or None if there is nobody whom it could meet."""
        if planned.kind in self._lasting:
            return self._begin(planned)
        with suppress(httpx.HTTPError, psutil.Error, AssertionError):  # it ended, or cannot be cleared, just now
            return self._strike(planned.kind, planned.pick)
        return None

    def _begin(self, planned: Planned) -> Undo | None:
        # Two of a kind at once would undo each other.
        kind = "a triggerer" if planned.kind.endswith("a triggerer") else planned.kind
        if kind in self._going_on:
            return None
        self._going_on.add(kind)
        lasting = self._lasting[planned.kind](planned.pick)
        lasting.__enter__()

        def undo() -> None:
            lasting.__exit__(None, None, None)
            self._going_on.discard(kind)

        return undo

    def _strike(self, kind: str, pick: float) -> Undo | None:
        found = self._lab.airflow.task_instances("storm", self._run_id)
        running = [ti for ti in found if ti["state"] == "running"]
        if kind in ("kill", "freeze"):
            candidates = running
        else:
            states = _OVER if pick < _SHARE_OVER else _GOES_ON
            # A submit that a user marks as succeeded leaves its sensor nothing to wait for.
            spared = ("jobs", "submit_") if kind == "mark success" else ("jobs",)
            candidates = [ti for ti in found if ti["state"] in states and not ti["task_id"].startswith(spared)]
        if not candidates:
            return None
        ti = _picked(candidates, pick)
        place = (ti["task_id"], ti["map_index"])
        now = time.time()
        self.struck[place].append((now, now if kind in ("kill", "freeze") else now + END))
        if kind in ("kill", "freeze"):
            worker, tasks = self._lab.processes_of(str(ti["id"]))
            if kind == "kill":
                for task in tasks:
                    task.kill()
                return _nothing
            freeze(worker, *tasks)
            return lambda: self._thaw(place, worker, tasks)
        if kind == "clear":
            self._lab.airflow.clear("storm", self._run_id, *place)
        else:
            state = kind.removeprefix("mark ")
            self._lab.airflow.mark("storm", self._run_id, *place, state=state)
            if state == "success":
                self.marked.add(place)
        return _nothing

    def _thaw(self, place: Place, worker: psutil.Process, tasks: list[psutil.Process]) -> None:
        self.struck[place].append((time.time(), time.time() + END))
        thaw(*tasks, worker)

    @contextmanager
    def _without_a_triggerer(self, pick: float, *, killed: bool) -> Iterator[None]:
        airflow = self._lab.airflow
        triggerer = _picked(airflow.triggerers, pick)
        if killed:
            airflow.kill(triggerer)
        else:
            airflow.send_signal(triggerer, signal.SIGSTOP)
        try:
            yield
        finally:
            if killed:
                airflow.start(triggerer)
            else:
                airflow.send_signal(triggerer, signal.SIGCONT)

    @contextmanager
    def _storage_away(self, storage: Door) -> Iterator[None]:
        began = time.time()
        with storage.shut_while():
            yield
        self.storage_away.append((began, time.time()))

    @contextmanager
    def _fault(self, fault: Fault) -> Iterator[None]:
        self._faults.append(fault)
        self._set_faults()
        try:
            yield
        finally:
            self._faults.remove(fault)
            self._set_faults()

    def _set_faults(self) -> None:
        self._lab.emulator.clear_faults()
        for fault in self._faults:
            self._lab.emulator.add_fault(fault)


def _picked(candidates: Sequence[T], pick: float) -> T:
    # Not by its first digits, which say already whether somebody is meant who is over.
    return candidates[int(pick * 997 % 1 * len(candidates))]


def _nothing() -> None:
    """Undo what is over by itself."""
