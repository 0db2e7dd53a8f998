"""Performs the steps of a call of ``protocol.py``, blocking or awaiting. The only place that sleeps.

``clients.py`` sends. Files come from other hosts, and without the key: see ``downloads.py``.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Generic, Protocol

from airflow_provider_falinvoke.api.exchange import LARGE, Clock
from airflow_provider_falinvoke.api.outcomes import (
    Call,
    Failure,
    Outcome,
    Pause,
    Reply,
    Resumed,
    Say,
    Send,
    Step,
    T,
)
from airflow_provider_falinvoke.api.threads import in_thread

log = logging.getLogger(__name__)


class Observer(Protocol):
    """Stands by each request, in the process that sends it; awaiting or not, it is called directly."""

    def sending(self, step: Send) -> None:
        """Take note of a request that goes out next; what is raised here stops it, and ends the call."""

    def sent(self, step: Send, outcome: Outcome) -> None:
        """Take note of what became of it; must not raise, because a paid job may have begun."""


class Exchanger(Protocol):
    """A client, or what stands for one."""

    def exchange(self, step: Send, clock: Clock) -> Reply | Failure:
        """Send a request and return what came of it."""


class AsyncExchanger(Protocol):
    """An awaiting client, or what stands for one."""

    async def exchange(self, step: Send, clock: Clock) -> Reply | Failure:
        """Send a request and return what came of it."""


#: Pauses that end within so many seconds end together: to wake the event loop for each took a fifth of a poll's CPU.
TOGETHER = 0.25
#: Shorter pauses end when they should: a tenth of one is less than that.
_SHORT_PAUSE = 10 * TOGETHER


def run(
    call: Call[T],
    client: Exchanger,
    *,
    clock: Clock | None = None,
    sleep: Callable[[float], object] = time.sleep,
    observer: Observer | None = None,
) -> T:
    """Perform ``call``, blocking, and return what it returns.

    :param clock: gives the time in seconds, in place of the monotonic clock and of the wall clock.
    :param sleep: waits for so many seconds.
    :param observer: stands by each request.
    """
    with closing(call):  # at once: an exception may keep it alive, and with it a place at the gate
        try:
            step = next(call)
            while True:
                if isinstance(step, Pause) and (seconds := step.until - _moment(clock)[0]) > 0:
                    sleep(seconds)
                if observer is not None and isinstance(step, Send):
                    observer.sending(step)
                outcome = _perform(step, client, clock)
                if observer is not None and isinstance(step, Send):
                    observer.sent(step, outcome)
                step = call.send(outcome)
        except StopIteration as stop:
            result: T = stop.value
            return result


def sleep(seconds: float) -> None:
    """Block for some seconds: a worker waits before it tries a storage again."""
    time.sleep(seconds)


def asleep(seconds: float) -> Awaitable[None]:
    """Await so many seconds; a long pause ends together with others, up to :data:`TOGETHER` later and never sooner."""
    if seconds >= _SHORT_PAUSE:
        now = asyncio.get_running_loop().time()
        seconds = math.ceil((now + seconds) / TOGETHER) * TOGETHER - now
    return asyncio.sleep(seconds)


async def asleep_until(moment: float) -> None:
    """Await a moment, in epoch seconds; see :func:`asleep`."""
    await asleep(max(0.0, moment - time.time()))


async def arun(
    call: Call[T],
    client: AsyncExchanger,
    *,
    clock: Clock | None = None,
    sleep: Callable[[float], Awaitable[object]] = asleep,
    observer: Observer | None = None,
) -> T:
    """Perform ``call`` on the running event loop and return what it returns, as :func:`run` does."""
    with closing(call):
        try:
            step = next(call)
            while True:
                if isinstance(step, Pause) and (seconds := step.until - _moment(clock)[0]) > 0:
                    await sleep(seconds)  # in no coroutine of its own: thousands of calls may pause at a time
                if observer is not None and isinstance(step, Send):
                    observer.sending(step)
                outcome = await _aperform(step, client, clock)
                if observer is not None and isinstance(step, Send):
                    observer.sent(step, outcome)
                if isinstance(outcome, Reply) and len(outcome.body) > LARGE:
                    resumed = await _resumed(call, outcome)
                    if isinstance(resumed, _Returned):
                        return resumed.value
                    step = resumed
                else:
                    step = call.send(outcome)
                del outcome  # nor does one that pauses need its last reply
        except StopIteration as stop:
            result: T = stop.value
            return result


def _moment(clock: Clock | None) -> tuple[float, float]:
    """Return the time by which a call goes, and by how many seconds the wall clock is ahead of it."""
    if clock is not None:
        return clock(), 0.0
    at = time.monotonic()
    return at, time.time() - at


def _placed(outcome: Reply | Failure, clock: Clock | None) -> Reply | Failure:
    return replace(outcome, ahead=_moment(clock)[1]) if clock is None else outcome


def _say(step: Send, outcome: Reply | Failure) -> None:
    log.debug("%s %s: %s", step.method, step.path, outcome.status if isinstance(outcome, Reply) else "no answer")


def _perform(step: Step, client: Exchanger, clock: Clock | None) -> Outcome:
    if isinstance(step, Send):
        outcome = _placed(client.exchange(step, clock or time.monotonic), clock)
        _say(step, outcome)
        return outcome
    if isinstance(step, Say):
        log.log(step.level, step.message, *step.arguments)
    return Resumed(*_moment(clock))


async def _aperform(step: Step, client: AsyncExchanger, clock: Clock | None) -> Outcome:
    if isinstance(step, Send):
        outcome = _placed(await client.exchange(step, clock or time.monotonic), clock)
        if log.isEnabledFor(logging.DEBUG):
            await in_thread(_say, step, outcome)
        return outcome
    if isinstance(step, Say) and log.isEnabledFor(step.level):
        await in_thread(log.log, step.level, step.message, *step.arguments)
    return Resumed(*_moment(clock))


@dataclass
class _Returned(Generic[T]):
    value: T


async def _resumed(call: Call[T], outcome: Outcome) -> Step | _Returned[T]:
    """Resume a call in a thread, because it reads a large reply; return its next step, or what it returned."""

    def resume() -> Step | _Returned[T]:
        try:
            return call.send(outcome)
        except StopIteration as stop:  # which no future can carry
            return _Returned(stop.value)

    thread = asyncio.ensure_future(in_thread(resume))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait([thread])  # a call that runs cannot be closed
        raise
