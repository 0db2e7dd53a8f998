"""One test body for both kinds of a call: blocking, and awaiting on a loop that is watched."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_falinvoke.api import drivers
from airflow_provider_falinvoke.emulator import ManualClock
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from tests.support.loop_watch import run_watched


class Caller:
    """Calls a hook's method, or its ``async_`` twin.

    :param kind: ``sync`` or ``async``.
    """

    def __init__(self, kind: str, conn_id: str = "falinvoke_default") -> None:
        self.kind = kind
        self.hook = FalInvokeHook(conn_id)

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self.kind == "sync":
            return getattr(self.hook, name)(*args, **kwargs)
        return run_watched(getattr(self.hook, f"async_{name}")(*args, **kwargs))

    def to(self, conn_id: str) -> Caller:
        """Return a caller of the same kind with another connection."""
        return Caller(self.kind, conn_id)


def step_time(monkeypatch: pytest.MonkeyPatch, clock: ManualClock, step: Callable[[float], object]) -> None:
    """Let every call under a hook read ``clock``, and let its sleeps be ``step``."""

    async def astep(seconds: float) -> None:
        step(seconds)

    where = "airflow_provider_falinvoke.hooks.falinvoke"
    monkeypatch.setattr(f"{where}.run", functools.partial(drivers.run, clock=clock, sleep=step))
    monkeypatch.setattr(f"{where}.arun", functools.partial(drivers.arun, clock=clock, sleep=astep))
