"""The tab's own few threads: Airflow's forty serve the workers' heartbeats too, and a storage may hold what it gets."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

#: Requests that are worked on at a time, in each process of the api-server.
THREADS = 4
#: Requests that may wait for their turn, which costs no thread: the pictures of a page are asked for all at once.
WAITING = 100
#: Seconds from a request to its answer, its turn included.
PATIENCE = 15.0


class BusyError(Exception):
    """There is no answer in time; whoever asks may ask again after ``RETRY_AFTER`` seconds."""


RETRY_AFTER = 5


class Threads:
    """Calls functions in threads of its own, a few at a time.

    A thread that a storage holds cannot be ended. It keeps its place until it comes back, so that what hangs can never
    take more than these threads; whoever waited for it is told after ``patience`` seconds.

    :param threads: how many there are.
    :param waiting: how many calls may wait for one.
    :param patience: seconds after which a call is given up.
    """

    def __init__(self, threads: int = THREADS, waiting: int = WAITING, patience: float = PATIENCE) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="falinvoke-media")
        self._places = threading.BoundedSemaphore(threads + waiting)
        self._patience = patience

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Return what a function returns.

        :raises BusyError: it has not returned in time, or too many are waiting.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError
        future = self._executor.submit(contextvars.copy_context().run, functools.partial(function, *args))
        future.add_done_callback(lambda _: self._places.release())
        await asyncio.wait([wrapped := asyncio.wrap_future(future)], timeout=self._patience)
        if not wrapped.done():
            future.cancel()  # a call that still waits for a thread is not made; one that is made goes on, unheard
            wrapped.cancel()
            raise BusyError
        return wrapped.result()


@functools.cache
def own_threads() -> Threads:
    """Return the threads of this process, made at the first request."""
    return Threads()
