"""A faster clock for a whole process, so that an hour of a quota passes in minutes.

:func:`install` replaces ``time.time``, ``time.monotonic``, ``time.perf_counter`` and ``time.sleep`` before anything
else is imported; :func:`event_loop` gives a loop whose timers go by it. The emulator's process and the client's are
given the same origin and factor, so both read the same time; what is not made faster is the machine itself: a reply
that takes 3 ms takes 90 ms of the fast clock at a factor of 30, which is against the client and never for it.
Left as they are: timeouts of sockets and locks, and ``datetime.now``, by which nothing here decides.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import time
from collections.abc import Mapping
from typing import Any

_VARIABLE = "FALINVOKE_BENCH_CLOCK"
_real_time, _real_monotonic, _real_sleep = time.time, time.monotonic, time.sleep
_factor = 1.0


def environment(origin: float, factor: float) -> dict[str, str]:
    """Return what tells another process to install the same clock.

    :param origin: the moment, in epoch seconds, at which the clock shows the true time.
    :param factor: how many times faster it runs.
    """
    return {_VARIABLE: f"{origin!r} {factor!r}"}


def install(variables: Mapping[str, str] = os.environ) -> None:
    """Install the clock that the environment asks for; without one, nothing changes."""
    global _factor
    if _VARIABLE not in variables:
        return
    origin, _factor = map(float, variables[_VARIABLE].split())
    if _factor == 1:
        return
    time.time = lambda: origin + (_real_time() - origin) * _factor
    time.monotonic = time.perf_counter = lambda: _real_monotonic() * _factor
    time.sleep = lambda seconds: _real_sleep(float(seconds) / _factor)


def real_time() -> float:
    """Return the true time in epoch seconds, whatever is installed."""
    return _real_time()


class _Selector(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> Any:
        return super().select(timeout / _factor if timeout else timeout)


def event_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop whose timers go by the installed clock."""
    return asyncio.SelectorEventLoop(_Selector())
