"""A client of the API as Airflow makes one: worker slots that submit, a triggerer's event loop that waits.

``python -m benchmarks.support.fleet`` reads its task as JSON from standard input, runs it on the clock of its
environment, and prints what became of each job. A task of a worker runs in a process forked for it alone, from one that
has imported everything, as Airflow's LocalExecutor does; so no task knows what another one learned. Triggers run in
this process, on one event loop. What is left out is Airflow's own work between the two (the scheduler's and the
database's), which would only put requests further apart.
"""

from __future__ import annotations

# Before anything that keeps a name of the module time.
from benchmarks.support import clock

clock.install()

import asyncio  # noqa: E402 - after the clock, as above
import json  # noqa: E402
import multiprocessing  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

#: What a task did that found no room for its submit within the connection's patience: Airflow tries it again later.
RETRY_DELAY = 300.0


class Fleet:
    """Runs jobs through worker slots and one event loop.

    :param task: ``design``, ``jobs`` (each ``model_id``, ``input``, ``seconds``), ``slots``, ``in_flight`` (at the most
        so many jobs submitted and not yet found done), ``stop_after`` (seconds of the clock), ``interval``.
    """

    def __init__(self, task: dict[str, Any]) -> None:
        self._task = task
        self._slots = asyncio.Semaphore(task["slots"])
        self._in_flight = asyncio.Semaphore(task["in_flight"])
        self._ends: list[dict[str, Any]] = []
        self.retries = 0

    async def run(self) -> dict[str, Any]:
        """Run until all jobs are found done, or the time is up."""
        from benchmarks.support import worker

        self._wait = worker.waits(self._task)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["benchmarks.support.worker"])
        with context.Pool(self._task["slots"], maxtasksperchild=1) as pool:
            await self._on_worker(pool, worker.warm_up)
            since = time.time()
            waiting = [asyncio.create_task(self._one(pool, number)) for number in range(len(self._task["jobs"]))]
            await asyncio.wait(waiting, timeout=self._task["stop_after"])
            until = time.time()
            for each in waiting:
                each.cancel()
            for outcome in await asyncio.gather(*waiting, return_exceptions=True):
                if isinstance(outcome, Exception):
                    raise outcome
            pool.terminate()
        return {"since": since, "until": until, "retries": self.retries, "ends": self._ends}

    async def _one(self, pool: Any, number: int) -> None:
        from benchmarks.support import worker

        async with self._in_flight:
            while True:
                async with self._slots:
                    answer = await self._on_worker(pool, worker.start, self._task, number)
                if answer["state"] != "refused":
                    break
                self.retries += 1
                await asyncio.sleep(RETRY_DELAY)
            if answer["state"] == "waiting":
                try:
                    await self._wait(answer)
                    answer |= {"state": "done", "at": time.time()}
                except Exception as error:
                    answer |= {"state": "lost", "error": f"{type(error).__name__}: {error}"[:300]}
            self._ends.append({key: answer.get(key) for key in ("request_id", "state", "at", "error")})

    @staticmethod
    async def _on_worker(pool: Any, function: Callable[..., Any], *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Any] = loop.create_future()

        def settle(method: Callable[[Any], None], value: Any) -> None:
            if not result.done():
                method(value)

        pool.apply_async(
            function,
            arguments,
            callback=lambda value: loop.call_soon_threadsafe(settle, result.set_result, value),
            error_callback=lambda error: loop.call_soon_threadsafe(settle, result.set_exception, error),
        )
        return await result


def main() -> None:
    """Run the task on standard input."""
    from benchmarks.support import peers

    answers = peers.quiet()
    task = json.loads(sys.stdin.readline())
    loop = clock.event_loop()
    found = loop.run_until_complete(Fleet(task).run())
    print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
