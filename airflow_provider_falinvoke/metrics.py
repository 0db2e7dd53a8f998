"""What jobs do, counted through Airflow's own metrics: StatsD, Datadog or OpenTelemetry, as ``[metrics]`` says.

Each metric is sent under its name with tags, for a backend that takes them, and under its name followed by the model,
for plain StatsD, which drops tags. Nothing here raises: a paid job is worth more than a number about it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from airflow_provider_falinvoke._compat import find_stats
from airflow_provider_falinvoke.api.outcomes import Outcome, Reply, Send
from airflow_provider_falinvoke.api.threads import in_thread
from airflow_provider_falinvoke.side_effects import not_stopping_the_task

if TYPE_CHECKING:
    from airflow_provider_falinvoke.api.models import Invocation

log = logging.getLogger(__name__)

PREFIX = "falinvoke"
#: Airflow refuses names beyond 250 characters; a model of this length leaves room for any prefix.
LONGEST_MODEL = 100

#: The model whose job this task, or this coroutine of the triggerer, works for. What asks for a job by its id alone
#: does not know it, and a request is counted where it is sent.
_model: ContextVar[str] = ContextVar("falinvoke_model", default="")
_warm_in: int | None = None
_said_in: int | None = None
_warming = threading.Lock()


def about(model_id: str | None) -> None:
    """Count from now on, in this task or coroutine, for this model; None or an empty one changes nothing."""
    if model_id:
        _model.set(str(model_id))


def requested(conn_id: str, step: Send, outcome: Outcome) -> None:
    """Count a request that was sent, for it is part of the token's quota whatever became of it."""
    status = outcome.status if isinstance(outcome, Reply) else None
    _count("requests", conn_id=conn_id, method=step.method, status="none" if status is None else str(status))
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        _count("rate_limited", conn_id=conn_id, method=step.method)


def submitted() -> None:
    """Count a job that the API took, which is paid from now on."""
    _count("submitted")


def resumed() -> None:
    """Count a paid job that a later try took up again in place of a new one."""
    _count("resumed")


def waited(seconds: float, model_id: str | None = None) -> None:
    """Record how long after its submit a job was seen completed."""
    with _of(model_id):
        _time("wait_duration", seconds)


def completed(invocation: Invocation) -> None:
    """Count a job whose result is home, and record how long the model took by the API's own times."""
    with _of(invocation.model_id):
        _count("completed")
        if invocation.seconds is not None:
            _time("run_duration", invocation.seconds)


def failed(error: Exception, model_id: str | None = None) -> None:
    """Count a try, or one job of a batch, that ended with ``error``."""
    with _of(model_id):
        _count("failed", error=type(error).__name__)


@contextmanager
def _of(model_id: str | None) -> Iterator[None]:
    token = _model.set(model_id or _model.get())
    try:
        yield
    finally:
        _model.reset(token)


async def make_ready() -> None:
    """Have this process's metrics set up in a thread, once.

    Airflow reads its settings, a list of names (0.1 s and more) and the host's address at the first metric; the
    triggerer's event loop must not wait for that.
    """
    if _warm_in != os.getpid():
        await in_thread(_warm_up)


def _warm_up() -> None:
    global _warm_in  # noqa: PLW0603 - it is the process that is warm
    with _warming:
        if _warm_in == os.getpid():
            return
        with _held_back("Airflow's metrics cannot be set up"):
            find_stats().timer(f"{PREFIX}.wait_duration")  # sets all of it up, and sends nothing unless started
        _warm_in = os.getpid()


def _count(name: str, **tags: str) -> None:
    with _held_back(f"The metric {name} could not be sent"):
        stats, model = find_stats(), _model.get()
        stats.incr(f"{PREFIX}.{name}", tags={"model_id": tag_of(model), **tags})
        stats.incr(f"{PREFIX}.{name}.{segment_of(model)}")


def _time(name: str, seconds: float) -> None:
    with _held_back(f"The metric {name} could not be sent"):
        stats, model = find_stats(), _model.get()
        # A timedelta, because a plain number is seconds to one backend and milliseconds to another.
        stats.timing(f"{PREFIX}.{name}", timedelta(seconds=seconds), tags={"model_id": tag_of(model)})
        stats.timing(f"{PREFIX}.{name}.{segment_of(model)}", timedelta(seconds=seconds))


@contextmanager
def _held_back(what: str) -> Iterator[None]:
    """Hold back what a backend raises, and say it once in a process, because it fails for each request alike.

    Never on an event loop, which must not wait for its log: :func:`make_ready` says it in a thread.
    """
    global _said_in  # noqa: PLW0603 - it is the process that said it
    try:
        yield
    except Exception:
        if _said_in == os.getpid() or _on_a_loop():
            log.debug("%s", what, exc_info=True)
            return
        _said_in = os.getpid()
        with not_stopping_the_task(what):
            raise


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def tag_of(model_id: str) -> str:
    """Return a model as a tag's value; ``,`` and ``=`` and the like would end a tag."""
    return re.sub(r"[^A-Za-z0-9_./-]", "_", model_id)[:LONGEST_MODEL] or "unknown"


def segment_of(model_id: str) -> str:
    """Return a model as one segment of a metric's name, in which ``.`` and ``/`` would make further ones."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", model_id)[:LONGEST_MODEL] or "unknown"
