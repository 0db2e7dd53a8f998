"""An event loop in virtual time: it jumps to the next timer, and threads' work is done where it is asked for."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

from tests.simulation.world import START, World

#: A step that a float of the present time can show: a timer that is set again and again for less would stop the time.
_TICK = 1e-6


class _Jump(selectors.SelectSelector):
    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("the event loop waits for what never comes")
            self._world.advance(max(timeout, _TICK) if timeout else 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time is the world's."""

    def __init__(self, world: World) -> None:
        super().__init__(_Jump(world))
        self._simulated = world
        self.set_exception_handler(lambda *_: None)  # what a dead process leaves behind

    def time(self) -> float:
        """Return the seconds since the start."""
        return self._simulated.now - START

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]  # fewer forms than asyncio's
        """Do it here and now."""
        del executor
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def running(world: World) -> Callable[..., Any]:
    """Return what stands for :func:`asyncio.run`."""

    def run(main: Coroutine[Any, Any, Any], **_: Any) -> Any:
        loop = VirtualLoop(world)
        asyncio.set_event_loop(loop)
        try:
            return loop.run_until_complete(main)
        finally:
            _end(loop)
            asyncio.set_event_loop(None)
            loop.close()

    return run


async def to_thread(func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Stand for :func:`asyncio.to_thread`: do it here and now."""
    return func(*args, **kwargs)


def _end(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
