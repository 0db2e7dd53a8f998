"""A client process that polls many pending jobs by one design, and tells what CPU it used.

``python -m benchmarks.support.poller`` reads its task as a line of JSON from standard input, measures once it reads a
second line, and prints the answer as JSON.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import Any

from benchmarks.support import peers


def main() -> None:
    """Poll as told, and print when the measured time began and ended and what CPU it took."""
    task: dict[str, Any] = json.loads(sys.stdin.readline())
    if not task["extra"]:
        # As if it were not installed.
        sys.modules["httpx_aiohttp"] = None  # type: ignore[assignment]  # Python's own sign for that
    answers = peers.quiet()
    print(json.dumps(asyncio.run(_poll(task))), file=answers, flush=True)


async def _poll(task: dict[str, Any]) -> dict[str, float]:
    interval = task["interval"]
    designs = {
        "ours": lambda: peers.ours(interval),
        "http_sensor": lambda: peers.http_sensor(interval),
        "http_sensor_with_status": lambda: peers.http_sensor_with_status(interval),
        "anthropic": lambda: peers.anthropic_trigger(interval),
        "bare": lambda: peers.fixed(interval, task["url"], task["key"]),
    }
    wait = designs[task["design"]]()

    async def one(number: int, request_id: str) -> None:
        # Jobs of a deployment do not start in the same instant.
        await asyncio.sleep(interval * number / len(task["ids"]))
        await wait(request_id, time.time())

    waiting = [asyncio.create_task(one(number, request_id)) for number, request_id in enumerate(task["ids"])]
    await asyncio.to_thread(sys.stdin.readline)
    await asyncio.sleep(2)
    since, cpu = time.time(), time.process_time()
    await asyncio.sleep(task["seconds"])
    found = {"since": since, "until": time.time(), "cpu": time.process_time() - cpu}
    ended = [each for each in waiting if each.done()]
    assert not ended, f"{len(ended)} waits ended: {ended[0].exception()!r}"
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return {**found, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    main()
