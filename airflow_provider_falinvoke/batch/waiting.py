"""Wait for some of many jobs: each looked at by its own schedule, all through one hook. Never submits.

One definition for both places: the trigger awaits it, a worker that may not defer runs it on a loop of its own.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from airflow_provider_falinvoke import metrics
from airflow_provider_falinvoke._compat import AirflowException
from airflow_provider_falinvoke.api.account import Account, account_of
from airflow_provider_falinvoke.api.drivers import asleep
from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus, is_longer
from airflow_provider_falinvoke.api.outcomes import timed_out
from airflow_provider_falinvoke.api.pacing import backoff
from airflow_provider_falinvoke.api.printable import printable
from airflow_provider_falinvoke.api.protocol import NOT_FOUND_GRACE
from airflow_provider_falinvoke.api.schedule import TAIL, PollSchedule
from airflow_provider_falinvoke.api.threads import in_thread
from airflow_provider_falinvoke.batch.plan import event_at
from airflow_provider_falinvoke.exceptions import (
    FalInvokeAuthError,
    FalInvokeConfigError,
    FalInvokeError,
    FalInvokeUnreachableError,
)
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook

log = logging.getLogger(__name__)

#: Requests in the air at a time.
LOOKS_AT_ONCE = 16
#: What ended travels to the worker in one event of some 64 kB, which Airflow keeps in its database; so many bytes of
#: that are for invocations …
MAX_CARRIED_BYTES = 56_000
#: … and of one of them so many; a larger one is fetched again by the worker.
MAX_INVOCATION_BYTES = 8_000
#: A connection that cannot be read (a secrets backend that fails) is asked for so long, in seconds.
CONNECTION_PATIENCE = 60.0
#: What one job meets, all others will meet.
_FOR_ALL = (FalInvokeAuthError, FalInvokeConfigError)
#: How long answers that are on their way are waited for once enough jobs ended.
_LAST_ANSWERS = 5.0


class Job(NamedTuple):
    """A job in flight; times in epoch seconds.

    :param request_id: its id.
    :param submitted_at: when it was submitted.
    :param deadline: when to give it up.
    :param look_at: when to look at it next.
    """

    request_id: str
    submitted_at: float
    deadline: float
    look_at: float

    def moved(self, seconds: float) -> Job:
        """Return the job in another clock's seconds; a ``look_at`` of 0 stays what it is."""
        look_at = self.look_at and self.look_at + seconds
        return Job(self.request_id, self.submitted_at + seconds, self.deadline + seconds, look_at)


@dataclass(frozen=True)
class Ended:
    """A job that is not waited for any more.

    :param invocation: as the API reported it; None where it is too large for an event, or there is an error.
    :param error: why it is not waited for any more though it did not end.
    """

    request_id: str
    invocation: Invocation | None = None
    error: FalInvokeError | None = None


@dataclass
class Waited:
    """What came of a wait.

    :param ended: the jobs that ended.
    :param looks: when to look next at those that did not, by request_id.
    :param error: why none of them can be waited for any more, if so.
    """

    ended: list[Ended] = field(default_factory=list)
    looks: dict[str, float] = field(default_factory=dict)
    error: FalInvokeError | None = None


def first_look(job: Job, soonest: float, schedule: PollSchedule, account: Account, model_id: str | None) -> float:
    """Return when to look at a job first, in the wait's seconds.

    :param soonest: the earliest time that makes sense.
    :param account: what is known of the account: whether its requests are scarce, how long jobs like this one took.
    :param model_id: the job's model, if it is known.
    """
    if job.look_at:
        return max(job.look_at, soonest)
    again = account.look_at(schedule, model_id, job.submitted_at, soonest)
    if account.gate.is_scarce(soonest):
        return again
    # One that most likely ended by now is looked at, others when that is worth a request.
    known = account.durations.of(model_id)
    longer = known and known[-min(TAIL, len(known))] > soonest - job.submitted_at
    return again if longer else soonest


def judged(
    job: Job,
    answer: Invocation | FalInvokeError,
    *,
    asked_at: float,
    now: float,
    schedule: PollSchedule,
    failures: int,
    account: Account,
    model_id: str | None = None,
) -> Ended | Job:
    """Return what an answer means for a job: its end, or when to look again.

    :param answer: what the API said, or why it said nothing.
    :param asked_at: when it was asked.
    :param failures: unusable answers in a row, this one included, whichever the job.
    :param account: what is known of the account.
    :param model_id: the job's model, where the answer does not tell.
    """
    age = now - job.submitted_at
    if isinstance(answer, FalInvokeError):
        if not answer.may_pass:
            return Ended(job.request_id, error=answer)
        if asked_at >= job.deadline:
            return Ended(job.request_id, error=timed_out(job.request_id, f"its state could not be read ({answer})"))
        look_at = now + max(backoff(failures), schedule.pause(age))
    elif answer.status.ended:
        return Ended(job.request_id, answer)
    elif asked_at >= job.deadline:
        state = answer.raw_status or "pending"
        return Ended(
            job.request_id,
            error=timed_out(job.request_id, f"it was still {state} {age:.0f} s after the submit"),
        )
    else:
        look_at = account.look_at(schedule, answer.model_id or model_id, job.submitted_at, now)
    return job._replace(look_at=min(look_at, max(now, job.deadline)))


