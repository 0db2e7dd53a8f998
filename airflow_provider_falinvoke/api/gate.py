"""One gate for all requests of a connection: when the next one may go, and whose it is. No clock, no sleep.

A token's quota counts every request of every process that has it, and each process sees the headers of its own replies
alone. So a gate goes by what the last reply said is left, shares that out over the time until the reset, and keeps a
little of it for others. The first due is the first served, whoever asked: that starves nobody, submits and polls alike.
"""

from __future__ import annotations

import itertools
import json
import math
import threading
from bisect import bisect_left, insort
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType

from airflow_provider_falinvoke.api.outcomes import NOW, Call, Outcome, Pause, Reply, Send, T
from airflow_provider_falinvoke.api.pacing import number_of, rejected_pause

#: More at a time do not get more answers, and cost more CPU each.
IN_FLIGHT = 16
#: So many may go while it is not known what is left: at the start, and when a window has just ended. Every process that
#: waited for that moment does the same.
PROBES = 4
#: Seconds between two requests at the least: a hundred jobs that fall due at one moment are no burst.
SPACING = 0.02
#: The share of a window's requests that may go as fast as they come; the rest is spread over the time that is left. So
#: a few jobs at a time never wait, and a thousand neither meet a 429 nor have to wait for a whole window.
FREE = 0.5
#: The share of a window's requests that is left to others: processes that know nothing yet, and other programs.
RESERVE = 0.04
#: Whoever waits asks again after so many seconds: a new key may have changed everything.
LONGEST_WAIT = 30.0
#: A turn that comes within so many seconds is worth the wait, however little patience a call has.
TURN_GRACE = 1.0
_MINUTE, _HOUR = 60.0, 3600.0
_HEADERS = tuple(
    (f"{prefix}limit{suffix}", f"{prefix}remaining{suffix}", f"{prefix}reset{suffix}")
    for prefix, suffix in (("ratelimit-", ""), ("x-ratelimit-", "-requests"))
)


@dataclass
class Window:
    """A quota until a moment.

    :param limit: the requests that it allows.
    :param left: the requests that may still be sent.
    :param resets_at: when it ends, in epoch seconds.
    """

    limit: float
    left: float
    resets_at: float

    def opens_at(self, place: int, last: float, now: float) -> float:
        """Return when the request at a place of the queue may go, in epoch seconds.

        :param place: 0 for the next one.
        :param last: when the last request was sent.
        """
        if now >= self.resets_at or place < self.left - FREE * self.limit:
            return now
        if place + 1 > self.left:
            return self.resets_at
        return max(now, last + (place + 1) * (self.resets_at - last) / self.left)


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
        self._last = -math.inf
        self.set_quota(per_minute, per_hour)
        self.forget()

    def set_quota(self, per_minute: float, per_hour: float) -> None:
        """Change the connection's own quota, from the next window on."""
        self._quota = {_MINUTE: per_minute, _HOUR: per_hour}

    def forget(self) -> None:
        """Forget what replies said and what was sent: there is another key now."""
        self._own = {seconds: Window(limit, limit, -math.inf) for seconds, limit in self._quota.items()}
        self._told: dict[str, Window] = {}
        self._unsure = True
        self._closed_until = -math.inf
        self._rejected = 0

    def turn(self, due: float) -> Turn:
        """Return a place in the queue.

        :param due: when the request was due, in epoch seconds; the earlier goes first.
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
                return max(at, now + SPACING)
            del self._queue[0]
            self._count(now)
            return now

    def _opens_at(self, place: int, now: float) -> float:
        windows = (*self._own.values(), *self._told.values())
        at = max(self._closed_until, self._last + SPACING, *(one.opens_at(place, self._last, now) for one in windows))
        unsure = self._unsure or (self._told and all(now >= one.resets_at for one in self._told.values()))
        if self._in_flight >= (PROBES if unsure else IN_FLIGHT):
            at = max(at, now + SPACING)
        return max(at, now) + place * SPACING

    def _count(self, now: float) -> None:
        for seconds, own in self._own.items():
            if now >= own.resets_at:
                own.limit = own.left = self._quota[seconds]
                own.resets_at = now + seconds
        for window in (*self._own.values(), *self._told.values()):
            window.left -= 1
        self._in_flight += 1
        self._last = now

    def hear(self, reply: Reply) -> None:
        """Take note of what a reply says about the quota."""
        with self._lock:
            self._unsure = False
            for names in _HEADERS:
                self._read(*names, reply.headers, reply.at)
            if reply.status != HTTPStatus.TOO_MANY_REQUESTS:
                self._rejected = 0
                return
            self._rejected += 1
            pause = rejected_pause(reply.headers, reply.at, self._rejected)
            self._closed_until = max(self._closed_until, reply.at + pause)

    def _read(self, limit_name: str, left_name: str, reset_name: str, headers: Mapping[str, str], now: float) -> None:
        left, resets_at = number_of(headers.get(left_name)), number_of(headers.get(reset_name))
        if left is None or resets_at is None or resets_at <= now:
            return
        limit = number_of(headers.get(limit_name)) or left
        known = self._told.get(left_name)
        left -= RESERVE * limit
        if known is not None and known.resets_at == resets_at:
            # Replies may arrive in another order than they were made in, and what is in flight is counted here alone.
            left = min(left, known.left)
        self._told[left_name] = Window(limit, left, resets_at)


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
        """Return when the request may go, in epoch seconds; ``now`` means that it goes, and is counted."""
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
            if isinstance(step, Pause):
                outcome = yield step
                if not rejected:  # else it stays due since then, and is before those that came later
                    due = min(step.until, outcome.at) or outcome.at
            else:
                outcome = yield from _in_turn(step, gate, due)
                rejected = isinstance(outcome, Reply) and outcome.status == HTTPStatus.TOO_MANY_REQUESTS
            step = call.send(outcome)
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
