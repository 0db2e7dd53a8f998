"""Runs one try of a batch to its end, in a process that may be killed.

The operator is made anew for the first half of the try and for each resume, its triggers run from their serialized
arguments, and their events travel as JSON, as in Airflow; all in one process, so that its memory is that of both.
Standard input holds the operator's parameters as JSON; what came of the try is written as JSON to the file that the one
argument names.
"""

from __future__ import annotations

from benchmarks.support import clock

clock.install()

import json  # noqa: E402 - after the clock, which other modules take along when they are imported
import resource  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from airflow_provider_falinvoke._compat import TaskDeferred  # noqa: E402
from airflow_provider_falinvoke.operators.batch import FalInvokeBatchOperator  # noqa: E402
from tests.support.batches import TaskInstance, call  # noqa: E402


def main() -> None:
    """Run the try, and write what came of it."""
    parameters = json.load(sys.stdin)
    told: dict[str, Any] = {"error": None, "waves": 0, "on_the_worker": 0.0, "largest_event": 0}
    told["base_rss"] = peak_rss()
    ti, since = TaskInstance(), time.monotonic()
    method = "execute"
    arguments: dict[str, Any] = {}
    while True:
        operator = FalInvokeBatchOperator(task_id="pictures", **parameters)
        told["waves"] += 1
        began = time.monotonic()
        try:
            told["summary"] = call(operator, method, ti, **arguments)
        except TaskDeferred as deferred:
            told["on_the_worker"] += time.monotonic() - began
            event = json.dumps(fire(deferred))
            told["largest_event"] = max(told["largest_event"], len(event))
            method, arguments = deferred.method_name, {"event": json.loads(event)}
            continue
        except Exception as error:
            told["error"] = str(error)
            told["summary"] = ti.pushed.get("summary")
        told["on_the_worker"] += time.monotonic() - began
        break
    told |= {"seconds": time.monotonic() - since, "peak_rss": peak_rss()}
    Path(sys.argv[1]).write_text(json.dumps(told))


def fire(deferred: TaskDeferred) -> Any:
    """Run the trigger to its event, on a loop that goes by the clock of the run."""
    _, arguments = deferred.trigger.serialize()
    trigger = type(deferred.trigger)(**json.loads(json.dumps(arguments)))

    async def event() -> Any:
        return [event.payload async for event in trigger.run()]

    loop = clock.event_loop()
    try:
        (payload,) = loop.run_until_complete(event())
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    return payload


def peak_rss() -> float:
    """Return the most memory that this process had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
