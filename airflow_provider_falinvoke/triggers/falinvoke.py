"""Wait for a job on the triggerer's event loop, without a worker slot."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from airflow.configuration import conf
from airflow.triggers.base import BaseTrigger, TriggerEvent
from pydantic import ValidationError

from airflow_provider_falinvoke import metrics
from airflow_provider_falinvoke._compat import AirflowException
from airflow_provider_falinvoke.api.drivers import asleep_until
from airflow_provider_falinvoke.api.models import Invocation, is_longer
from airflow_provider_falinvoke.api.outcomes import by_hand
from airflow_provider_falinvoke.api.portable import for_airflow
from airflow_provider_falinvoke.api.printable import printable
from airflow_provider_falinvoke.api.schedule import PollSchedule
from airflow_provider_falinvoke.api.threads import in_thread
from airflow_provider_falinvoke.exceptions import FalInvokeError, FalInvokeUnreachableError, from_dict, to_dict
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.side_effects import not_stopping_the_task

log = logging.getLogger(__name__)

#: An event is stored in Airflow's database; a larger result (inline files) is fetched again by the worker instead.
MAX_EVENT_BYTES = 64_000
#: Seconds that a scheduler's loop may take beyond its pause, and its messages on their way; see
#: :func:`safe_first_look_at`.
RESUME_MARGIN = 2.0
#: A longer wait is a slip of the settings.
_LONGEST_MARGIN = 3600.0


class FalInvokeTrigger(BaseTrigger):
    """Wait until a job is completed, has failed, or its deadline passes, and say which in one event.

    It never submits: a triggerer that restarts runs its triggers again. Nothing in it is secret, and all times are
    wall-clock times, because it may move to another process.

    :param fal_conn_id: the connection.
    :param request_id: the job's id.
    :param submitted_at: when the job was submitted, in epoch seconds.
    :param deadline: when to give up, in epoch seconds.
    :param first_look_at: when to look first, in epoch seconds.
    :param poll_interval: seconds between two looks; None for ``min(max_poll_interval, 0.5 + 0.2 * age)``.
    :param max_poll_interval: the longest growing pause in seconds.
    :param model_id: the job's model, whose jobs may have told how long they take; for the log and the metrics too.
    """

    def __init__(
        self,
        *,
        fal_conn_id: str,
        request_id: str,
        submitted_at: float,
        deadline: float,
        first_look_at: float = 0.0,
        poll_interval: float | None = None,
        max_poll_interval: float = 30.0,
        model_id: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow does not type it
        self.fal_conn_id = fal_conn_id
        self.request_id = request_id
        self.submitted_at = submitted_at
        self.deadline = deadline
        self.first_look_at = first_look_at
        self.poll_interval = poll_interval
        self.max_poll_interval = max_poll_interval
        self.model_id = model_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the keyword arguments to make this trigger again."""
        arguments = {
            "fal_conn_id": self.fal_conn_id,
            "request_id": self.request_id,
            "submitted_at": self.submitted_at,
            "deadline": self.deadline,
            "first_look_at": self.first_look_at,
            "poll_interval": self.poll_interval,
            "max_poll_interval": self.max_poll_interval,
            "model_id": self.model_id,
        }
        return f"{type(self).__module__}.{type(self).__qualname__}", for_airflow(arguments)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the one event; an error of another kind than ours is Airflow's to report."""
        metrics.about(self.model_id)
        # Before all else, because an error must not fire sooner either: see safe_first_look_at.
        await asleep_until(self.first_look_at)
        await in_thread(  # for the reason that outcomes.Say gives
            log.info,
            "Waiting for the job %s%s, submitted %.1f s ago, until %s UTC",
            printable(self.request_id),
            _of(self.model_id),
            time.time() - self.submitted_at,
            f"{datetime.fromtimestamp(self.deadline, timezone.utc):%Y-%m-%d %H:%M:%S}",
        )
        hook = FalInvokeHook(self.fal_conn_id)
        try:
            invocation = await hook.async_wait(
                self.request_id,
                submitted_at=self.submitted_at,
                deadline=self.deadline,
                schedule=PollSchedule.of(self.poll_interval, self.max_poll_interval),
                model_id=self.model_id,
            )
        except AirflowException as error:
            lost = FalInvokeUnreachableError(
                f"The triggerer could not read the connection {self.fal_conn_id!r} ({error}), so it does not wait for "
                f"the job {self.request_id} any more, which goes on. {by_hand(self.request_id)}",
                request_id=self.request_id,
            )
            event = failed_event(self.request_id, lost)
        except FalInvokeError as error:
            event = failed_event(self.request_id, error)
        else:
            event = completed_event(self.request_id, invocation)
        waited = round(time.time() - self.submitted_at, 1)
        told = {"model_id": self.model_id, "waited": waited, "looks": hook.requests}
        yield TriggerEvent(for_airflow({**event, **told}))

    async def on_kill(self) -> None:
        """Say that the job goes on: the API has no cancel (Airflow 3.3 and newer call this).

        Airflow calls it too when a stalled triggerer comes back after another took over its triggers (PR #73454). A
        line in the log is true then as well, and nothing else is done here.
        """
        await in_thread(
            log.warning,
            "This wait for %s was ended; the job goes on and is paid. %s",
            printable(self.request_id),
            by_hand(self.request_id),
        )


