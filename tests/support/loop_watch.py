"""Runs a coroutine and fails if it blocks the event loop: in the triggerer, that would hold up every other trigger."""

from __future__ import annotations

import asyncio
import os
import selectors
import sys
import threading
import time
import traceback
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: A callback may hold the loop for so many seconds; longer where other tests run beside this one.
LIMIT = 0.25 if "PYTEST_XDIST_WORKER" in os.environ else 0.1
_TICK = 0.005


class LoopBlockedError(AssertionError):
    """A callback held the event loop for too long."""


def run_watched(coroutine: Coroutine[Any, Any, T], *, limit: float = LIMIT) -> T:
    """Run ``coroutine`` on a new event loop, as ``asyncio.run`` does, with the loop watched.

    :raises LoopBlockedError: the loop did not turn for ``limit`` seconds; it names the line that held it.
    """

    async def main() -> T:
        watch = _Watch(asyncio.get_running_loop(), limit)
        try:
            return await coroutine
        finally:
            watch.stop()
            if watch.blocked_at is not None:
                raise LoopBlockedError(f"the event loop was blocked for more than {limit} s:\n{watch.blocked_at}")

    return asyncio.run(main())


class _Watch:
    """A thread that asks the loop to answer, again and again, and counts its own ticks until it does.

    It counts ticks of its own and not seconds: on a machine that stands still for a while, nobody ticks.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: float) -> None:
        self.blocked_at: str | None = None
        self._loop, self._limit = loop, limit
        self._loop_thread = threading.get_ident()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loop-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set() and self.blocked_at is None:
            answered = threading.Event()
            self._loop.call_soon_threadsafe(answered.set)
            held = 0.0
            while not answered.is_set() and not self._stopped.is_set():
                before = time.monotonic()
                answered.wait(_TICK)
                held += min(time.monotonic() - before, 2 * _TICK)
                if held > self._limit:
                    frame = sys._current_frames()[self._loop_thread]
                    if frame.f_code.co_filename == selectors.__file__:
                        held = 0.0  # it waits for what happens next: the machine was busy, and not the loop
                        continue
                    self.blocked_at = "".join(traceback.format_stack(frame)[-4:])
                    return
            self._stopped.wait(_TICK)
