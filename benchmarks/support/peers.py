"""How others wait for a job, taken from their installed packages and pointed at the same API.

Imported in client processes alone: it needs the extra ``bench``, and Airflow.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, TextIO

import aiohttp
from airflow.providers.anthropic.hooks.anthropic import AnthropicHook
from airflow.providers.anthropic.triggers import batch as anthropic_batch
from airflow.providers.common.compat.sdk import AirflowException
from airflow.providers.http.hooks.http import HttpAsyncHook
from airflow.providers.http.triggers.http import HttpSensorTrigger
from airflow.triggers.base import BaseTrigger

#: Waits for a job (request_id, when it was submitted in epoch seconds) until it is done.
Wait = Callable[[str, float], Coroutine[Any, Any, None]]
DAY = 86_400.0


class WaitFailedError(Exception):
    """The peer gave up waiting for a job that goes on."""


async def first_event(trigger: BaseTrigger) -> Any:
    """Return the payload of a trigger's first event."""
    async for event in trigger.run():
        return event.payload
    raise WaitFailedError("the trigger ended without an event")


def path_of(request_id: str) -> str:
    """Return where a job is asked for."""
    return f"/v1/async-invoke/{request_id}"


def is_pending(invocation: Any) -> bool:
    """Tell whether an invocation has not ended."""
    return invocation["status"] not in ("COMPLETED", "FAILED")


def http_sensor(interval: float) -> Wait:
    """Airflow's HttpSensorTrigger as it is installed: it waits until the answer is no 404."""

    async def wait(request_id: str, submitted_at: float) -> None:
        await first_event(HttpSensorTrigger(endpoint=path_of(request_id), poke_interval=interval))

    return wait


class _StatusHook(HttpAsyncHook):  # type: ignore[misc]  # unseen by mypy
    async def run(self, *args: Any, **kwargs: Any) -> Any:
        response = await super().run(*args, **kwargs)
        if is_pending(await response.json()):
            raise AirflowException("404:pending")
        return response


class StatusSensorTrigger(HttpSensorTrigger):  # type: ignore[misc]  # unseen by mypy
    """HttpSensorTrigger, its hook reading the status of our API as a 404 while the job is pending."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return this class with HttpSensorTrigger's arguments."""
        return ("benchmarks.support.peers.StatusSensorTrigger", super().serialize()[1])

    def _get_async_hook(self) -> HttpAsyncHook:
        return _StatusHook(method=self.method, http_conn_id=self.http_conn_id)


def http_sensor_with_status(interval: float) -> Wait:
    """The same trigger, its hook reading the status of our API as a 404 while the job is pending."""

    async def wait(request_id: str, submitted_at: float) -> None:
        await first_event(StatusSensorTrigger(endpoint=path_of(request_id), poke_interval=interval))

    return wait


class _JobHook(AnthropicHook):  # type: ignore[misc]  # unseen by mypy
    def get_batch(self, batch_id: str) -> Any:
        pending = is_pending(self.conn.get(path_of(batch_id), cast_to=object))
        counts = SimpleNamespace(succeeded=1, errored=0, canceled=0, expired=0, processing=0)
        return SimpleNamespace(processing_status="in_progress" if pending else "ended", request_counts=counts)


def anthropic_trigger(interval: float) -> Wait:
    """The anthropic provider's trigger and client, the hook's one call asking for our job."""

    async def wait(request_id: str, submitted_at: float) -> None:
        payload = await first_event(
            anthropic_batch.AnthropicBatchTrigger("anthropic_default", request_id, interval, submitted_at + DAY)
        )
        if payload["status"] != "success":
            raise WaitFailedError(payload["message"])

    # The trigger makes its hook by this name.
    anthropic_batch.AnthropicHook = _JobHook
    return wait


def fixed(interval: float, url: str, key: str) -> Wait:
    """The least that can be done: one aiohttp session for all, and a look every ``interval`` seconds."""
    session: aiohttp.ClientSession | None = None

    async def wait(request_id: str, submitted_at: float) -> None:
        nonlocal session
        session = session or aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {key}"})
        while True:
            async with session.get(path_of(request_id)) as response:
                if response.status == 200 and not is_pending(await response.json()):
                    return
            await asyncio.sleep(interval)

    return wait


def ours(interval: float | None) -> Wait:
    """This package's trigger, with the operator's defaults but for ``poll_interval``."""
    from airflow_provider_falinvoke.triggers.falinvoke import FalInvokeTrigger

    async def wait(request_id: str, submitted_at: float) -> None:
        trigger = FalInvokeTrigger(
            fal_conn_id="falinvoke_default",
            request_id=request_id,
            submitted_at=submitted_at,
            deadline=submitted_at + DAY,
            poll_interval=interval,
        )
        payload = await first_event(trigger)
        if payload["status"] != "completed":
            raise WaitFailedError(str(payload["error"]))

    return wait


def quiet() -> TextIO:
    """Send what is logged to nowhere: in a triggerer it goes to a file. Return what standard output was."""
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return answers
