"""One of several client processes that share a token: ``python -m tests.support.crowd``, its task as JSON on stdin.

It submits jobs and waits for them on one event loop, as fast as its gate lets it, by a clock that runs faster than the
world's; the emulator's runs by the same. Prints, as JSON, the delay with which it found each job done.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from airflow_provider_falinvoke.api import protocol
from airflow_provider_falinvoke.api.account import Account
from airflow_provider_falinvoke.api.clients import polling_client, ssl_context
from airflow_provider_falinvoke.api.drivers import arun
from airflow_provider_falinvoke.api.endpoint import Endpoint
from airflow_provider_falinvoke.api.gate import gated
from airflow_provider_falinvoke.api.line import Line, SharedLine
from airflow_provider_falinvoke.api.models import InvokeRequest
from airflow_provider_falinvoke.api.outcomes import Call, T
from airflow_provider_falinvoke.api.schedule import PollSchedule


def fast_clock(origin: float, factor: float) -> Callable[[], float]:
    """Return a clock that shows the true time at ``origin``, and runs so many times as fast."""
    return lambda: origin + (time.time() - origin) * factor


async def find_all(url: str, key: str, models: list[str], origin: float, factor: float) -> list[float]:
    """Return the seconds from each job's end until it was found done."""
    clock, account = fast_clock(origin, factor), Account()
    endpoint = Endpoint.of("c", host=url, key=key)

    async def look_up() -> Endpoint:
        account.adopt(endpoint)
        return endpoint

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / factor)

    async def one(line: Line, model_id: str) -> float:
        async def perform(call: Call[T]) -> T:
            return await arun(gated(call, account.gate), line, clock=clock, sleep=sleep)

        request = InvokeRequest.build(model_id, {"prompt": "x", "text": "x"})
        request_id = str((await perform(protocol.submit(request, patience=36_000))).request_id)
        now = clock()
        wait = protocol.wait(
            request_id,
            submitted_at=now,
            deadline=now + 36_000,
            schedule=PollSchedule(),
            first_look_at=now + 0.5,
            model_id=model_id,
            account=account,
        )
        done = await perform(wait)
        assert done.completed_at is not None
        return clock() - done.completed_at.timestamp()

    async with SharedLine("c", look_up) as line:
        return await asyncio.gather(*(one(line, model_id) for model_id in models))


def main() -> None:
    """Read the task, find all jobs done, print their delays."""
    task: dict[str, Any] = json.load(sys.stdin)
    polling_client()
    ssl_context(None)
    print(json.dumps(asyncio.run(find_all(**task))))


if __name__ == "__main__":
    main()
