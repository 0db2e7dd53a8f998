"""When to ask again after a failure. Pure: nothing here reads a clock, sleeps or sends.

Times are epoch seconds, as headers have them; durations are seconds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

Random = Callable[[], float]

#: A rejected caller that is told nothing waits at the most so long between two tries (the vendor's recipe).
MAX_BACKOFF = 60.0
#: However long the API wants not to be asked, one request in so many seconds finds out whether that is still so.
PROBE = 60.0
#: The quota's longest window is an hour: nothing that a header says lasts longer.
LONGEST_WINDOW = 3600.0
#: What is larger counts no seconds of this century, but thousandths of them, or millionths.
_NO_SECONDS = 1e11
#: What is smaller is no time, but a number of seconds.
_NO_TIME = 1e8
_DATE_LENGTH = 64
#: The headers that say when a window ends, and what is left of it.
_RESETS = {
    "x-ratelimit-reset-requests": "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-tokens-per-minute": "x-ratelimit-remaining-tokens-per-minute",
    "x-ratelimit-reset-tokens-per-day": "x-ratelimit-remaining-tokens-per-day",
    "ratelimit-reset": "ratelimit-remaining",
}


def backoff(failures: int, rng: Random = random.random) -> float:
    """Return the seconds to wait after ``failures`` failures in a row: 0.5, 1, 2, … up to 60, with jitter."""
    return min(MAX_BACKOFF, 0.5 * 2.0 ** min(max(0, failures - 1), 10)) * (0.75 + 0.5 * rng())


def rejected_pause(headers: Mapping[str, str], now: float, failures: int, rng: Random = random.random) -> float:
    """Return the seconds to wait after a 429, by the vendor's recipe.

    ``Retry-After`` wins; else the soonest reset of a window of which nothing is left, at least 1 s and 250 to 500 ms of
    jitter more; where neither tells anything, the wait grows with the failures up to 60 s.

    :param headers: the reply's headers, names in lower case.
    :param now: when the reply came, in epoch seconds.
    :param failures: failures in a row, this one included.
    """
    if (seconds := retry_after(headers, now)) is not None:
        return seconds + 0.25 * rng()
    resets = [
        seconds
        for name, remaining in _RESETS.items()
        if not number_of(headers.get(remaining)) and (seconds := seconds_to_reset(headers.get(name), now)) is not None
    ]
    return max(min(resets), 1.0) + 0.25 + 0.25 * rng() if resets else backoff(failures, rng)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that ``Retry-After`` asks for, as a number or an HTTP date; None where it tells nothing.

    A zero tells nothing: taken at its word by each caller, it makes a busy loop that uses up the quota.
    """
    text = headers.get("retry-after")
    seconds = number_of(text)
    if seconds is None and text is not None:
        try:
            seconds = parsedate_to_datetime(text[:_DATE_LENGTH]).timestamp() - now
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return _bounded(seconds)


def seconds_to_reset(text: str | None, now: float) -> float | None:
    """Return the seconds until the time that a reset header names; None where it names none that is to come.

    It may count seconds since 1970, thousandths or millionths of them, or (as the IETF's draft has it) from now.
    """
    value = number_of(text)
    while value is not None and value >= _NO_SECONDS:
        value /= 1000
    return _bounded(value if value is None or value < _NO_TIME else value - now)


def _bounded(seconds: float | None) -> float | None:
    return min(seconds, LONGEST_WINDOW) if seconds is not None and seconds > 0 else None


def number_of(text: str | None) -> float | None:
    """Return the number that a header holds, None for no header, no number, or one without end."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