class Wait:
    """One wait for some of ``jobs``.

    :param jobs: the jobs in flight.
    :param schedule: when to look at a job again, by its age.
    :param more: whether more items wait to be submitted; see :func:`~airflow_provider_falinvoke.batch.plan.event_at`.
    :param not_before: the wait takes at least until then.
    :param until: it takes no longer than until then.
    :param model_id: the model of the jobs, whose usual durations say when a first look is worth it.
    """

    def __init__(
        self,
        hook: FalInvokeHook,
        jobs: Sequence[Job],
        *,
        schedule: PollSchedule,
        more: bool = False,
        not_before: float = 0.0,
        until: float = math.inf,
        model_id: str | None = None,
    ) -> None:
        self._hook = hook
        self._schedule = schedule
        # From here on by a clock that never steps back; what comes in and goes out is in epoch seconds.
        self._ahead = time.time() - time.monotonic()
        self._more, self._not_before = more, not_before - self._ahead
        # Else a wait that ends as soon as it may would never look at its jobs.
        self._until = max(until, not_before + _LAST_ANSWERS if jobs else until) - self._ahead
        self._awaited = len(jobs)
        self._account, self._model_id = account_of(hook.fal_conn_id), model_id
        # A look before the wait may end would be a request for nothing.
        soonest = max(self._not_before, time.monotonic())
        awaited = [job.moved(-self._ahead) for job in jobs]
        self._due = [(first_look(job, soonest, schedule, self._account, model_id), job) for job in awaited]
        heapq.heapify(self._due)
        self._looks: dict[asyncio.Task[Invocation], tuple[Job, float]] = {}
        self._waited = Waited()
        self._first_ended_at = 0.0
        self._bytes = 0
        self._failures = 0
        self._unreadable_since = math.inf

    async def run(self) -> Waited:
        """Wait until enough jobs ended, and return what came of it."""
        try:
            while (now := time.monotonic()) < (event_at := self._event_at()):
                self._start_looks(now)
                await self._wait(min(event_at, self._due[0][0]) if self._has_room else event_at)
            if self._looks:
                await self._wait(now + _LAST_ANSWERS, everything=True)
        finally:
            for look in self._looks:
                look.cancel()
        pending = [job for _, job in self._due] + [job for job, _ in self._looks.values()]
        self._waited.looks = {job.request_id: job.moved(self._ahead).look_at for job in pending}
        return self._waited

    @property
    def _has_room(self) -> bool:
        return bool(self._due) and len(self._looks) < LOOKS_AT_ONCE

    def _event_at(self) -> float:
        if self._waited.error is not None or self._bytes > MAX_CARRIED_BYTES - MAX_INVOCATION_BYTES:
            return self._not_before
        return event_at(
            awaited=self._awaited,
            ended=len(self._waited.ended),
            first_ended_at=self._first_ended_at,
            more=self._more,
            not_before=self._not_before,
            until=self._until,
        )

    def _start_looks(self, now: float) -> None:
        while self._has_room and self._due[0][0] <= now:
            _, job = heapq.heappop(self._due)
            is_new = now < job.submitted_at + NOT_FOUND_GRACE
            look = asyncio.ensure_future(self._hook.async_get(job.request_id, is_new=is_new))
            self._looks[look] = (job, now)

    async def _wait(self, until: float, *, everything: bool = False) -> None:
        """Wait for the next answer, or for all of them, no longer than until then."""
        if not self._looks:
            await asleep(max(0.0, until - time.monotonic()))
            return
        seconds = min(max(0.0, until - time.monotonic()), threading.TIMEOUT_MAX)
        how = asyncio.ALL_COMPLETED if everything else asyncio.FIRST_COMPLETED
        done, _ = await asyncio.wait(self._looks, timeout=seconds, return_when=how)
        for look in done:
            await self._note(look)

    async def _note(self, look: asyncio.Task[Invocation]) -> None:
        job, asked_at = self._looks.pop(look)
        now = time.monotonic()
        answer: Invocation | FalInvokeError
        try:
            answer, self._failures, self._unreadable_since = look.result(), 0, math.inf
        except AirflowException as error:
            self._unreadable_since = min(self._unreadable_since, now)
            answer = FalInvokeUnreachableError(
                f"The connection {self._hook.fal_conn_id!r} cannot be read ({error}). The jobs of the batch go on, and "
                "are paid; a retry takes them up."
            )
        except FalInvokeError as error:
            answer = error
        if isinstance(answer, FalInvokeError):
            self._failures += 1
            if self._failures == 1:
                await in_thread(log.warning, "The job %s could not be looked at: %s", printable(job.request_id), answer)
        lost = now >= self._unreadable_since + CONNECTION_PATIENCE
        if isinstance(answer, FalInvokeError) and (lost or isinstance(answer, _FOR_ALL)):
            self._waited.error = answer
            heapq.heappush(self._due, (job.look_at, job))
            return
        judgement = judged(
            job,
            answer,
            asked_at=asked_at,
            now=now,
            schedule=self._schedule,
            failures=self._failures,
            account=self._account,
            model_id=self._model_id,
        )
        if isinstance(judgement, Job):
            heapq.heappush(self._due, (judgement.look_at, judgement))
            return
        if judgement.invocation is not None and judgement.invocation.status is InvocationStatus.COMPLETED:
            metrics.waited(now - job.submitted_at, judgement.invocation.model_id)
            if judgement.invocation.seconds is not None:
                self._account.durations.add(judgement.invocation.model_id, judgement.invocation.seconds)
        self._first_ended_at = self._first_ended_at or now
        self._waited.ended.append(self._within_the_event(judgement))

    def _within_the_event(self, ended: Ended) -> Ended:
        if ended.invocation is None:
            return ended
        if not is_longer(ended.invocation.output, MAX_INVOCATION_BYTES):
            with suppress(ValueError):  # nested too deeply for pydantic
                size = len(ended.invocation.model_dump_json())
                if self._bytes + size <= MAX_CARRIED_BYTES:
                    self._bytes += size
                    return ended
        return replace(ended, invocation=None)
