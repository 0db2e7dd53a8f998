"""What a task does on a worker: submit, and wait there as far as its design does."""

from __future__ import annotations

# Before anything that keeps a name of the module time.
from benchmarks.support import clock

clock.install()

import time  # noqa: E402 - after the clock, as above
from collections.abc import Awaitable, Callable  # noqa: E402
from typing import Any  # noqa: E402

from airflow.sdk import BaseHook  # noqa: E402
from airflow.sdk.exceptions import TaskDeferred  # noqa: E402

from airflow_provider_falinvoke.exceptions import FalInvokeRateLimitError, FalInvokeUnreachableError  # noqa: E402
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook  # noqa: E402
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator  # noqa: E402
from airflow_provider_falinvoke.triggers.falinvoke import FalInvokeTrigger  # noqa: E402
from benchmarks.support import peers  # noqa: E402
from tests.support.execution import Context, Memory, execute  # noqa: E402

#: An answer: ``state`` (done, waiting, refused, lost), ``request_id``, and what the wait needs.
Answer = dict[str, Any]


def warm_up() -> None:
    """Do nothing, in a worker that has imported everything."""


def start(task: dict[str, Any], number: int) -> Answer:
    """Run the worker's part of a job; whatever it ends with is in the answer."""
    job = task["jobs"][number]
    given = {"model_id": job["model_id"], "input": job["input"], "tags": {"emulator-duration": str(job["seconds"])}}
    try:
        if task["design"] == "ours":
            return _operator(given, task["interval"])
        invocation = FalInvokeHook().submit(given["model_id"], given["input"], given["tags"])
        answer = {"state": "waiting", "request_id": invocation.request_id, "submitted_at": time.time()}
        return _fal_client(answer) if task["design"] == "fal_client" else answer
    except (FalInvokeRateLimitError, FalInvokeUnreachableError) as error:
        return {"state": "refused", "error": str(error)}
    except Exception as error:
        return {"state": "lost", "error": f"{type(error).__name__}: {error}"[:300]}


def _operator(given: dict[str, Any], interval: float | None) -> Answer:
    context = Context()
    context["task_state_store"] = Memory()
    try:
        result = execute(FalInvokeOperator(task_id="job", poll_interval=interval, **given), context)
    except TaskDeferred as deferred:
        arguments = deferred.trigger.serialize()[1]
        return {"state": "waiting", "request_id": arguments["request_id"], "trigger": arguments}
    return {"state": "done", "request_id": result["request_id"], "at": time.time()}


def _fal_client(answer: Answer) -> Answer:
    from benchmarks.support import fal_wait

    connection = BaseHook.get_connection("falinvoke_default")
    url = f"{connection.schema}://{connection.host}:{connection.port}"
    try:
        fal_wait.wait(answer["request_id"], url, str(connection.password))
    except Exception as error:
        return answer | {"state": "lost", "error": f"{type(error).__name__}: {error}"[:300]}
    return answer | {"state": "done", "at": time.time()}


def waits(task: dict[str, Any]) -> Callable[[Answer], Awaitable[None]]:
    """Return how the design of a task waits in the triggerer."""
    if task["design"] in ("ours", "fal_client"):
        return _trigger
    makers: dict[str, Callable[[float], peers.Wait]] = {
        "http_sensor": peers.http_sensor_with_status,
        "anthropic": peers.anthropic_trigger,
        "fixed": lambda interval: peers.fixed(interval, task["url"], task["key"]),
    }
    wait = makers[task["design"]](task["interval"])

    async def waited(answer: Answer) -> None:
        await wait(answer["request_id"], answer["submitted_at"])

    return waited


async def _trigger(answer: Answer) -> None:
    payload = await peers.first_event(FalInvokeTrigger(**answer["trigger"]))
    if payload["status"] != "completed":
        raise peers.WaitFailedError(str(payload["error"]))
