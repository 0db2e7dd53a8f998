"""What survives a retry: a record of the paid job in Airflow's task state store (3.3 and newer).

An intent is stored before each POST, withdrawn where that came to nothing, and replaced by the request_id as soon as
that is known; so a death between the two leaves a trace, and a death in a pause leaves none. The decision what a new
try does with the record is one pure function, :func:`decide`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from airflow_provider_falinvoke._compat import hears_of_success
from airflow_provider_falinvoke.api.drivers import sleep
from airflow_provider_falinvoke.api.models import InvokeRequest
from airflow_provider_falinvoke.api.outcomes import by_hand
from airflow_provider_falinvoke.api.portable import for_airflow
from airflow_provider_falinvoke.api.printable import printable
from airflow_provider_falinvoke.exceptions import FalInvokeAmbiguousSubmitError, FalInvokeError
from airflow_provider_falinvoke.side_effects import not_stopping_the_task

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

STORE_KEY = "falinvoke_job"
#: A write that fails is tried again after so many seconds each, where a paid job or a false doubt depends on it.
PAUSES = (1.0, 2.0, 4.0)
AmbiguousPolicy = Literal["fail", "retry"]


class Phase(str, Enum):
    """How far the job of a task instance got."""

    #: A POST is on its way, or was; a record that stays here may or may not be a paid job.
    INTENT = "intent"
    #: The request_id is known.
    SUBMITTED = "submitted"
    #: The task has its result; noted as the last thing before it returns.
    DONE = "done"
    #: There is nothing more to be had of the job: its files are gone, or were not wanted because they are flagged.
    CLOSED = "closed"


class Record(BaseModel):
    """What the store holds of a task instance's job.

    :param fingerprint: of what was asked for; another one is another job.
    :param generation: ``ti.max_tries`` when the record was written: constant over retries, raised by a user's clear.
    :param request_id: the job's id, once it is known.
    :param submitted_at: when it was, or was about to be, submitted, in epoch seconds.
    :param deadline: when the task gives up, in epoch seconds.
    :param reported_at: when a try failed with the words that nobody knows whether the job is paid, in epoch seconds.
    :param acknowledged: whether Airflow stored the task's success.
    """

    model_config = ConfigDict(defer_build=True, frozen=True)

    phase: Phase
    fingerprint: str
    generation: int
    request_id: str | None = None
    submitted_at: float = 0.0
    deadline: float = 0.0
    reported_at: float | None = None
    acknowledged: bool = False


class Action(Enum):
    """What a try does first."""

    SUBMIT = "submit a new job"
    #: Ask the API for the job; a pending one is awaited, a completed one taken home.
    RESUME = "take the stored job up again"
    #: Nobody knows whether the stored intent was paid.
    STOP = "stop, because a submit may have been paid"


def fingerprint(request: InvokeRequest, conn_id: str) -> str:
    """Return what identifies a request: model, input, tags, and the connection, because another account pays there."""
    # Further keys stand only where there are some, so that records of before are found.
    tags = [[tag.key, tag.value, *([tag.model_extra] if tag.model_extra else [])] for tag in request.tags or ()]
    text = json.dumps([request.model_id, request.input, tags, conn_id], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def decide(record: Record | None, wanted: str, generation: int, policy: AmbiguousPolicy) -> Action:
    """Return what a try does with what the store holds.

    :param record: the stored record, if any.
    :param wanted: the fingerprint of what this try asks for.
    :param generation: ``ti.max_tries`` of this try.
    :param policy: what to do about an intent that may have been paid.
    """
    if record is None:
        return Action.SUBMIT
    # A clear sets max_tries anew; where somebody changed `retries` in between, to any number.
    cleared = generation != record.generation
    if record.phase is not Phase.INTENT:
        if record.fingerprint != wanted or (cleared and (record.acknowledged or record.phase is Phase.CLOSED)):
            return Action.SUBMIT
        if record.request_id:
            return Action.RESUME
    # Whatever this try asks for: a template may render to something else at each try, and pay each time. And whoever
    # clears a task in the middle of a POST has not been told of the doubt yet.
    told_to_pay = policy == "retry" or (cleared and record.reported_at is not None)
    return Action.SUBMIT if told_to_pay else Action.STOP


class Store(Protocol):
    """Airflow's task state store."""

    def get(self, key: str) -> Any:
        """Return the value, or None."""

    def set(self, key: str, value: Any) -> None:
        """Store the value."""

    def delete(self, key: str) -> None:
        """Delete the value, if there is one."""


