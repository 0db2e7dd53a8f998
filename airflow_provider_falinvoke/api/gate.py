"""One gate for all requests of a connection: when the next one may go, and whose it is. No clock, no sleep.

A token's quota counts every request of every process that has it, and each process sees the headers of its own replies
alone. So a gate goes by what the last reply said is left, shares that out over the time until the reset, and keeps a
little of it for others. The first due is the first served, whoever asked: that starves nobody, submits and polls alike.

Times are seconds of the clock that the calls go by, the monotonic one, which all of a process share.
"""

from __future__ import annotations

import itertools
import json
import math
import threading
from bisect import bisect_left, insort
from http import HTTPStatus
from types import TracebackType

from airflow_provider_falinvoke.api.outcomes import NOW, Call, Outcome, Pause, Reply, Send, T
from airflow_provider_falinvoke.api.pacing import PROBE, rejected_pause
from airflow_provider_falinvoke.api.quota import Quota

#: Where too many are in flight one asks again after so many seconds, and so many more for each that is before it.
ASK_AGAIN, ASK_AGAIN_EACH = 0.05, 0.005
#: A minute's requests take so many seconds at the fastest: a hundred jobs that fall due at one moment are no burst.
FASTEST_MINUTE = 5.0
_TICK = 0.001
#: Where the quota lets a request wait longer than so many seconds, a look that is not needed keeps another job waiting.
SCARCE_WAIT = 2.0
#: Whoever waits asks again after so many seconds: a new key may have changed everything.
LONGEST_WAIT = 30.0
#: A turn that comes within so many seconds is worth the wait, however little patience a call has.
TURN_GRACE = 1.0


class Gate:
    """The queue of a connection's requests, and what is known of its quota. Threads and event loops may share it.

    :param per_minute: requests a minute, where the replies do not say that fewer are left.
    :param per_hour: requests an hour, likewise.
    """

    def __init__(self, per_minute: float = 250, per_hour: float = 5000) -> None:
        self._lock = threading.Lock()
        self._queue: list[tuple[float, int]] = []
        self._numbers = itertools.count()
        self._in_flight = 0
        self._last = self._heard_at = -math.inf
        self._closed_until = -math.inf
        self._rejected = 0
        self._quota = Quota(per_minute, per_hour)

    def set_quota(self, per_minute: float, per_hour: float) -> None:
        """Change the connection's own quota, from the next window on."""
        with self._lock:
            self._quota.per_minute, self._quota.per_hour = per_minute, per_hour

    def forget(self) -> None:
        """Forget what was sent and what replies said: there is another key now."""
        with self._lock:
            self._closed_until, self._rejected = -math.inf, 0
            self._quota = Quota(self._quota.per_minute, self._quota.per_hour)

    def is_scarce(self, now: float) -> bool:
        """Whether requests should be saved: the quota is about to be used up, or lets them wait already.

        A queue alone says nothing: it grows as well where the event loop stood still.
        """
        with self._lock:
            opens_at = self._allowed_at(len(self._queue), now)
            return opens_at > now + SCARCE_WAIT or self._quota.is_scarce(now)

    def used_up_until(self, now: float) -> float:
        """Return when the minute ends of whose requests hardly any is left; ``now`` where there is none."""
        with self._lock:
            return self._quota.used_up_until(now)

    def turn(self, due: float) -> Turn:
        """Return a place in the queue.

        :param due: when the request was due, in seconds; the earlier goes first.
        """
        return Turn(self, (due, next(self._numbers)))

    def enter(self, ticket: tuple[float, int]) -> None:
        """Queue up; called by :class:`Turn`."""
        with self._lock:
            insort(self._queue, ticket)

    def leave(self, ticket: tuple[float, int], *, sent: bool) -> None:
        """Give the place back; called by :class:`Turn`."""
        with self._lock:
            if sent:
                self._in_flight -= 1
            else:
                del self._queue[bisect_left(self._queue, ticket)]

    def pass_at(self, ticket: tuple[float, int], now: float) -> float:
        """Take the request off the queue and count it if it may go; return when it may, ``now`` if it has."""
        with self._lock:
            place = bisect_left(self._queue, ticket)
            at = self._opens_at(place, now)
            if place > 0 or at > now:
                return max(at, now + max(self._spacing, _TICK))
            del self._queue[0]
            self._quota.count(now)
            self._in_flight += 1
            self._last = now
            return now

    def _opens_at(self, place: int, now: float) -> float:
        at = max(self._last + self._spacing, self._allowed_at(place, now))
        if self._in_flight >= self._quota.most_in_flight(now):
            at = max(at, now + ASK_AGAIN + place * ASK_AGAIN_EACH)
        return at + place * self._spacing

    def _allowed_at(self, place: int, now: float) -> float:
        """Return when the quota lets a request go; a probe a minute finds out whether what replies said still holds."""
        told = max(self._closed_until, self._quota.told_opens_at(place, now))
        probe_at = max(self._last, self._heard_at) + PROBE * (place + 1)
        return max(self._quota.own_opens_at(place, now), min(told, max(now, probe_at)))

    @property
    def _spacing(self) -> float:
        return FASTEST_MINUTE / self._quota.per_minute

    def hear(self, reply: Reply) -> None:
        """Take note of what a reply says about the quota."""
        with self._lock:
            self._heard_at = reply.at
            self._quota.read(reply.headers, reply.at, reply.ahead)
            if reply.status != HTTPStatus.TOO_MANY_REQUESTS:
                self._rejected = 0
                return
            self._rejected += 1
            pause = rejected_pause(reply.headers, reply.at + reply.ahead, self._rejected)
            self._closed_until = max(self._closed_until, reply.at + pause)


