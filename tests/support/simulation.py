"""Many calls against the emulator's decisions in stepped time: an hour of a thousand jobs takes seconds."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any

from airflow_provider_falinvoke.api.outcomes import Call, Outcome, Pause, Reply, Resumed, Say
from airflow_provider_falinvoke.emulator.api import Api
from airflow_provider_falinvoke.emulator.clock import ManualClock, Timeline
from airflow_provider_falinvoke.emulator.records import RecordedRequest
from airflow_provider_falinvoke.emulator.replies import Request
from airflow_provider_falinvoke.emulator.state import State

KEY = "emulator-key"
START = 1_800_000_000.0


class Simulation:
    """A clock, the emulator's API, and the calls that are under way.

    :param latency: seconds from a request to its reply.
    :param weather: where it is bad: each way takes a time of its own, about ``latency / 2``, and after one request in a
        hundred, on average, the API answers nobody for up to two seconds.
    :param settings: the emulator's quotas and durations.
    """

    def __init__(
        self,
        *,
        latency: float = 0.03,
        weather: random.Random | None = None,
        durations: dict[str, float] | None = None,
        **settings: Any,
    ) -> None:
        self.clock = ManualClock(START)
        given: dict[str, Any] = {"quota_per_minute": 250, "quota_per_hour": 5000, "retry_after": True, **settings}
        self.state = State(
            api_key=KEY,
            timeline=Timeline(self.clock),
            durations=durations or {},
            jitter=0.0,
            queue_time=None,
            statuses={},
            accept_status=202,
            media_ttl=None,
            **given,
        )
        self._api = Api(self.state)
        self._latency = latency
        self._weather = weather
        self._deaf_until = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self.clock() - START

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests so far."""
        return self.state.requests

    def start(self, call: Call[Any], then: Callable[[Any], None] = lambda _: None, *, at: float = 0.0) -> None:
        """Begin a call so many seconds after the start; ``then`` gets what it returns."""
        self._at(START + at, lambda: self._advance(call, None, then))

    def run(self, until: float = float("inf")) -> None:
        """Step from event to event until nothing is left to do, or so many seconds after the start."""
        while self._events and self._events[0][0] - START <= until:
            at, _, event = heapq.heappop(self._events)
            self.clock.advance(max(0.0, at - self.clock()))
            event()

    def _at(self, moment: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), event))

    def _advance(self, call: Call[Any], outcome: Outcome | None, then: Callable[[Any], None]) -> None:
        try:
            step = next(call) if outcome is None else call.send(outcome)
        except StopIteration as stop:
            then(stop.value)
            return
        now = self.clock()
        if isinstance(step, (Pause, Say)):
            moment = max(now, step.until) if isinstance(step, Pause) else now
            self._at(moment, lambda: self._advance(call, Resumed(moment), then))
            return
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        request = Request(step.method, step.path, "", headers, step.body or b"")

        def arrive() -> None:
            if self.clock() < self._deaf_until:
                self._at(self._deaf_until, arrive)
                return
            if self._weather is not None and self._weather.random() < 0.01:
                self._deaf_until = self.clock() + 2 * self._weather.random()
            made = self._api.answer(request)
            back = self.clock() + self._way()
            names = {name.lower(): value for name, value in made.headers.items()}
            self._at(back, lambda: self._advance(call, Reply(made.status, names, made.body, back), then))

        self._at(now + self._way(), arrive)

    def _way(self) -> float:
        mean = self._latency / 2
        return mean if self._weather is None else self._weather.expovariate(1 / mean)