class Ledger:
    """The record of one task instance's job, read and written.

    It is the :class:`~airflow_provider_falinvoke.api.outcomes.SubmitRecord` of that job.

    :param store: the store; None where there is none, and then nothing is remembered.
    :param generation: ``ti.max_tries``.
    :param clock: gives the time in epoch seconds.
    """

    def __init__(self, store: Store | None, generation: int, *, clock: Callable[[], float] | None = None) -> None:
        self._store = store
        self._generation = generation
        self._clock = clock or time.time
        self._wanted = ""
        #: What the store held before the intent that stands in it now, if one does.
        self._replaced: Record | None = None
        self._unwritten = False
        self._told = False
        self.record: Record | None = None
        #: Whether a POST may be on its way.
        self.is_submitting = False

    @classmethod
    def of(cls, context: Context, *, durable: bool) -> Ledger:
        """Return the ledger of the running task instance."""
        store: Any = context.get("task_state_store") if durable else None
        return cls(store, int(context["ti"].max_tries))

    def action(self, wanted: str, policy: AmbiguousPolicy) -> Action:
        """Read the record and return what to do with it.

        :raises FalInvokeError: the store cannot be read, which is not the same as empty.
        """
        self._wanted = wanted
        self.record = self._read()
        return decide(self.record, wanted, self._generation, policy)

    def has_changed(self) -> bool:
        """Whether another process wrote since the record was read.

        :raises FalInvokeError: the store cannot be read.
        """
        return self._read() != self.record

    @property
    def was_cleared(self) -> bool:
        """Whether a user cleared the task since the record was written."""
        return self.record is not None and self._generation != self.record.generation

    def known_request_id(self) -> str | None:
        """Return the id of the job that the store has, None where that is not to be known."""
        try:
            self.record = self._read()
        except FalInvokeError:
            return None
        return None if self.record is None else self.record.request_id

    @property
    def remembers(self) -> bool:
        """Whether the next try will find what is written here."""
        return self._store is not None

    def intend(self) -> None:
        """Store that a POST of the job goes out next.

        On Airflow 3.3 this is the fence too: the store takes nothing from a process whose task was cleared, or is
        another try's by now.

        :raises FalInvokeError: it could not be stored, so nothing may be sent.
        """
        if not self._told:
            self._say_what_is_left()
            self._told = True
        self._replaced, self.is_submitting = self.record, True
        self.record = Record(
            phase=Phase.INTENT, fingerprint=self._wanted, generation=self._generation, submitted_at=self._clock()
        )
        try:
            self._write()
        except Exception as error:
            self.withdraw()  # a store may fail to say that it took it
            raise FalInvokeError(
                "The job was not submitted and nothing is paid: Airflow's task state store does not take it, as where "
                f"the task was cleared or is another try's by now ({error})."
            ) from error

    def withdraw(self) -> None:
        """Store that nothing of the job is on its way: what the store held before stands again."""
        if not self.is_submitting:
            return
        self.record, self.is_submitting = self._replaced, False
        self._contained("that nothing was submitted", PAUSES)

    def submitted(self, request_id: str, submitted_at: float, deadline: float) -> None:
        """Store the job's id. A store that fails now does not stop the task: the job runs and is paid."""
        self.is_submitting = False
        job = {"request_id": request_id, "submitted_at": submitted_at, "deadline": deadline}
        self._update(PAUSES, phase=Phase.SUBMITTED, **job)

    def resumed(self, request_id: str | None, timeout: float) -> None:
        """Store the id of a job that was awaited, where the process that submitted it could not.

        :param timeout: how long the job may take, in seconds.
        """
        if self.known_request_id() is None and request_id and self.record is not None:
            self.submitted(request_id, self.record.submitted_at, self.record.submitted_at + timeout)

    def reported(self) -> None:
        """Store that the task fails now with the words that nobody knows whether the job is paid."""
        self._update(reported_at=self._clock())

    def done(self, request_id: str | None) -> None:
        """Store that the task has what it wanted, as the last thing before it returns.

        Where nobody will tell that Airflow stored the task's success, this has to do for that.
        """
        self._end(Phase.DONE, request_id, acknowledged=not hears_of_success())

    def closed(self, request_id: str | None) -> None:
        """Store that there is no more to be had from this job."""
        self._end(Phase.CLOSED, request_id)

    def acknowledge(self) -> None:
        """Store that Airflow stored the task's success: who clears it now wants another job."""
        if self.record is not None and self.record.phase is Phase.DONE:
            self._update(acknowledged=True)

    def write_again(self) -> None:
        """Store what could not be stored before, if anything."""
        if self._unwritten:
            self._update()

    def _end(self, phase: Phase, request_id: str | None, **changes: Any) -> None:
        self.is_submitting = False
        if self.record is None:
            try:
                self.record = self._read()
            except FalInvokeError as error:
                log.warning(
                    "That the job %s is done cannot be stored for a later try: %s", printable(request_id), error
                )
        self._update(phase=phase, request_id=request_id, **changes)

    def _update(self, pauses: Sequence[float] = (), **changes: Any) -> None:
        if self._store is None or self.record is None:
            return
        self.record = self.record.model_copy(update={**changes, "generation": self._generation})
        self._contained(f"the state of the job {printable(self.record.request_id)}", pauses)

    def _write(self) -> None:
        if self._store is None:
            return
        if self.record is None:
            self._store.delete(STORE_KEY)
        else:
            self._store.set(STORE_KEY, for_airflow(self.record.model_dump(mode="json")))

    def _contained(self, what: str, pauses: Sequence[float]) -> None:
        """Write; log a failure of the store, because the task has something better to do or to say than to end with it.

        :param pauses: seconds after which to try again.
        """
        self._unwritten = True
        for pause in pauses:
            with suppress(Exception):
                self._write()
                self._unwritten = False
                return
            sleep(pause)
        with not_stopping_the_task(f"Airflow's task state store does not take {what}"):
            self._write()
            self._unwritten = False

    def _read(self) -> Record | None:
        if self._store is None:
            return None
        try:
            value = self._store.get(STORE_KEY)
            return None if value is None else Record.model_validate(value)
        except ValidationError as error:
            raise FalInvokeError(
                f"Airflow's task state store holds a record of no known form ({error}). Nothing was submitted; "
                "durable=False submits without looking at it."
            ) from error
        except Exception as error:
            raise FalInvokeError(
                f"Airflow's task state store cannot be read ({error}). Nothing was submitted, because an earlier try "
                "may have a paid job that is recorded there."
            ) from error

    def _say_what_is_left(self) -> None:
        """Name in the log what an earlier try may have left running, because a new job is submitted in spite of it."""
        record = self.record
        if record is None:
            return
        if record.phase is Phase.INTENT:
            log.warning(
                "Submitting again, though the submit of %s UTC may have been accepted and paid; no request_id of it is "
                "known",
                _moment(record.submitted_at),
            )
        elif record.phase is Phase.SUBMITTED and record.request_id and record.fingerprint != self._wanted:
            log.warning(
                "The request changed since %s was submitted: a new job is paid for. The old one goes on. %s",
                printable(record.request_id),
                by_hand(record.request_id),
            )


def unknown_submit(record: Record | None) -> FalInvokeAmbiguousSubmitError:
    """Return the error for an intent whose outcome nobody knows."""
    at = f" at {_moment(record.submitted_at)} UTC" if record else ""
    return FalInvokeAmbiguousSubmitError(
        f"An earlier try of this task died, or was cleared, while it submitted this job{at}: it may be running and "
        "paid, and no request_id is known to fetch it by. It was not submitted again, because that may pay twice. Look "
        "at the usage in the vendor's console; then clear the task to submit it again, or set "
        "on_ambiguous_submit='retry'."
    )


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%d %H:%M:%S}"