class Turn:
    """A request's place in the queue of a gate; a context, so that the place is given back however the request ends.

    :param gate: the gate.
    :param ticket: when the request was due, and a number that tells two of one moment apart.
    """

    def __init__(self, gate: Gate, ticket: tuple[float, int]) -> None:
        self._gate = gate
        self._ticket = ticket
        self._sent = False

    def __enter__(self) -> Turn:
        self._gate.enter(self._ticket)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._gate.leave(self._ticket, sent=self._sent)

    def opens_at(self, now: float) -> float:
        """Return when the request may go, in seconds; ``now`` means that it goes, and is counted."""
        at = self._gate.pass_at(self._ticket, now)
        self._sent = at <= now
        return at

    def heard(self, outcome: Outcome) -> None:
        """Tell the gate what came back."""
        if isinstance(outcome, Reply):
            self._gate.hear(outcome)


def gated(call: Call[T], gate: Gate) -> Call[T]:
    """Return ``call`` with a wait before each request until the gate lets it pass.

    A request that would have to wait longer than its ``turn_by`` is not sent: the call is told "429", as the API would.
    """
    try:
        step, due, rejected = next(call), None, False
        while True:
            if isinstance(step, Send):
                outcome = yield from _in_turn(step, gate, due)
                rejected = isinstance(outcome, Reply) and outcome.status == HTTPStatus.TOO_MANY_REQUESTS
            else:
                outcome = yield step
                if isinstance(step, Pause) and not rejected:  # else it stays due, and is before those that came later
                    due = min(step.until, outcome.at) or outcome.at
            step = call.send(outcome)
            del outcome  # see drivers.arun
    except StopIteration as stop:
        result: T = stop.value
        return result


def _in_turn(step: Send, gate: Gate, due: float | None) -> Call[Outcome]:
    now = (yield NOW).at
    turn_by = max(step.turn_by, now + TURN_GRACE)
    with gate.turn(now if due is None else due) as turn:
        while (at := turn.opens_at(now)) > now:
            if at > turn_by:
                return _not_sent(at - now, now)
            now = (yield Pause(min(at, now + LONGEST_WAIT))).at
        outcome = yield step
        turn.heard(outcome)
        return outcome


def _not_sent(seconds: float, now: float) -> Reply:
    words = f"not sent: the token's requests are used up, or shared out, for another {seconds:.0f} s"
    body = json.dumps({"message": words}).encode()
    return Reply(HTTPStatus.TOO_MANY_REQUESTS, {"retry-after": f"{seconds:.3f}"}, body, now)
