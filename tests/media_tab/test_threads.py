"""The tab takes a few threads of its own, whatever its storage does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from airflow_provider_falinvoke.media_tab.threads import BusyError, Threads


@contextmanager
def holding() -> Iterator[threading.Event]:
    """Yield what lets go of the threads that wait for it."""
    event = threading.Event()
    try:
        yield event
    finally:
        event.set()


def test_what_a_function_returns_or_raises_comes_back() -> None:
    async def check() -> None:
        threads = Threads()
        assert await threads.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await threads.run(divmod, 7, 0)

    asyncio.run(check())


def test_calls_beyond_the_threads_wait_and_those_beyond_the_queue_are_refused() -> None:
    async def check(let_go: threading.Event) -> None:
        threads = Threads(threads=2, waiting=3)
        names = set()

        def work() -> None:
            names.add(threading.current_thread().name)
            let_go.wait(10)

        running = [asyncio.ensure_future(threads.run(work)) for _ in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await threads.run(work)
        let_go.set()
        await asyncio.gather(*running)
        assert len(names) <= 2
        await threads.run(work)

    with holding() as let_go:
        asyncio.run(check(let_go))


def test_who_waits_for_a_thread_that_hangs_is_told_and_the_thread_keeps_its_place() -> None:
    async def check(let_go: threading.Event) -> None:
        threads = Threads(threads=1, waiting=1, patience=0.02)
        called: list[int] = []
        with pytest.raises(BusyError):
            await threads.run(let_go.wait, 10)
        with pytest.raises(BusyError):
            await threads.run(called.append, 1)
        let_go.set()
        while not called:  # the thread is back as soon as what held it lets go
            try:
                await threads.run(called.append, 2)
            except BusyError:
                continue
        assert called == [2], "a call that was given up is not made"

    with holding() as let_go:
        asyncio.run(check(let_go))
