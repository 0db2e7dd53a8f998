"""How far an item got, what an error makes of it, and what a new try does. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, NamedTuple

from airflow_provider_falinvoke.durable import AmbiguousPolicy
from airflow_provider_falinvoke.exceptions import (
    FalInvokeAmbiguousSubmitError,
    FalInvokeAPIError,
    FalInvokeError,
    FalInvokeMediaError,
    FalInvokeMediaGoneError,
    FalInvokeNotFoundError,
    FalInvokeTimeoutError,
    FalInvokeUnreachableError,
)


class Phase(str, Enum):
    """How far an item got. What a new try makes of each is :func:`take_up`'s matter."""

    #: Nothing of it was sent, or it is to be sent again.
    WAITING = "waiting"
    #: About to be submitted; where the record stays here, it may or may not be a paid job.
    INTENT = "intent"
    #: In flight: its request_id is known.
    SUBMITTED = "submitted"
    #: Its result and its files are home.
    DONE = "done"
    #: The job failed; another one may succeed.
    FAILED = "failed"
    #: It failed, or was not taken, for a reason that the same request will meet again.
    REFUSED = "refused"
    #: Its submit may have been accepted, and paid, though no request_id came back.
    AMBIGUOUS = "ambiguous"
    #: It had not ended at its deadline; it goes on, and it is paid.
    LATE = "late"
    #: The job is completed, but a file could not be saved.
    UNSAVED = "unsaved"
    #: The job is completed, but the hosts of its files do not have them any more, or it names none.
    GONE = "gone"


#: An item in one of these has a paid job, or may have.
PAID = frozenset((Phase.INTENT, Phase.SUBMITTED, Phase.AMBIGUOUS, Phase.LATE, Phase.UNSAVED, Phase.GONE))
IN_FLIGHT = frozenset((Phase.INTENT, Phase.SUBMITTED))
#: The ends of an item that are not what was wanted.
TROUBLE = frozenset(Phase) - IN_FLIGHT - {Phase.WAITING, Phase.DONE}
#: Where a retry of the task may do better.
MAY_PASS = frozenset((Phase.FAILED, Phase.LATE, Phase.UNSAVED, Phase.GONE))


class Asked(NamedTuple):
    """What a try wants of an item.

    :param fingerprint: of its request.
    :param model_id: its model.
    :param cost: its estimated cost, where there is a price.
    """

    fingerprint: str
    model_id: str
    cost: float | None = None


@dataclass(frozen=True)
class Item:
    """One request of a batch, and what became of it.

    :param index: its place among the inputs, from 0.
    :param asked: what it was asked for.
    :param request_id: its job, once that is known.
    :param intended_at: when its last submit was about to be sent; tells one submit from another.
    :param submitted_at: when its job was submitted.
    :param deadline: when to give its job up.
    :param ended_at: when its end was noted.
    :param reported_at: when a try told, as it ended, that its submit may have been paid.
    """

    index: int
    asked: Asked
    phase: Phase = Phase.WAITING
    request_id: str | None = None
    intended_at: float = 0.0
    submitted_at: float = 0.0
    deadline: float = 0.0
    ended_at: float = 0.0
    reported_at: float = 0.0

    def with_(self, phase: Phase, **changes: Any) -> Item:
        """Return the item in another phase."""
        return replace(self, phase=phase, **changes)


def take_up(old: Item, asked: Asked, *, cleared: bool, policy: AmbiguousPolicy, deadline: float) -> Item:
    """Return what a new try makes of an item that an earlier one left.

    :param old: the item as it was left.
    :param asked: what this try wants of it; another fingerprint is another job.
    :param cleared: whether a user cleared the task since.
    :param policy: what to do about a submit that may have been paid.
    :param deadline: when to give up a job that is given a new deadline because a user cleared the task.
    """
    fresh = Item(old.index, asked)
    if old.phase in (Phase.INTENT, Phase.AMBIGUOUS):
        # A clear says "pay again" only to who was told that it may have been paid.
        if policy == "retry" or (cleared and old.reported_at):
            return fresh
        # Whatever this try asks for: a template may render to something else at each try, and pay each time.
        return old.with_(Phase.AMBIGUOUS, asked=old.asked if old.asked.fingerprint else asked)
    if old.asked.fingerprint != asked.fingerprint:
        return fresh
    if old.phase is Phase.DONE or (old.phase is Phase.REFUSED and not cleared):
        return old
    if old.phase in (Phase.SUBMITTED, Phase.LATE, Phase.UNSAVED) or (old.phase is Phase.GONE and not cleared):
        return old.with_(Phase.SUBMITTED, deadline=deadline if cleared else old.deadline)
    return fresh


def phase_after(error: FalInvokeError, *, known: bool) -> Phase:
    """Return the phase of an item that ended with ``error``.

    :param known: whether the request_id of its job is known.
    """
    if not known and isinstance(error, FalInvokeMediaError):
        return Phase.AMBIGUOUS  # a result that came without an id, and that is lost now
    if known and isinstance(error, FalInvokeAPIError) and not isinstance(error, FalInvokeNotFoundError):
        return Phase.UNSAVED
    kinds: tuple[tuple[type[FalInvokeError], Phase], ...] = (
        (FalInvokeAmbiguousSubmitError, Phase.AMBIGUOUS),
        (FalInvokeTimeoutError, Phase.LATE),
        (FalInvokeMediaGoneError, Phase.GONE),
        (FalInvokeMediaError, Phase.UNSAVED),
        (FalInvokeUnreachableError, Phase.UNSAVED),
    )
    for kind, phase in kinds:
        if isinstance(error, kind):
            return phase
    return Phase.FAILED if error.may_pass else Phase.REFUSED
