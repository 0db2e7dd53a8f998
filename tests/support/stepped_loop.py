"""An event loop whose time is stepped: it jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jump(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


def run_stepped(main: Coroutine[Any, Any, T], *, since: float = 0.0) -> T:
    """Run ``main`` on a loop of its own and return what it returns.

    :param since: the loop's time at the start, in seconds.
    """
    jump = _Jump()
    jump.now = since
    loop = asyncio.SelectorEventLoop(jump)
    loop.time = lambda: jump.now  # type: ignore[method-assign]  # the loop of one test
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()
