"""Wait for the jobs of a batch on the triggerer's event loop, until enough of them ended to be worth a worker."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from pydantic import ValidationError

from airflow_provider_falinvoke import metrics
from airflow_provider_falinvoke.api.models import Invocation
from airflow_provider_falinvoke.api.portable import for_airflow
from airflow_provider_falinvoke.api.schedule import PollSchedule
from airflow_provider_falinvoke.api.threads import in_thread
from airflow_provider_falinvoke.batch.waiting import Ended, Job, Wait, Waited
from airflow_provider_falinvoke.exceptions import from_dict, to_dict
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook

log = logging.getLogger(__name__)


class FalInvokeBatchTrigger(BaseTrigger):
    """Look at many jobs, each by its own schedule, and report those that ended in one event.

    It never submits: a triggerer that restarts runs its triggers again. Nothing in it is secret, and all times are
    wall-clock times, in epoch seconds, because it may move to another process.

    :param fal_conn_id: the connection.
    :param jobs: for each job in flight ``[request_id, submitted_at, deadline, look_at]``.
    :param more: whether more items wait to be submitted, so that half of the jobs are worth an event.
    :param not_before: the earliest time for the event.
    :param until: when to report in any case, because a new try to submit is due; None for never.
    :param poll_interval: seconds between two looks; None for ``min(max_poll_interval, 0.5 + 0.2 * age)``.
    :param max_poll_interval: the longest growing pause in seconds.
    :param folder: where the batch's journal lies, for the log.
    :param model_id: the model of the jobs, if it is one.
    """

    def __init__(
        self,
        *,
        fal_conn_id: str,
        jobs: Sequence[Sequence[Any]],
        more: bool = False,
        not_before: float = 0.0,
        until: float | None = None,
        poll_interval: float | None = None,
        max_poll_interval: float = 30.0,
        folder: str = "",
        model_id: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow does not type it
        self.fal_conn_id = fal_conn_id
        self.jobs = [Job(*job) for job in jobs]
        self.more = more
        self.not_before = not_before
        self.until = until
        self.poll_interval = poll_interval
        self.max_poll_interval = max_poll_interval
        self.folder = folder
        self.model_id = model_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the keyword arguments to make this trigger again."""
        arguments = {
            "fal_conn_id": self.fal_conn_id,
            # A tenth of a second is enough, and a hundred jobs take some 10 kB.
            "jobs": [[job.request_id, *(round(at, 1) for at in job[1:])] for job in self.jobs],
            "more": self.more,
            "not_before": self.not_before,
            "until": self.until,
            "poll_interval": self.poll_interval,
            "max_poll_interval": self.max_poll_interval,
            "folder": self.folder,
            "model_id": self.model_id,
        }
        return f"{type(self).__module__}.{type(self).__qualname__}", for_airflow(arguments)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the one event; an error of another kind than ours is Airflow's to report."""
        metrics.about(self.model_id)
        # In a thread for the reason that outcomes.Say gives.
        await in_thread(log.info, "Waiting for %d jobs of the batch in %s", len(self.jobs), self.folder)
        wait = Wait(
            FalInvokeHook(self.fal_conn_id),
            self.jobs,
            schedule=PollSchedule.of(self.poll_interval, self.max_poll_interval),
            more=self.more,
            not_before=self.not_before,
            until=math.inf if self.until is None else self.until,
            model_id=self.model_id,
        )
        yield TriggerEvent(for_airflow(to_event(await wait.run())))

    async def on_kill(self) -> None:
        """Say that the jobs go on: the API has no cancel (Airflow 3.3 and newer call this)."""
        await in_thread(
            log.warning,
            "This wait for %d jobs was ended; they go on and are paid. Their request_ids are in %s; the next try of "
            "the task, or a clear, takes them up.",
            len(self.jobs),
            self.folder,
        )


def to_event(waited: Waited) -> dict[str, Any]:
    """Return what came of a wait as plain data, for the worker."""
    return {
        "status": "waited",
        "ended": [
            {
                "request_id": ended.request_id,
                "invocation": ended.invocation and ended.invocation.model_dump(mode="json", exclude_none=True),
                "error": ended.error and to_dict(ended.error),
            }
            for ended in waited.ended
        ],
        "looks": {request_id: round(look_at, 1) for request_id, look_at in waited.looks.items()},
        "error": waited.error and to_dict(waited.error),
    }


def read_event(event: Any) -> Waited:
    """Return what an event says came of a wait; of the jobs that are pending, only when to look at them.

    What cannot be read says nothing: the journal knows the jobs, and they are looked at again.
    """
    fields = event if isinstance(event, dict) else {}
    looks = fields.get("looks")
    error = fields.get("error")
    return Waited(
        ended=[_ended(one) for one in _list(fields.get("ended")) if isinstance(one, dict) and one.get("request_id")],
        looks={str(name): float(at) for name, at in looks.items()} if isinstance(looks, dict) else {},
        error=from_dict(error) if isinstance(error, dict) else None,
    )


def _ended(one: dict[str, Any]) -> Ended:
    request_id = str(one["request_id"])
    if isinstance(one.get("error"), dict):
        return Ended(request_id, error=from_dict(one["error"]))
    try:
        return Ended(request_id, Invocation.model_validate(one["invocation"]))
    except (KeyError, ValidationError):
        return Ended(request_id)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
