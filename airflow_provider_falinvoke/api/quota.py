"""What a process knows of a token's quota: what it sent, what the replies say is left, and what others take. Pure.

Times are seconds of a clock that never steps, durations are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from airflow_provider_falinvoke.api.pacing import number_of, seconds_to_reset

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
#: Requests are scarce when more than this share of a minute's or an hour's was used within the last minute or hour,
BUSY = 0.8
#: or when the hour's are used faster than evenly, by this share of them.
AHEAD = 0.1
#: A minute's requests are all but used up where no more than this share is left besides the reserve.
LAST = 0.1
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
    :param before: the requests of the window before it, of the same length.
    """

    limit: float
    left: float
    resets_at: float
    before: float = 0.0

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

    def used(self, length: float, now: float) -> float:
        """Return about how many requests went within the last ``length`` seconds, the window's length.

        Where the window began later than that, a share of the window before it counts ("sliding window counter").
        """
        to_come = (self.resets_at - now) / length
        if to_come >= 0:
            return self.limit - self.left + self.before * to_come
        return (self.limit - self.left) * max(0.0, 1 + to_come)


class Quota:
    """The windows of a token, as one of its users sees them.

    :param per_minute: the connection's own limit.
    :param per_hour: likewise.
    """

    def __init__(self, per_minute: float, per_hour: float) -> None:
        self.per_minute = per_minute
        self.per_hour = per_hour
        self._own: dict[float, Window] = {}
        self._sent: dict[float, Window] = {}  # without what others are said to have taken
        self._told: dict[str, Window] = {}
        self._others = 0.0
        self._others_at = self._last = -math.inf
        self._heard = False

    def opens_at(self, place: int, now: float) -> float:
        """Return when the request at a place of the queue may go; 0 is the next one."""
        return max(self.own_opens_at(place, now), self.told_opens_at(place, now))

    def own_opens_at(self, place: int, now: float) -> float:
        """Return the same by what was sent from here, whatever the replies say."""
        return self._opens_at(self._sent.values(), place, now, 0.0)

    def told_opens_at(self, place: int, now: float) -> float:
        """Return the same by what the replies say is left, and by what others are seen to take."""
        windows = (*self._own.values(), *self._told.values())
        return self._opens_at(windows, place, now, self._others_rate(now))

    def _opens_at(self, windows: Iterable[Window], place: int, now: float, others: float) -> float:
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
        if any(one.used(seconds, now) > BUSY * one.limit for seconds, one in self._own.items()):
            return True
        hour = self._own.get(_HOUR)
        if hour is not None and now < hour.resets_at and hour.left < hour.limit * (_share(hour, _HOUR, now) - AHEAD):
            return True
        # A process that has just begun knows but this: less is left than an even use would leave.
        return any(
            now < one.resets_at and one.left < one.limit * min(FREE, _share(one, _length(one, now), now))
            for one in self._told.values()
        )

    def used_up_until(self, now: float) -> float:
        """Return when the minute ends of whose requests hardly any is left; ``now`` where there is none."""
        minutes = (one for one in self._told.values() if now < one.resets_at <= now + _MINUTE)
        return max((one.resets_at for one in minutes if one.left < LAST * one.limit), default=now)

    def count(self, now: float) -> None:
        """Count a request that is sent now."""
        for windows in (self._own, self._sent):
            for seconds, limit in self._limits().items():
                known = windows.get(seconds)
                if known is None or now >= known.resets_at:
                    before = known.used(seconds, now) if known else 0.0
                    windows[seconds] = Window(limit, limit, now + seconds, before)
        for window in (*self._own.values(), *self._sent.values(), *self._told.values()):
            window.left -= 1
        self._last = now

    def read(self, headers: Mapping[str, str], now: float, ahead: float = 0.0) -> None:
        """Take note of what a reply says is left.

        :param ahead: by how many seconds the wall clock, by which the headers go, is ahead of ``now``.
        """
        self._heard = True
        taken = 0.0
        for limit_name, left_name, reset_name in _HEADERS:
            left, seconds = number_of(headers.get(left_name)), seconds_to_reset(headers.get(reset_name), now + ahead)
            if left is None or seconds is None:
                continue
            limit = number_of(headers.get(limit_name)) or left
            left -= RESERVE * min(limit, self.per_minute)
            taken = max(taken, self._tell(left_name, Window(limit, left, now + seconds)))
        if taken:  # by others
            self._others, self._others_at = self._others_rate(now) + taken / _OTHERS_SECONDS, now
            for window in self._own.values():
                window.left -= taken

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

    def _others_rate(self, now: float) -> float:
        return self._others * math.exp(-max(0.0, now - self._others_at) / _OTHERS_SECONDS)

    def _limits(self) -> dict[float, float]:
        return {_MINUTE: self.per_minute, _HOUR: self.per_hour}


def _share(window: Window, length: float, now: float) -> float:
    """Return how much of a window's time is to come."""
    return (window.resets_at - now) / length


def _length(window: Window, now: float) -> float:
    return _MINUTE if window.resets_at - now <= _MINUTE else _HOUR
