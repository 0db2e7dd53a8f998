"""What survives a retry: a record of the paid job in Airflow's task state store (3.3 and newer).

An intent is stored before the POST and the request_id right after it, so that even a death between the two leaves a
trace. The decision what a new try does with the record is one pure function, :func:`decide`.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from airflow_provider_falinvoke.api.models import InvokeRequest
from airflow_provider_falinvoke.api.outcomes import by_hand
from airflow_provider_falinvoke.api.portable import for_airflow
from airflow_provider_falinvoke.exceptions import FalInvokeAmbiguousSubmitError, FalInvokeError

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

STORE_KEY = "falinvoke_job"
AmbiguousPolicy = Literal["fail", "retry"]


class Phase(str, Enum):
    """How far the job of a task instance got."""

    #: About to be submitted; a record that stays here may or may not be a paid job.
    INTENT = "intent"
    #: The request_id is known.
    SUBMITTED = "submitted"
    #: The result was brought home, as the last thing before the task returned.
    DONE = "done"


class Record(BaseModel):
    """What the store holds of a task instance's job.

    :param fingerprint: of what was asked for; another one is another job.
    :param generation: ``ti.max_tries`` when the record was written: constant over retries, raised by a user's clear.
    :param request_id: the job's id, once it is known.
    :param submitted_at: when it was, or was about to be, submitted, in epoch seconds.
    :param deadline: when the task gives up, in epoch seconds.
    """

    model_config = ConfigDict(defer_build=True, frozen=True)

    phase: Phase
    fingerprint: str
    generation: int
    request_id: str | None = None
    submitted_at: float = 0.0
    deadline: float = 0.0


class Action(Enum):
    """What a try does first."""

    SUBMIT = "submit a new job"
    #: Ask the API for the job; a pending one is awaited, a completed one taken home.
    RESUME = "take the stored job up again"
    #: Nobody knows whether the stored intent was paid.
    STOP = "stop, because a submit may have been paid"


def fingerprint(request: InvokeRequest, conn_id: str) -> str:
    """Return what identifies a request: model, input, tags, and the connection, because another account pays there."""
    tags = [[tag.key, tag.value] for tag in request.tags or ()]
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
    if record.phase is not Phase.INTENT and record.fingerprint != wanted:
        return Action.SUBMIT
    if record.phase is Phase.SUBMITTED and record.request_id:
        return Action.RESUME
    if cleared:
        return Action.SUBMIT
    if record.phase is Phase.DONE and record.request_id:
        return Action.RESUME
    # Whatever this try asks for: a template may render to something else at each try, and pay each time.
    return Action.SUBMIT if policy == "retry" else Action.STOP


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

    :param store: the store; None where there is none, and then nothing is remembered.
    :param generation: ``ti.max_tries``.
    """

    def __init__(self, store: Store | None, generation: int) -> None:
        self._store = store
        self._generation = generation
        self.record: Record | None = None

    @classmethod
    def of(cls, context: Context, *, durable: bool) -> Ledger:
        """Return the ledger of the running task instance."""
        store: Any = context.get("task_state_store") if durable else None
        return cls(store, int(context["ti"].max_tries))

    def action(self, wanted: str, policy: AmbiguousPolicy) -> Action:
        """Read the record and return what to do with it.

        :raises FalInvokeError: the store cannot be read, which is not the same as empty.
        """
        self.record = self._read()
        action = decide(self.record, wanted, self._generation, policy)
        if self.record is not None and action is Action.SUBMIT and self.record.phase is Phase.SUBMITTED:
            old = str(self.record.request_id)
            log.warning(
                "The request changed since %s was submitted: a new job is paid for. The old one goes on. %s",
                old,
                by_hand(old),
            )
        return action

    @property
    def was_cleared(self) -> bool:
        """Whether a user cleared the task since the record was written."""
        return self.record is not None and self._generation != self.record.generation

    @property
    def remembers(self) -> bool:
        """Whether the next try will find what is written here."""
        return self._store is not None

    def intend(self, wanted: str, now: float) -> None:
        """Store that a job is about to be submitted.

        :raises FalInvokeError: it could not be stored, so nothing may be submitted.
        """
        self.record = Record(phase=Phase.INTENT, fingerprint=wanted, generation=self._generation, submitted_at=now)
        try:
            self._write()
        except Exception as error:
            raise FalInvokeError(
                f"The job was not submitted and nothing is paid: Airflow's task state store does not take it ({error})."
            ) from error

    def submitted(self, request_id: str | None, submitted_at: float, deadline: float) -> None:
        """Store the job's id. A store that fails now does not stop the task: the job runs and is paid."""
        self._update(phase=Phase.SUBMITTED, request_id=request_id, submitted_at=submitted_at, deadline=deadline)

    def refused(self) -> None:
        """Store that the submit certainly came to nothing."""
        self.record = None
        if self._store is not None:
            with _not_stopping_the_task("that nothing was submitted"):
                self._store.delete(STORE_KEY)

    def done(self, request_id: str | None) -> None:
        """Store that the task has what it wanted, or that there is no more to be had from this job."""
        with _not_stopping_the_task("that the job is done"):
            if self.record is None:
                self.record = self._read()
        self._update(phase=Phase.DONE, request_id=request_id)

    def _update(self, **changes: Any) -> None:
        if self._store is None or self.record is None:
            return
        self.record = self.record.model_copy(update={**changes, "generation": self._generation})
        with _not_stopping_the_task(f"the state of the job {self.record.request_id}"):
            self._write()

    def _write(self) -> None:
        if self._store is not None and self.record is not None:
            self._store.set(STORE_KEY, for_airflow(self.record.model_dump(mode="json")))

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


@contextmanager
def _not_stopping_the_task(what: str) -> Iterator[None]:
    """Log a failure of the store where the task has something better to do or to say than to end with it."""
    try:
        yield
    except Exception:
        log.exception("Airflow's task state store does not take %s", what)


def unknown_submit(record: Record | None) -> FalInvokeAmbiguousSubmitError:
    """Return the error for an intent whose outcome nobody knows."""
    at = f" at {datetime.fromtimestamp(record.submitted_at, timezone.utc):%Y-%m-%d %H:%M:%S} UTC" if record else ""
    return FalInvokeAmbiguousSubmitError(
        f"An earlier try of this task died while it submitted this job{at}: it may be running and paid, and no "
        "request_id is known to fetch it by. It was not submitted again, because that may pay twice. Look at the usage "
        "in the vendor's console; then clear the task to submit it anew, or set on_ambiguous_submit='retry'."
    )
