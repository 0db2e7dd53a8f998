"""A client of the hostile server, a process of its own: ``python -m tests.hostile.client KIND PORT``.

It submits to each reply, and asks each for a job. Prints, as JSON, what came of each call, and the memory it took.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from airflow_provider_falinvoke.api import line as api_line
from airflow_provider_falinvoke.api import protocol
from airflow_provider_falinvoke.api.clients import AsyncClient, Client, polling_client, ssl_context
from airflow_provider_falinvoke.api.drivers import arun, run
from airflow_provider_falinvoke.api.endpoint import Endpoint
from airflow_provider_falinvoke.api.line import Line
from airflow_provider_falinvoke.api.models import Invocation, InvokeRequest
from airflow_provider_falinvoke.api.outcomes import Call
from tests.hostile.replies import all_replies
from tests.support.loop_watch import run_watched

LIMITS = {"max_reply_size": 2 << 20, "connect_timeout": 5, "read_timeout": 10, "exchange_timeout": 15}
#: For a reply that takes as long as it is let; any other may take long on a machine that does other things too.
SHORT = {"connect_timeout": 5, "read_timeout": 0.5, "exchange_timeout": 1}
REQUEST = InvokeRequest.build("fal-ai/flux/schnell", {"prompt": "a castle"})
REPLIES = all_replies()
#: A submit that may be repeated is, for so many seconds.
PATIENCE = 5.0
AT_ONCE = 32
#: A callback of ours may hold the loop for so many seconds, on a machine that does other things too.
LIMIT = 0.5


class Clock:
    """The time, ahead by what was slept."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def sleep(self, seconds: float) -> None:
        """Be ahead by so much more."""
        self.ahead += seconds

    async def asleep(self, seconds: float) -> None:
        """The awaiting twin of :meth:`sleep`."""
        self.ahead += seconds


def endpoint(kind: str, port: int, number: int) -> Endpoint:
    """Return where one reply is to be had."""
    extra = LIMITS | (SHORT if REPLIES[number].is_slow else {})
    return Endpoint.of("c", host=f"http://127.0.0.1:{port}/{number}/{kind}", key="sk-do-0123456789abcdef", extra=extra)


def calls(number: int) -> dict[str, Call[Invocation]]:
    """Return the calls to make, each new."""
    # The server closes a connection that a client may just want to use again.
    patience = 0.0 if REPLIES[number].is_slow else PATIENCE
    return {"submit": protocol.submit(REQUEST, patience=PATIENCE), "get": protocol.get("r1", patience=patience)}


def told(began: float, result: object) -> dict[str, Any]:
    """Return what came of a call as plain data."""
    error = f"{type(result).__name__}: {result}"[:300] if isinstance(result, BaseException) else None
    ours = error is None or type(result).__module__ == "airflow_provider_falinvoke.exceptions"
    return {
        "seconds": time.monotonic() - began,
        "error": error,
        "ours": ours,
        "id": result.request_id if isinstance(result, Invocation) else None,
    }


def blocking(kind: str, port: int, number: int) -> dict[str, Any]:
    """Make the calls, blocking."""
    found = {}
    with Client(endpoint(kind, port, number)) as client:
        for name, call in calls(number).items():
            clock, began = Clock(), time.monotonic()
            try:
                result: object = run(call, client, clock=clock, sleep=clock.sleep)
            except BaseException as error:
                result = error
            found[name] = told(began, result)
    return found


async def awaiting(kind: str, port: int, number: int) -> dict[str, Any]:
    """Make the calls over a line, awaiting."""

    async def look_up() -> Endpoint:
        return endpoint(kind, port, number)

    found, line = {}, Line("c", look_up)
    for name, call in calls(number).items():
        clock, began = Clock(), time.monotonic()
        try:
            result: object = await arun(call, line, clock=clock, sleep=clock.asleep)
        except BaseException as error:
            result = error
        found[name] = told(began, result)
    await line.aclose()
    return found


async def all_awaiting(one: Callable[[int], Awaitable[dict[str, Any]]], count: int) -> list[dict[str, Any]]:
    """Make the calls to all replies, some at a time."""
    places = asyncio.Semaphore(AT_ONCE)

    async def placed(number: int) -> dict[str, Any]:
        async with places:
            return await one(number)

    return await asyncio.gather(*(placed(number) for number in range(count)))


def main() -> None:
    """Make all calls, and print what came of them."""
    kind, port = sys.argv[1], int(sys.argv[2])
    polling_client()
    ssl_context(None)
    if kind == "httpx":
        setattr(api_line, "polling_client", lambda: AsyncClient)  # noqa: B010 - as if aiohttp were not installed
    count = len(REPLIES)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if kind == "sync":
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(lambda number: blocking(kind, port, number), range(count)))
    else:
        found = run_watched(all_awaiting(lambda number: awaiting(kind, port, number), count), limit=LIMIT)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"found": found, "grown_mib": grown / 1024, "threads": threading.active_count()}))


if __name__ == "__main__":
    main()
