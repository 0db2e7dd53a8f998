"""A few threads of our own for what must not hold up an event loop: log lines, certificates, large replies."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

#: What we hand over takes milliseconds.
_THREADS = 4


class _Threads:
    """The executor of this process; asyncio's own is everybody's, and whoever fills that would stop our jobs."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="falinvoke")


_threads = _Threads()
os.register_at_fork(after_in_child=_threads.__init__)  # type: ignore[misc]  # a child has none of its parent's threads


async def in_thread(function: Callable[..., T], *args: object) -> T:
    """Await ``function(*args)``, called in a thread with this task's context variables.

    :return: what it returns.
    :raises Exception: what it raises.
    """
    call = functools.partial(contextvars.copy_context().run, function, *args)
    return await asyncio.get_running_loop().run_in_executor(_threads.executor, call)
