"""Pure decisions over time: when to ask again. Nothing here reads a clock, sleeps or sends.

Times are epoch seconds, durations are seconds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Random = Callable[[], float]

#: A rejected caller that is told nothing waits at the most so long between two tries (the vendor's recipe).
MAX_BACKOFF = 60.0
_RESETS = (
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens-per-minute",
    "x-ratelimit-reset-tokens-per-day",
    "ratelimit-reset",
)


@dataclass(frozen=True)
class PollSchedule:
    """When to look at a job again: ``min(maximum, initial + growth * elapsed)`` seconds later, with some jitter.

    It needs no state but the job's age, so it survives a restart; a job of T seconds is found done at the
    most ``0.2 * T + 0.5`` seconds late, and the number of polls grows with log T.

    :param initial: seconds before the first look.
    :param growth: seconds added for each second of the job's age.
    :param maximum: the longest pause in seconds.
    :param jitter: the share by which a pause may be shorter or longer, so that jobs of one moment drift apart.
    """

    initial: float = 0.5
    growth: float = 0.2
    maximum: float = 30.0
    jitter: float = 0.1

    @classmethod
    def of(cls, poll_interval: float | None, max_poll_interval: float) -> PollSchedule:
        """Return the schedule of an operator's two parameters.

        :param poll_interval: a fixed pause in seconds, or None for the growing one.
        :param max_poll_interval: the longest growing pause in seconds.
        """
        if poll_interval is None:
            return cls(maximum=max_poll_interval)
        return cls(initial=poll_interval, growth=0.0, maximum=poll_interval)

    def pause(self, elapsed: float, rng: Random = random.random) -> float:
        """Return the seconds to wait at a job's age of ``elapsed`` seconds."""
        plain = min(self.maximum, self.initial + self.growth * max(0.0, elapsed))
        return plain * (1 + self.jitter * (2 * rng() - 1))


class Gate:
    """Spaces the requests that share a quota: some at once, then one after the other at the quota's rate.

    :param per_minute: requests a minute.
    :param at_once: how many may go before the rate holds.
    """

    def __init__(self, per_minute: float, at_once: int = 10) -> None:
        self._interval = 60.0 / per_minute
        self._lead = at_once * self._interval
        self._next = 0.0

    def reserve(self, now: float) -> float:
        """Take the next free place, and return when it is, in epoch seconds."""
        place = max(self._next, now - self._lead)
        self._next = place + self._interval
        return max(now, place)


def backoff(failures: int, rng: Random = random.random) -> float:
    """Return the seconds to wait after ``failures`` failures in a row: 0.5, 1, 2, … up to 60, with jitter."""
    return min(MAX_BACKOFF, 0.5 * 2.0 ** min(max(0, failures - 1), 10)) * (0.75 + 0.5 * rng())


def rejected_pause(headers: Mapping[str, str], now: float, failures: int, rng: Random = random.random) -> float:
    """Return the seconds to wait after a 429, by the vendor's recipe.

    ``Retry-After`` wins; else the soonest reset that is not zero, at least 1 s and 250 to 500 ms of jitter more;
    a reset of zero or in the past tells nothing, so the wait grows with the failures up to 60 s. Nor does a
    ``Retry-After`` of zero: taken at its word by each caller, it makes a busy loop that uses up the quota.

    :param headers: the reply's headers, names in lower case.
    :param now: when the reply came.
    :param failures: failures in a row, this one included.
    """
    retry_after = _number(headers.get("retry-after"))
    if retry_after is not None and retry_after > 0:
        return retry_after + 0.25 * rng()
    resets = [reset for name in _RESETS if (reset := _number(headers.get(name))) and reset > now]
    if resets:
        return max(min(resets) - now, 1.0) + 0.25 + 0.25 * rng()
    return backoff(failures, rng)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
