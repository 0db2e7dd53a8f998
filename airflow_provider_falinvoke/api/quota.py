"""What a process knows of a token's quota: what it sent, what the replies say is left, and what others take. Pure.

Times are epoch seconds, durations are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_falinvoke.api.pacing import number_of

#: The share of a window's requests that may go as fast as they come; the rest is spread over the time that is left. So
#: a few jobs at a time never wait, and a thousand neither meet a 429 nor have to wait for a whole window.
FREE = 0.5
#: The share of a window's requests that is left to processes that know nothing yet, and to other programs.
RESERVE = 0.04
#: Of what is left, this share may be in flight. Replies tell of others only as they come: while they are late, every
#: process goes by what it heard before; eight of them then have no more than half of it under way.
IN_FLIGHT = 1 / 16
#: So many may be in flight while it is not known what is left: at the start, and when a window has just ended. Every
#: process that waited for that moment does the same.
PROBES = 4
#: Resets that are closer than so many seconds are one: a server that adds what is left to its clock rounds now up, now
#: down.
_ROUNDING = 2.0
#: What others take is known from so many seconds.
_OTHERS_SECONDS = 30.0
_MINUTE, _HOUR = 60.0, 3600.0
#: Requests are scarce when an account is ahead of an even use by this share of a minute's quota,
_AHEAD = 0.5
#: or ahead of it at all when no more than this share of the hour's is left. The gate lets nobody get far ahead of an
#: even use of what is left, so that being far ahead does not tell.
_PLENTY = 0.7
_HEADERS = tuple(
    (f"{prefix}limit{suffix}", f"{prefix}remaining{suffix}", f"{prefix}reset{suffix}")
    for prefix, suffix in (("ratelimit-", ""), ("x-ratelimit-", "-requests"))
)


@dataclass
class Window:
    """A quota until a moment.

    :param limit: the requests that it allows.
    :param left: the requests that may still be sent.
    :param resets_at: when it ends.
    """

    limit: float
    left: float
    resets_at: float

    def opens_at(self, place: int, last: float, now: float, others: float = 0.0) -> float:
        """Return when the request at a place of the queue may go.

        :param place: 0 for the next one.
        :param last: when the last request was sent.
        :param others: requests a second that others take from the same window.
        """
        if now >= self.resets_at or place < self.left - FREE * self.limit:
            return now
        # Of two that are after everything each takes half, and of one that takes little and one that wants all neither
        # goes short.
        left = max(self.left / 2, self.left - others * (self.resets_at - now))
        if place + 1 > left:
            return self.resets_at
        return max(now, last + (place + 1) * (self.resets_at - last) / (left + 1))


@dataclass
class Meter:
    """How far an account is ahead of a rate: fills with each request, and runs out at that rate."""

    level: float = 0.0
    at: float = 0.0

    def add(self, count: float, rate: float, now: float) -> None:
        """Count requests."""
        self.level, self.at = self.now(rate, now) + count, now

    def now(self, rate: float, now: float) -> float:
        """Return how many requests it is ahead of a rate, in requests a second."""
        return max(0.0, self.level - rate * (now - self.at))


class Quota:
    """The windows of a token, as one of its users sees them.

    :param per_minute: the connection's own limit.
    :param per_hour: likewise.
    """

    def __init__(self, per_minute: float, per_hour: float) -> None:
        self.per_minute = per_minute
        self.per_hour = per_hour
        self._own: dict[float, Window] = {}
        self._told: dict[str, Window] = {}
        self._ahead = Meter()
        self._others = 0.0
        self._others_at = self._last = -math.inf
        self._heard = False

    def opens_at(self, place: int, now: float) -> float:
        """Return when the request at a place of the queue may go; 0 is the next one."""
        others = self._others_rate(now)
        windows = (*self._own.values(), *self._told.values())
        return max([now, *(window.opens_at(place, self._last, now, others) for window in windows)])

    def most_in_flight(self, now: float) -> int:
        """Return how many requests may be in flight, at least 1."""
        if not self._is_known(now):
            return PROBES
        left = (one.left for one in (*self._own.values(), *self._told.values()) if now < one.resets_at)
        return max(1, int(IN_FLIGHT * min(left, default=self.per_minute)))

    def _is_known(self, now: float) -> bool:
        # A reply has said what is left, or that replies do not say it.
        return self._heard and (not self._told or any(now < one.resets_at for one in self._told.values()))

    def is_scarce(self, now: float) -> bool:
        """Whether the account uses its quota up if it goes on like this."""
        if self._ahead.now(self.per_minute / _MINUTE, now) > _AHEAD * self.per_minute:
            return True
        hour = self._own.get(_HOUR)
        if hour is not None and _is_behind(hour, _PLENTY, _HOUR, now):
            return True
        # A process that has just begun knows but this.
        return any(_is_behind(one, FREE, _length(one, now), now) for one in self._told.values())

    def count(self, now: float) -> None:
        """Count a request that is sent now."""
        for seconds, limit in self._limits().items():
            if seconds not in self._own or now >= self._own[seconds].resets_at:
                self._own[seconds] = Window(limit, limit, now + seconds)
        for window in self._told.values():
            window.left -= 1
        self._spend(1, now)
        self._last = now

    def read(self, headers: Mapping[str, str], now: float) -> None:
        """Take note of what a reply says is left."""
        self._heard = True
        taken = 0.0
        for limit_name, left_name, reset_name in _HEADERS:
            left, resets_at = number_of(headers.get(left_name)), number_of(headers.get(reset_name))
            if left is None or resets_at is None or resets_at <= now:
                continue
            limit = number_of(headers.get(limit_name)) or left
            left -= RESERVE * min(limit, self.per_minute)
            taken = max(taken, self._tell(left_name, Window(limit, left, resets_at)))
        if taken:  # by others
            self._others, self._others_at = self._others_rate(now) + taken / _OTHERS_SECONDS, now
            self._spend(taken, now)

    def _tell(self, name: str, window: Window) -> float:
        """Replace what was known of a window; return how much less is left than that."""
        known = self._told.get(name)
        self._told[name] = window
        if known is None or known.limit != window.limit:
            return 0.0
        taken = max(0.0, known.left - window.left)
        if abs(known.resets_at - window.resets_at) < _ROUNDING:
            # Replies may arrive in another order than they were made in; and what is in flight is counted here alone.
            window.left, window.resets_at = min(known.left, window.left), known.resets_at
        return taken

    def _spend(self, count: float, now: float) -> None:
        for window in self._own.values():
            window.left -= count
        self._ahead.add(count, self.per_minute / _MINUTE, now)

    def _others_rate(self, now: float) -> float:
        return self._others * math.exp(-max(0.0, now - self._others_at) / _OTHERS_SECONDS)

    def _limits(self) -> dict[float, float]:
        return {_MINUTE: self.per_minute, _HOUR: self.per_hour}


def _is_behind(window: Window, plenty: float, length: float, now: float) -> bool:
    """Whether less is left of a window than an even use would leave, and than a share that is plenty in any case."""
    return now < window.resets_at and window.left < window.limit * min(plenty, (window.resets_at - now) / length)


def _length(window: Window, now: float) -> float:
    return _MINUTE if window.resets_at - now <= _MINUTE else _HOUR