def safe_first_look_at(now: float) -> float:
    """Return the earliest time at which a trigger that is made ``now`` may fire.

    An event that the scheduler sees before the executor's "success" of the task's first half makes it fail the task
    (apache/airflow #71580, #72716; seen in 2 to 5 of 24 tasks on 3.3.2). That comes late: the worker's supervisor may
    linger for ``[workers] min_heartbeat_interval`` (5 s by default) after its task deferred, and the scheduler reads it
    once in a loop, between two of which it may sleep for ``[scheduler] scheduler_idle_sleep_time`` (1 s). A scheduler
    whose loops take more than 2 s by themselves needs ``[falinvoke] resume_margin``.

    Airflow 3.4 guards a task that is queued again by then, but not one that runs again, so nothing is taken off there.
    """
    lingers = _seconds("workers", "min_heartbeat_interval", 5.0)
    sleeps = _seconds("scheduler", "scheduler_idle_sleep_time", 1.0)
    return now + lingers + sleeps + RESUME_MARGIN + _seconds("falinvoke", "resume_margin", 0.0)


def _seconds(section: str, key: str, default: float) -> float:
    """Return a setting; the job is paid by now, so a wrong one does not end the task."""
    value = default
    with not_stopping_the_task(f"[{section}] {key} cannot be read, so it is taken for {default:g}"):
        value = conf.getfloat(section, key, fallback=default)
    return min(max(0.0, value), _LONGEST_MARGIN)


def completed_event(request_id: str, invocation: Invocation) -> dict[str, Any]:
    """Return the event for a completed job; without its invocation where that would be too large to store."""
    data = None
    if not is_longer(list(dict(invocation).values()), MAX_EVENT_BYTES):
        with suppress(ValueError):  # nested too deeply for pydantic
            data = invocation.model_dump(mode="json")
    return {"status": "completed", "request_id": request_id, "invocation": data}


def failed_event(request_id: str, error: FalInvokeError) -> dict[str, Any]:
    """Return the event for a wait that ended with ``error``."""
    return {"status": "failed", "request_id": request_id, "error": to_dict(error)}


def story_of(event: Any, request_id: str | None = None) -> str:
    """Return what happened while a task was deferred, in a line for its log.

    :param event: what the task was resumed with; whatever of it is missing is left out.
    :param request_id: the job that was waited for, in case the event does not say.
    """
    fields = event if isinstance(event, dict) else {}
    waited, looks = fields.get("waited"), fields.get("looks")
    after = f" {waited} s after its submit" if isinstance(waited, float) else ""
    seen = f"; the triggerer looked {looks} times" if isinstance(looks, int) else ""
    job = f"the job {printable(fields.get('request_id') or request_id)}{_of(fields.get('model_id'))}"
    if fields.get("status") == "completed":
        return f"Resumed: {job} is completed{after}{seen}"
    return f"Resumed: the wait for {job} ended without its result{after}{seen}"


def _of(model_id: Any) -> str:
    return f" of {printable(model_id)}" if model_id else ""


def read_event(event: Any, hook: FalInvokeHook, request_id: str | None = None) -> Invocation:
    """Return the completed invocation that an event reports.

    :param event: what the task was resumed with.
    :param hook: fetches the invocation again if it was too large for the event.
    :param request_id: the job that was waited for, in case the event does not say.
    :raises FalInvokeError: the error that the event reports, or one that says that it cannot be read.
    """
    fields = event if isinstance(event, dict) else {}
    if isinstance(fields.get("request_id"), str):
        request_id = fields["request_id"] or request_id
    if fields.get("status") == "failed" and isinstance(fields.get("error"), dict):
        raise from_dict({**fields["error"], "request_id": request_id})
    if fields.get("status") == "completed" and request_id:
        if fields.get("invocation") is None:
            return hook.get(request_id)
        try:
            return Invocation.model_validate(fields["invocation"])
        except ValidationError:
            pass
    known = f" {by_hand(request_id)}" if request_id else ""
    raise FalInvokeError(
        f"The task was resumed with an event that this version cannot read: {str(event)[:200]!r}.{known}",
        request_id=request_id,
    )
