"""The emulator's time: one function that returns epoch seconds, and its relation to the clock of the client."""

import math
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone

Clock = Callable[[], float]


class ManualClock:
    """A clock that stands still until a test moves it.

    :param start: the time it shows at first, in epoch seconds; the present when left out.
    """

    def __init__(self, start: float | None = None) -> None:
        self._now = time.time() if start is None else start
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Return the time it shows, in epoch seconds."""
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> float:
        """Move the clock forward.

        :param seconds: how far, in seconds, not negative.
        :return: the new time in epoch seconds.
        :raises ValueError: if ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError(f"a clock does not run backwards: {seconds}")
        with self._lock:
            self._now += seconds
            return self._now


class Timeline:
    """The emulator's time as a multiple of the client's.

    :param client_clock: what a client reads as the time, in epoch seconds.
    :param scale: seconds of the emulator in one second of the client, above 0.
    """

    def __init__(self, client_clock: Clock = time.time, scale: float = 1.0) -> None:
        if not (scale > 0 and math.isfinite(scale)):
            raise ValueError(f"time_scale must be a finite number above 0, not {scale}")
        self._client_clock = client_clock
        self._scale = scale
        self._origin = client_clock()

    def now(self) -> float:
        """Return the emulator's time in epoch seconds; it equals the client's when the emulator was made."""
        shown = self._client_clock()
        # Not origin + elapsed * scale: at a scale of 1 the sum below is exact, so that both clocks show the same float.
        return shown + (shown - self._origin) * (self._scale - 1)

    def client_wait(self, seconds: float) -> int:
        """Return how many whole seconds a client waits until ``seconds`` of the emulator have passed, rounded up."""
        return math.ceil(seconds / self._scale)

    def client_epoch(self, seconds: float) -> int:
        """Return what a client's clock shows, in whole epoch seconds rounded up, ``seconds`` of the emulator ahead."""
        return math.ceil(self._client_clock() + seconds / self._scale)


def timestamp(at: float) -> str:
    """Return epoch seconds the way the API writes a time: RFC 3339 in UTC with nine digits of fraction."""
    whole = math.floor(at)
    nanoseconds = min(int((at - whole) * 1_000_000_000), 999_999_999)
    return f"{datetime.fromtimestamp(whole, timezone.utc):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
