"""When to ask again after a failure. Pure: nothing here reads a clock, sleeps or sends.

Times are epoch seconds, durations are seconds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping

Random = Callable[[], float]

#: A rejected caller that is told nothing waits at the most so long between two tries (the vendor's recipe).
MAX_BACKOFF = 60.0
_RESETS = (
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens-per-minute",
    "x-ratelimit-reset-tokens-per-day",
    "ratelimit-reset",
)


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
    retry_after = number_of(headers.get("retry-after"))
    if retry_after is not None and retry_after > 0:
        return retry_after + 0.25 * rng()
    resets = [reset for name in _RESETS if (reset := number_of(headers.get(name))) and reset > now]
    if resets:
        return max(min(resets) - now, 1.0) + 0.25 + 0.25 * rng()
    return backoff(failures, rng)


def number_of(text: str | None) -> float | None:
    """Return the number that a header holds, None for no header, no number, or one without end."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
