"""The quota of a token: so many requests a minute and an hour, in fixed windows that open with their first request."""

import math
from dataclasses import dataclass
from typing import NamedTuple


class Standing(NamedTuple):
    """How a window stands.

    :param limit: requests that it allows.
    :param remaining: requests that are left of them.
    :param resets_in: seconds until the next window opens, of the emulator's time.
    """

    limit: int
    remaining: int
    resets_in: float


@dataclass
class _Window:
    seconds: int
    limit: int
    opened_at: float = -math.inf
    used: int = 0

    def at(self, now: float) -> "_Window":
        if now >= self.opened_at + self.seconds:
            self.opened_at, self.used = now, 0
        return self

    def standing(self, now: float) -> Standing:
        return Standing(self.limit, self.limit - self.used, self.opened_at + self.seconds - now)


class Quota:
    """Counts requests against both windows.

    :param per_minute: requests in a minute, or None for no such window.
    :param per_hour: requests in an hour, or None for no such window.
    """

    def __init__(self, per_minute: int | None, per_hour: int | None) -> None:
        wanted = ((60, per_minute), (3600, per_hour))
        self._windows = [_Window(seconds, limit) for seconds, limit in wanted if limit is not None]

    def spend(self, now: float) -> bool:
        """Count one request at ``now`` (epoch seconds); return False, and count nothing, if a window is used up."""
        windows = [window.at(now) for window in self._windows]
        if any(window.used >= window.limit for window in windows):
            return False
        for window in windows:
            window.used += 1
        return True

    def binding(self, now: float) -> Standing | None:
        """Return the window with the fewest requests left, the later reset first if both are equal; None if none."""
        standings = [window.at(now).standing(now) for window in self._windows]
        return min(standings, key=lambda one: (one.remaining, -one.resets_in), default=None)
