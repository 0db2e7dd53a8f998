"""What becomes of an item: by an error, and by a new try. Pure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_provider_falinvoke.batch.phases import IN_FLIGHT, PAID, TROUBLE, Asked, Item, Phase, phase_after, take_up
from airflow_provider_falinvoke.durable import AmbiguousPolicy
from airflow_provider_falinvoke.exceptions import (
    FalInvokeAmbiguousSubmitError,
    FalInvokeAPIError,
    FalInvokeAuthError,
    FalInvokeError,
    FalInvokeFlaggedError,
    FalInvokeInputError,
    FalInvokeJobFailedError,
    FalInvokeJobRefusedError,
    FalInvokeMediaError,
    FalInvokeMediaGoneError,
    FalInvokeNotFoundError,
    FalInvokeRateLimitError,
    FalInvokeTimeoutError,
    FalInvokeUnreachableError,
)

SAME, OTHER = Asked("same", "m"), Asked("other", "m")
NEW_DEADLINE = 9000.0


def left_in(phase: Phase) -> Item:
    """Return an item as an earlier try left it."""
    known = phase not in (Phase.WAITING, Phase.INTENT, Phase.AMBIGUOUS)
    return Item(3, SAME, phase, request_id="r-3" if known else None, submitted_at=50.0, deadline=100.0)


def taken_up(phase: Phase, asked: Asked = SAME, *, cleared: bool = False, policy: AmbiguousPolicy = "fail") -> Item:
    return take_up(left_in(phase), asked, cleared=cleared, policy=policy, deadline=NEW_DEADLINE)


#: What a retry, and a user's clear, make of an item that an earlier try left; the request is the same.
TABLE = {
    Phase.WAITING: (Phase.WAITING, Phase.WAITING),
    Phase.INTENT: (Phase.AMBIGUOUS, Phase.AMBIGUOUS),
    Phase.SUBMITTED: (Phase.SUBMITTED, Phase.SUBMITTED),
    Phase.DONE: (Phase.DONE, Phase.DONE),
    Phase.FAILED: (Phase.WAITING, Phase.WAITING),
    Phase.REFUSED: (Phase.REFUSED, Phase.WAITING),
    Phase.AMBIGUOUS: (Phase.AMBIGUOUS, Phase.AMBIGUOUS),
    Phase.LATE: (Phase.SUBMITTED, Phase.SUBMITTED),
    Phase.UNSAVED: (Phase.SUBMITTED, Phase.SUBMITTED),
    Phase.GONE: (Phase.SUBMITTED, Phase.WAITING),
}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("cleared", [False, True])
def test_what_a_retry_and_a_clear_make_of_an_item(phase: Phase, cleared: bool) -> None:
    new = taken_up(phase, cleared=cleared)
    assert new.phase is TABLE[phase][cleared]
    if new.phase is Phase.WAITING:
        assert new == Item(3, SAME), "nothing of an old job sticks to an item that is submitted anew"
    else:
        assert new.request_id == left_in(phase).request_id


@pytest.mark.parametrize("phase", [Phase.SUBMITTED, Phase.LATE, Phase.UNSAVED])
def test_a_deadline_holds_over_retries_and_starts_anew_with_a_clear(phase: Phase) -> None:
    assert taken_up(phase).deadline == 100.0
    assert taken_up(phase, cleared=True).deadline == NEW_DEADLINE


@pytest.mark.parametrize("phase", sorted(set(Phase) - {Phase.INTENT, Phase.AMBIGUOUS}))
@pytest.mark.parametrize("cleared", [False, True])
def test_another_request_is_another_job(phase: Phase, cleared: bool) -> None:
    assert taken_up(phase, OTHER, cleared=cleared) == Item(3, OTHER)


@pytest.mark.parametrize("phase", [Phase.INTENT, Phase.AMBIGUOUS])
@pytest.mark.parametrize("asked", [SAME, OTHER])
def test_what_may_be_paid_is_never_submitted_again_without_being_told_to(phase: Phase, asked: Asked) -> None:
    """Whatever is asked for now: a template may render to something else at each try, and pay each time."""
    assert taken_up(phase, asked).phase is Phase.AMBIGUOUS
    assert taken_up(phase, asked, policy="retry") == Item(3, asked)


def test_a_clear_pays_again_only_where_a_try_has_told_that_it_may_have_been_paid() -> None:
    """A clear in the middle of a POST, or of something else's sake, says nothing about a job that nobody knew of."""
    untold = left_in(Phase.AMBIGUOUS)
    told = replace(untold, reported_at=60.0)
    for cleared, old, phase in (
        (True, untold, Phase.AMBIGUOUS),
        (False, told, Phase.AMBIGUOUS),
        (True, told, Phase.WAITING),
    ):
        assert take_up(old, SAME, cleared=cleared, policy="fail", deadline=1.0).phase is phase


def test_no_retry_loses_a_job_that_runs_or_is_home() -> None:
    for phase in (Phase.SUBMITTED, Phase.LATE, Phase.UNSAVED, Phase.DONE):
        for cleared in (False, True):
            for policy in ("fail", "retry"):
                assert taken_up(phase, cleared=cleared, policy=policy).request_id == "r-3"


def test_the_groups_of_phases_leave_none_out() -> None:
    assert {Phase.WAITING, Phase.DONE} | IN_FLIGHT | TROUBLE == set(Phase)
    assert {phase for phase in Phase if TABLE[phase][0] in (Phase.SUBMITTED, Phase.AMBIGUOUS)} == PAID


@pytest.mark.parametrize(
    ("error", "without_a_job", "with_a_job"),
    [
        (FalInvokeAmbiguousSubmitError, Phase.AMBIGUOUS, Phase.AMBIGUOUS),
        (FalInvokeInputError, Phase.REFUSED, Phase.REFUSED),
        (FalInvokeAPIError, Phase.REFUSED, Phase.UNSAVED),
        (FalInvokeAuthError, Phase.REFUSED, Phase.UNSAVED),
        (FalInvokeNotFoundError, Phase.REFUSED, Phase.REFUSED),
        (FalInvokeJobFailedError, Phase.FAILED, Phase.FAILED),
        (FalInvokeJobRefusedError, Phase.REFUSED, Phase.REFUSED),
        (FalInvokeFlaggedError, Phase.REFUSED, Phase.REFUSED),
        (FalInvokeTimeoutError, Phase.LATE, Phase.LATE),
        (FalInvokeMediaError, Phase.AMBIGUOUS, Phase.UNSAVED),
        (FalInvokeMediaGoneError, Phase.AMBIGUOUS, Phase.GONE),
        (FalInvokeUnreachableError, Phase.UNSAVED, Phase.UNSAVED),
        (FalInvokeRateLimitError, Phase.FAILED, Phase.UNSAVED),
    ],
)
def test_what_an_error_makes_of_an_item(error: type[FalInvokeError], without_a_job: Phase, with_a_job: Phase) -> None:
    assert phase_after(error("x"), known=False) is without_a_job
    assert phase_after(error("x"), known=True) is with_a_job


def test_an_item_whose_job_is_known_and_may_still_bring_its_result_is_never_submitted_again_by_a_retry() -> None:
    for kind in (FalInvokeAuthError, FalInvokeUnreachableError, FalInvokeTimeoutError, FalInvokeMediaGoneError):
        phase = phase_after(kind("x"), known=True)
        assert taken_up(phase).phase is Phase.SUBMITTED
