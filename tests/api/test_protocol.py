from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import pytest

from airflow_provider_falinvoke.api import protocol
from airflow_provider_falinvoke.api.account import Account
from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus, InvokeRequest
from airflow_provider_falinvoke.api.outcomes import (
    NOW,
    Call,
    Outcome,
    Pause,
    Reply,
    Resumed,
    Send,
    Step,
    invocation_path,
    pause_after,
    poll_pause,
    words,
)
from airflow_provider_falinvoke.api.outcomes import Failure as FailureOutcome
from airflow_provider_falinvoke.api.pacing import PROBE
from airflow_provider_falinvoke.api.schedule import ENOUGH, BriefWait, PollSchedule
from airflow_provider_falinvoke.exceptions import (
    FalInvokeAmbiguousSubmitError,
    FalInvokeAPIError,
    FalInvokeAuthError,
    FalInvokeError,
    FalInvokeInputError,
    FalInvokeJobFailedError,
    FalInvokeJobRefusedError,
    FalInvokeNotFoundError,
    FalInvokeRateLimitError,
    FalInvokeTimeoutError,
    FalInvokeUnreachableError,
)
from tests.api.play import T0, Answer, Played, failure, job, play, reply

REQUEST = InvokeRequest.build("fal-ai/flux/schnell", {"prompt": "a castle"})
QUEUED = {"request_id": "r1", "status": "QUEUED"}
DONE = {"request_id": "r1", "status": "COMPLETED", "output": {"images": []}}
#: Without jitter, so that times are exact.
STEADY = PollSchedule(jitter=0.0)
HTML = b"<html><h1>502 Bad Gateway</h1></html>"
CUT_OFF = b'{"request_id": "r1", "sta'


# ---- submit ---------------------------------------------------------------------------------------------------------


def submit(*script: Answer, patience: float = 20.0) -> Played[Invocation]:
    return play(protocol.submit(REQUEST, patience=patience), script)


@pytest.mark.parametrize(
    ("answer", "request_id", "status"),
    [
        (reply(200, DONE), "r1", InvocationStatus.COMPLETED),
        (reply(200, QUEUED), "r1", InvocationStatus.QUEUED),
        (reply(202, QUEUED), "r1", InvocationStatus.QUEUED),
        (reply(201, {"id": "r1", "state": "in_progress"}), "r1", InvocationStatus.IN_PROGRESS),
        (reply(202, {"request_id": "r1"}), "r1", InvocationStatus.UNKNOWN),
        (reply(200, {"request_id": "r1", "status": "FAILED", "error": "NSFW"}), "r1", InvocationStatus.FAILED),
        (reply(200, {"images": []}), None, InvocationStatus.COMPLETED),
        (reply(200, {"status": "COMPLETED", "output": {}}), None, InvocationStatus.COMPLETED),
    ],
)
def test_any_2xx_with_a_request_id_or_a_result_is_a_submitted_job(
    answer: Answer, request_id: str | None, status: InvocationStatus
) -> None:
    played = submit(answer)
    assert (played.result.request_id, played.result.status) == (request_id, status)
    assert [send for _, send in played.sends] == [Send("POST", "/v1/async-invoke", REQUEST.body())]


@pytest.mark.parametrize(
    ("answer", "where"),
    [
        (reply(202, CUT_OFF), "in the text of the reply"),
        (reply(200, b"<>{'request_id': 'r1'}"[2:]), "in the text of the reply"),
        (reply(202, b"", location="/v1/async-invoke/r1"), "in the Location header"),
        (reply(303, b"", location="https://inference.do-ai.run/v1/async-invoke/r1"), "in the Location header"),
    ],
)
def test_an_id_that_a_reply_shows_somewhere_is_the_jobs_and_that_is_said(
    answer: Answer, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    played = submit(answer)
    assert (played.result.request_id, played.result.status) == ("r1", InvocationStatus.UNKNOWN)
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert "r1" in warning
    assert where in warning


MAYBE_PAID = "may be running and paid"
NOT_PAID = "not submitted and nothing is paid"


@dataclass(frozen=True)
class Row:
    """How a submit ends that gives no job."""

    answer: Answer
    cls: type[FalInvokeError]
    status_code: int | None
    says: str
    posts_once: bool = True


FAILED_SUBMITS = {
    "2xx without a request_id": Row(reply(202, {"status": "QUEUED"}), FalInvokeAmbiguousSubmitError, None, MAYBE_PAID),
    "2xx of something else": Row(reply(200, {"hi": 1}), FalInvokeAmbiguousSubmitError, None, MAYBE_PAID),
    "2xx with HTML": Row(reply(200, HTML), FalInvokeAmbiguousSubmitError, None, MAYBE_PAID),
    "2xx cut off": Row(reply(202, b'{"request_id": "r1-cut'), FalInvokeAmbiguousSubmitError, None, MAYBE_PAID),
    "2xx with an id of blanks": Row(
        reply(202, {"request_id": "  ", "status": "QUEUED"}), FalInvokeAmbiguousSubmitError, None, MAYBE_PAID
    ),
    "2xx with a dict as an id": Row(
        reply(202, {"request_id": {"id": "r1"}, "status": "QUEUED"}), FalInvokeAmbiguousSubmitError, None, MAYBE_PAID
    ),
    "2xx with an error": Row(
        reply(200, {"id": "too_many_requests", "message": "Slow down.", "request_id": "of-http"}),
        FalInvokeAmbiguousSubmitError,
        None,
        "without a request_id: Slow down",
    ),
    "2xx empty": Row(reply(202), FalInvokeAmbiguousSubmitError, None, MAYBE_PAID),
    "2xx null": Row(reply(202, None), FalInvokeAmbiguousSubmitError, None, MAYBE_PAID),
    "204": Row(reply(204), FalInvokeAmbiguousSubmitError, None, MAYBE_PAID),
    "400": Row(reply(400, {"message": "no such model"}), FalInvokeAPIError, 400, "no such model"),
    "401": Row(reply(401, {"message": "no"}), FalInvokeAuthError, 401, "model access key"),
    "402": Row(reply(402, {"message": "pay first"}), FalInvokeAPIError, 402, "pay first"),
    "403": Row(reply(403, {"error": {"message": "no"}}), FalInvokeAuthError, 403, "enable fal models"),
    "404": Row(reply(404, b"page not found"), FalInvokeNotFoundError, 404, "enable fal models"),
    "422": Row(reply(422, {"detail": [{"loc": ["body", "x"], "msg": "bad"}]}), FalInvokeAPIError, 422, "body.x: bad"),
    "307": Row(reply(307, b"", location="https://elsewhere"), FalInvokeAPIError, 307, "check the connection's host"),
    "308": Row(reply(308, b"", location="https://elsewhere"), FalInvokeAPIError, 308, "check the connection's host"),
    **{
        str(status): Row(reply(status, b""), FalInvokeAmbiguousSubmitError, status, MAYBE_PAID)
        for status in (100, 300, 303, 304, 409, 418, 424, 460, 499, 520, 599, 600, 999)
    },
    **{
        str(status): Row(
            reply(status, b"", location="/login"), FalInvokeAmbiguousSubmitError, status, "check the connection's host"
        )
        for status in (301, 302)
    },
    "408": Row(reply(408), FalInvokeAmbiguousSubmitError, 408, MAYBE_PAID),
    "500": Row(reply(500, {"message": "oops"}), FalInvokeAmbiguousSubmitError, 500, MAYBE_PAID),
    "502": Row(reply(502, HTML), FalInvokeAmbiguousSubmitError, 502, MAYBE_PAID),
    "503": Row(reply(503, b"", retry_after="1"), FalInvokeAmbiguousSubmitError, 503, MAYBE_PAID),
    "504": Row(reply(504), FalInvokeAmbiguousSubmitError, 504, MAYBE_PAID),
    "failure after sending": Row(failure("ReadTimeout", arrived=True), FalInvokeAmbiguousSubmitError, None, MAYBE_PAID),
    "lasting failure after sending": Row(
        failure("ReadError", arrived=True, lasting=True), FalInvokeAmbiguousSubmitError, None, MAYBE_PAID
    ),
    "certificate not trusted": Row(failure("not trusted", lasting=True), FalInvokeUnreachableError, None, NOT_PAID),
    "429 with Retry-After": Row(
        reply(429, {}, retry_after="3"), FalInvokeRateLimitError, 429, NOT_PAID, posts_once=False
    ),
    "429 with resets": Row(
        reply(429, {}, **{"x-ratelimit-reset-requests": str(T0 + 9)}),
        FalInvokeRateLimitError,
        429,
        NOT_PAID,
        posts_once=False,
    ),
    "429 with neither": Row(reply(429), FalInvokeRateLimitError, 429, NOT_PAID, posts_once=False),
    "not connected": Row(failure(), FalInvokeUnreachableError, None, NOT_PAID, posts_once=False),
}


@pytest.mark.parametrize("row", FAILED_SUBMITS.values(), ids=FAILED_SUBMITS.keys())
def test_a_submit_is_repeated_only_where_it_cannot_have_been_taken(row: Row) -> None:
    """The number of POSTs, the error, and what it says of the money."""
    script = [row.answer] if row.posts_once else itertools.repeat(row.answer)
    played = play(protocol.submit(REQUEST, patience=20.0), script)
    error = played.error(row.cls)
    assert row.says in str(error)
    assert error.status_code == row.status_code
    assert error.request_id is None
    assert error.may_pass is row.cls.may_pass
    assert set(played.methods) == {"POST"}
    assert {send.body for _, send in played.sends} == {REQUEST.body()}
    assert (len(played.sends) == 1) is row.posts_once
    assert played.now - T0 <= 20.0


@pytest.mark.parametrize(
    "first",
    [
        reply(429, {}, retry_after="2"),
        reply(429, {}, **{"ratelimit-reset": str(T0 + 2)}),
        reply(429),
        failure("ConnectTimeout"),
    ],
)
def test_a_submit_that_was_not_taken_is_submitted_again(first: Answer, caplog: pytest.LogCaptureFixture) -> None:
    played = submit(first, first, reply(202, QUEUED))
    assert played.result.request_id == "r1"
    assert len(played.sends) == 3
    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == ["WARNING"] * 2


def test_a_rejected_submit_waits_as_long_as_the_api_says() -> None:
    played = submit(reply(429, {}, retry_after="7"), reply(202, QUEUED))
    assert 7.0 <= played.times[1] <= 7.25
    played = submit(reply(429, {}, **{"x-ratelimit-reset-requests": str(T0 + 9)}), reply(202, QUEUED))
    assert 9.25 <= played.times[1] <= 9.5


def test_a_wait_beyond_the_patience_is_not_begun() -> None:
    played = submit(reply(429, {}, retry_after="21"))
    played.error(FalInvokeRateLimitError)
    assert played.now == T0


def test_patience_counts_from_the_first_answer_and_without_any_there_is_one_try() -> None:
    played = submit(failure(), patience=0.0)
    played.error(FalInvokeUnreachableError)
    assert len(played.sends) == 1


def test_a_rejection_after_failed_connections_does_not_begin_the_patience_anew() -> None:
    script = itertools.cycle([failure(), reply(429)])
    played = play(protocol.submit(REQUEST, patience=60.0), script)
    assert played.raised is not None
    assert played.now - T0 <= 60.0
    assert len(played.sends) < 12


def test_an_ambiguous_submit_after_failed_connections_ends_at_once() -> None:
    played = submit(failure(), reply(502))
    played.error(FalInvokeAmbiguousSubmitError)
    assert len(played.sends) == 2


# ---- the path of an invocation --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_id", "segment"),
    [
        ("6590784a-ce47-4556-9ff4-53baff2693fb", "6590784a-ce47-4556-9ff4-53baff2693fb"),
        ("a/b", "a%2Fb"),
        ("../../v1/models", "..%2F..%2Fv1%2Fmodels"),
        ("a b", "a%20b"),
        ("ü", "%C3%BC"),
        ("a?b=c&d", "a%3Fb%3Dc%26d"),
        ("a#b", "a%23b"),
        ("a%2Fb", "a%252Fb"),
        ("a\r\nb", "a%0D%0Ab"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("...", "..."),
        (".hidden", ".hidden"),
    ],
)
def test_a_request_id_is_one_segment_of_the_path_whatever_it_holds(request_id: str, segment: str) -> None:
    assert invocation_path(request_id) == f"/v1/async-invoke/{segment}"
    played = play(protocol.get(request_id, patience=0), [reply(200, QUEUED)])
    assert [send for _, send in played.sends] == [Send("GET", f"/v1/async-invoke/{segment}")]


def test_a_request_id_that_fits_into_no_path_is_an_error_before_anything_is_sent() -> None:
    for request_id in ("", "  ", "x" * 1_001):
        with pytest.raises(FalInvokeInputError):
            invocation_path(request_id)
    invocation_path("x" * 1_000)


# ---- wait -----------------------------------------------------------------------------------------------------------


def wait(
    script: Iterable[Answer], deadline: float = 100.0, first_look_at: float = 0.0, **more: Any
) -> Played[Invocation]:
    """Play a wait; times count from T0."""
    call = protocol.wait(
        "r1",
        submitted_at=T0,
        deadline=T0 + deadline,
        schedule=more.pop("schedule", STEADY),
        first_look_at=T0 + first_look_at if first_look_at else 0.0,
        model_id=more.pop("model_id", None),
        account=more.pop("account", None),
    )
    played = play(call, script, **more)
    assert set(played.methods) <= {"GET"}, "a wait submits nothing"
    assert {send.path for _, send in played.sends} <= {"/v1/async-invoke/r1"}
    return played


def names_the_way_back(error: FalInvokeError) -> bool:
    text = str(error)
    return error.request_id == "r1" and "FalInvokeSensor(request_id='r1'" in text and "/v1/async-invoke/r1" in text


@pytest.mark.parametrize("spelling", ["COMPLETED", "complete", "Succeeded", "SUCCESS"])
def test_a_wait_returns_the_completed_invocation(spelling: str) -> None:
    played = wait([reply(200, QUEUED), reply(200, {**DONE, "status": spelling})])
    assert played.result.output == {"images": []}
    assert played.result.status is InvocationStatus.COMPLETED
    assert len(played.sends) == 2


def test_the_get_that_finds_the_job_done_is_the_last() -> None:
    assert wait([reply(200, DONE)]).times == [0.0]


def test_a_reply_without_an_id_or_without_an_envelope_belongs_to_the_job_that_was_asked_for() -> None:
    assert wait([reply(200, {"status": "COMPLETED", "output": {}})]).result.request_id == "r1"
    assert wait([reply(200, {"images": []})]).result.request_id == "r1"


def test_the_first_look_is_when_it_is_asked_for() -> None:
    assert wait([reply(200, DONE)], first_look_at=5.0).times == [5.0]
    assert wait([reply(200, DONE)], first_look_at=500.0).times == [100.0], "but not after the deadline"


@pytest.mark.parametrize(
    ("duration", "gets"), [(0.4, 2), (3, 6), (10, 11), (60, 20), (300, 30), (1800, 80), (3600, 140)]
)
def test_a_job_is_found_done_soon_and_with_few_gets(duration: float, gets: int) -> None:
    """Some twenty looks a minute at first, two a minute for a long job."""
    played = wait(itertools.repeat(job(T0 + duration)), deadline=7200.0)
    assert played.result.status is InvocationStatus.COMPLETED
    assert len(played.sends) <= gets
    assert played.now - (T0 + duration) <= min(0.2 * duration + 0.5, 30.0)


def test_a_fixed_interval_is_kept() -> None:
    played = wait(
        itertools.repeat(job(T0 + 20)), schedule=PollSchedule(initial=5.0, growth=0.0, maximum=5.0, jitter=0.0)
    )
    assert played.times == [0.0, 5.0, 10.0, 15.0, 20.0]


def test_a_job_that_is_completed_just_at_the_deadline_is_returned() -> None:
    played = wait(itertools.repeat(job(T0 + 100)))
    assert played.result.status is InvocationStatus.COMPLETED
    assert played.times[-1] == 100.0


def test_at_the_deadline_there_is_exactly_one_more_look() -> None:
    played = wait(itertools.repeat(reply(200, QUEUED)))
    played.error(FalInvokeTimeoutError)
    assert [at for at in played.times if at >= 100.0] == [100.0]


def test_a_look_that_was_sent_before_the_deadline_and_answered_after_it_is_not_the_last() -> None:
    """The job may have been completed in between, and one that is done never times out."""
    played = wait(itertools.repeat(job(T0 + 112)), deadline=100.0, took=30.0)
    assert played.result.status is InvocationStatus.COMPLETED


def test_a_deadline_that_has_passed_already_still_gives_one_look() -> None:
    assert wait([reply(200, DONE)], now=T0 + 500).times == [500.0]
    played = wait([reply(200, QUEUED)], now=T0 + 500)
    played.error(FalInvokeTimeoutError)
    assert len(played.sends) == 1


def steps_where_the_wall_clock_is(call: Call[object], ahead: float) -> tuple[list[Step], float]:
    """Return the steps of a call about a job that does not end, and when it gave up.

    :param ahead: of the wall clock, once the call has begun.
    """
    steps: list[Step] = []
    at = 100.0
    outcome: Outcome = Resumed(at, T0)
    assert next(call) == NOW
    try:
        while len(steps) < 1_000:
            steps.append(step := call.send(outcome))
            at = max(at, step.until) if isinstance(step, Pause) else at
            outcome = Reply(200, {}, json.dumps(QUEUED).encode(), at, ahead) if step in SENDS else Resumed(at, ahead)
    except (StopIteration, FalInvokeTimeoutError):
        return steps, at
    raise AssertionError("it does not end")


SENDS = (Send("GET", "/v1/async-invoke/r1"),)
BRIEF = BriefWait(10.0, schedule=STEADY)
WAITS: dict[str, Callable[[], Call[Any]]] = {
    "wait": lambda: protocol.wait("r1", submitted_at=T0 + 90, deadline=T0 + 160, schedule=STEADY),
    "brief": lambda: protocol.wait_briefly("r1", submitted_at=T0 + 99, deadline=T0 + 160, brief=BRIEF),
}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("steps_by", [-3600.0, 3600.0])
def test_a_wall_clock_that_steps_an_hour_changes_no_wait(wait: str, steps_by: float) -> None:
    steady = steps_where_the_wall_clock_is(WAITS[wait](), T0)
    assert steps_where_the_wall_clock_is(WAITS[wait](), T0 + steps_by) == steady
    assert sum(step in SENDS for step in steady[0]) > 1
    assert steady[1] == 160 or wait == "brief"


def test_a_timeout_names_the_job_its_state_the_money_and_the_way_back() -> None:
    error = wait(itertools.repeat(reply(200, {**QUEUED, "status": "in_progress"}))).error(FalInvokeTimeoutError)
    assert names_the_way_back(error)
    assert "still in_progress 100 s after the submit" in str(error)
    assert "it is paid" in str(error)
    assert isinstance(error, TimeoutError)


def test_a_timeout_of_a_job_without_a_state_calls_it_pending() -> None:
    error = wait(itertools.repeat(reply(200, {"request_id": "r1"}))).error(FalInvokeTimeoutError)
    assert "still pending" in str(error)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("NSFW content", "failed: NSFW content."),
        ({"message": "NSFW content"}, "failed: NSFW content."),
        ({"detail": "no face"}, "failed: no face."),
        ({"detail": [{"loc": ["body", "prompt"], "msg": "too long", "type": "x"}]}, "failed: body.prompt: too long."),
        ("It broke.", "failed: It broke. "),
        (None, "failed: the API gave no reason."),
        ("", "failed: the API gave no reason."),
    ],
)
@pytest.mark.parametrize("status", ["FAILED", "error", "Cancelled"])
def test_a_failed_job_raises_with_what_the_api_says(status: str, given: object, says: str) -> None:
    played = wait([reply(200, QUEUED), reply(200, {"request_id": "r1", "status": status, "error": given})])
    error = played.raised
    assert isinstance(error, FalInvokeJobFailedError)
    assert says in f"{error} "
    assert error.request_id == "r1"
    assert len(played.sends) == 2


def test_completed_without_an_output_and_with_an_error_is_a_failed_job_in_the_words_of_the_api() -> None:
    error = wait([reply(200, {**DONE, "output": None, "error": "NSFW content"})]).error(FalInvokeJobRefusedError)
    assert "failed: NSFW content." in str(error)


def test_a_failed_job_names_its_model() -> None:
    error = wait([reply(200, {**QUEUED, "status": "FAILED", "model_id": "fal-ai/x"})]).error(FalInvokeJobFailedError)
    assert "The job r1 of fal-ai/x failed" in str(error)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_taken_ends_a_wait_at_once_and_the_error_names_the_way_back(status: int) -> None:
    played = wait([reply(200, QUEUED), reply(status, {"message": "Unable to authenticate you."})])
    error = played.error(FalInvokeAuthError)
    assert error.status_code == status
    assert names_the_way_back(error)
    assert "you.." not in str(error)


@pytest.mark.parametrize("status", [301, 302, 400, 405, 410, 422])
def test_any_other_refusal_ends_a_wait_at_once_and_the_error_names_the_way_back(status: int) -> None:
    error = wait([reply(status, b"")]).error(FalInvokeAPIError)
    assert error.status_code == status
    assert names_the_way_back(error)


def test_a_404_just_after_the_submit_is_asked_again() -> None:
    played = wait([reply(404), reply(404), reply(200, DONE)])
    assert played.result.status is InvocationStatus.COMPLETED


def test_a_404_that_stays_ends_a_wait_some_seconds_after_the_submit() -> None:
    played = wait(itertools.repeat(reply(404, {"message": "not found"})))
    error = played.error(FalInvokeNotFoundError)
    assert error.request_id == "r1"
    assert protocol.NOT_FOUND_GRACE <= played.now - T0 < 2 * protocol.NOT_FOUND_GRACE + 1


def test_a_404_of_an_old_job_ends_a_wait_at_once() -> None:
    played = wait([reply(404)], now=T0 + protocol.NOT_FOUND_GRACE)
    assert "Check the request_id" in str(played.error(FalInvokeNotFoundError))
    assert len(played.sends) == 1


PASSING = {
    "500": reply(500),
    "502": reply(502, HTML),
    "503": reply(503, {"message": "busy"}),
    "408": reply(408),
    "425": reply(425),
    "429": reply(429),
    "not connected": failure(),
    "lost": failure("ReadTimeout", arrived=True),
    "HTML": reply(200, HTML),
    "cut off": reply(200, CUT_OFF),
    "empty": reply(200),
    "null": reply(200, None),
    "a list": reply(200, [QUEUED, QUEUED]),
    "another job": reply(200, {**DONE, "request_id": "r2"}),
    "an error with 200": reply(200, {"id": "too_many_requests", "message": "Slow down."}),
}


def test_an_answer_about_another_job_is_not_taken_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    played = wait([reply(200, {**DONE, "request_id": "r2", "output": {"images": ["theirs"]}}), reply(200, DONE)])
    assert (played.result.request_id, played.result.output) == ("r1", DONE["output"])
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert "about another job (r2)" in warning
    assert "/v1/async-invoke/r1" in warning
    error = wait(itertools.repeat(reply(200, {**DONE, "request_id": "r2"}))).error(FalInvokeTimeoutError)
    assert "about another job (r2)" in str(error)


passing = pytest.mark.parametrize("answer", PASSING.values(), ids=PASSING.keys())


@passing
def test_what_may_pass_is_asked_again_beyond_any_number_of_tries(answer: Answer) -> None:
    played = wait([*itertools.repeat(answer, 60), reply(200, DONE)], deadline=7200.0)
    assert played.result.status is InvocationStatus.COMPLETED
    assert len(played.sends) == 61
    assert max(played.pauses) <= 75.0


@passing
def test_an_api_that_cannot_be_asked_is_a_timeout_at_the_deadline_and_not_a_failed_job(answer: Answer) -> None:
    played = wait(itertools.repeat(answer))
    error = played.error(FalInvokeTimeoutError)
    assert names_the_way_back(error)
    assert "could not be read" in str(error)
    assert 100.0 <= played.now - T0 <= 100.0 + protocol.LAST_LOOK_GRACE
    assert len(played.sends) < 15


@passing
def test_an_api_that_stumbles_just_at_the_deadline_is_asked_for_some_seconds_more(answer: Answer) -> None:
    def stumbling(now: float) -> Any:
        return (reply(200, QUEUED) if now < T0 + 100 else answer if now < T0 + 103 else reply(200, DONE))(now)

    assert wait(itertools.repeat(stumbling)).result.status is InvocationStatus.COMPLETED


def test_a_certificate_that_is_not_trusted_ends_a_wait_at_once_and_the_job_goes_on() -> None:
    played = wait([reply(200, QUEUED), failure("CERTIFICATE_VERIFY_FAILED", lasting=True)])
    error = played.error(FalInvokeUnreachableError)
    assert names_the_way_back(error)
    assert "The job goes on" in str(error)


def test_a_wait_honours_retry_after() -> None:
    played = wait([reply(429, {}, retry_after="12"), reply(200, DONE)])
    assert 12.0 <= played.times[1] <= 12.25


def test_a_retry_after_beyond_the_deadline_does_not_prolong_the_wait() -> None:
    late = reply(429, {}, retry_after="86400")
    played = wait([late, late, reply(200, DONE)])
    assert played.times == [0.0, PROBE, 100.0 + protocol.LAST_LOOK_GRACE]
    assert played.result.status is InvocationStatus.COMPLETED


def test_a_retry_after_of_zero_makes_no_busy_loop() -> None:
    played = wait(itertools.repeat(reply(429, {}, retry_after="0")), deadline=600.0)
    played.error(FalInvokeTimeoutError)
    assert len(played.sends) < 30


def test_pauses_after_failures_start_anew_once_the_api_answers() -> None:
    played = wait([failure(), failure(), failure(), reply(200, QUEUED), failure(), reply(200, DONE)])
    assert played.pauses[-1] <= 0.5 * 1.25


def test_an_unknown_status_is_pending_and_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    played = wait(itertools.repeat(reply(200, {"request_id": "r1", "status": "THROTTLED"})))
    assert "still THROTTLED" in str(played.error(FalInvokeTimeoutError))
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "THROTTLED" in warnings[0]


def test_a_change_of_state_is_logged_and_a_poll_is_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pending = {**QUEUED, "status": "IN_PROGRESS"}
    wait([*[reply(200, QUEUED)] * 3, *[reply(200, pending)] * 5, reply(200, DONE)])
    assert [(record.levelname, record.getMessage().split(",")[0]) for record in caplog.records] == [
        ("INFO", "Invocation r1 is IN_PROGRESS"),
        ("INFO", "Invocation r1 is COMPLETED"),
    ]


def scarce_account() -> Account:
    """Return an account that has a hundred requests left for most of an hour."""
    account = Account()
    headers = {"ratelimit-limit": "5000", "ratelimit-remaining": "100", "ratelimit-reset": str(T0 + 3000)}
    account.gate.hear(Reply(200, headers, b"", T0))
    return account


def test_a_wait_learns_how_long_the_jobs_of_a_model_take() -> None:
    account = Account()
    times = {"created_at": "2026-01-01T00:00:00Z", "completed_at": "2026-01-01T00:00:45.500000000Z"}
    for _ in range(ENOUGH):
        wait([reply(200, {**DONE, **times, "model_id": "m"})], account=account)
    assert account.durations.of("m") == (45.5,) * ENOUGH


def test_a_job_that_says_no_times_ended_between_the_last_two_looks() -> None:
    account = Account()
    for _ in range(ENOUGH):
        wait([reply(200, QUEUED), reply(200, DONE)], first_look_at=10.0, account=account, model_id="m")
    assert list(account.durations.of("m")) == [pytest.approx(10 + 2.5 / 2)] * ENOUGH


def test_a_failed_job_tells_nothing_about_how_long_jobs_take() -> None:
    account = Account()
    for _ in range(ENOUGH):
        wait([reply(200, {"request_id": "r1", "status": "FAILED", "model_id": "m"})], account=account)
    assert account.durations.of("m") == ()


def test_a_wait_goes_by_what_it_has_learned() -> None:
    account = Account()
    for _ in range(ENOUGH):
        account.durations.add("m", 20.0)
    played = wait([reply(200, {**QUEUED, "model_id": "m"}), reply(200, DONE)], first_look_at=6.0, account=account)
    assert played.times == [6.0, pytest.approx(20.26)]


def test_where_requests_are_scarce_the_first_look_waits_too() -> None:
    account = scarce_account()
    assert wait([reply(200, DONE)], first_look_at=1.0, account=account).times == [pytest.approx(2.5)]
    for _ in range(ENOUGH):
        account.durations.add("m", 20.0)
    played = wait(
        [reply(200, DONE)], first_look_at=6.0, account=account, model_id="m", schedule=PollSchedule(maximum=90)
    )
    assert played.times == [pytest.approx(20 + 0.5 * 26)]


# ---- wait_briefly ---------------------------------------------------------------------------------------------------


def wait_briefly(
    script: Iterable[Answer],
    until: float,
    *,
    brief: BriefWait | None = None,
    schedule: PollSchedule = STEADY,
    account: Account | None = None,
    took: float = 0.0,
) -> Played[Invocation | float]:
    call = protocol.wait_briefly(
        "r1",
        submitted_at=T0,
        brief=brief or BriefWait(until, schedule),
        deadline=T0 + until,
        account=account,
    )
    played = play(call, script, took=took)
    assert set(played.methods) <= {"GET"}
    return played


def test_a_brief_wait_returns_a_job_that_is_soon_completed() -> None:
    played = wait_briefly(itertools.repeat(job(T0 + 1)), until=5.0)
    assert isinstance(played.result, Invocation)
    assert played.result.status is InvocationStatus.COMPLETED
    assert played.times == [0.5, pytest.approx(1.1)]


def test_a_brief_wait_ends_as_soon_as_the_next_look_would_come_too_late_and_says_when_that_is() -> None:
    played = wait_briefly(itertools.repeat(reply(200, QUEUED)), until=5.0)
    assert played.now == T0 + played.times[-1], "it does not sit out the rest"
    assert played.times[-1] <= 5.0
    assert played.result == pytest.approx(played.now + STEADY.pause(played.times[-1]))


def test_a_brief_wait_with_no_time_looks_not_at_all() -> None:
    played = wait_briefly([], until=0.4)
    assert (played.result, played.sends, played.pauses) == (T0 + 0.5, [], [])


def test_a_brief_wait_may_look_just_at_its_end() -> None:
    assert wait_briefly([reply(200, DONE)], until=0.5).times == [0.5]


def test_a_brief_wait_for_a_job_that_has_not_started_in_time_ends_at_once() -> None:
    """A fast model is not fast for who waits in a queue; a job that is being worked on may be done any moment."""
    brief = BriefWait(5.0, STEADY, first_look=1.5, started_by=1.0)
    assert wait_briefly(itertools.repeat(reply(200, QUEUED)), 5.0, brief=brief).times == [1.5]
    started = reply(200, {**QUEUED, "status": "IN_PROGRESS"})
    assert wait_briefly(itertools.repeat(started), 5.0, brief=brief).times == pytest.approx([1.5, 2.3, 3.26, 4.412])


def test_there_is_no_brief_wait_where_requests_are_scarce() -> None:
    played = wait_briefly([], 5.0, account=scarce_account())
    assert played.sends == []
    assert played.result == pytest.approx(T0 + 2.5)


@pytest.mark.parametrize(
    ("left", "resets_in", "waited"), [(30, 40, 40.0), (30, 120, 0.0), (60, 40, 0.0), (30, 1000, 0.0)]
)
def test_a_worker_stays_until_a_used_up_minute_ends_so_that_the_next_in_its_slot_meets_no_429(
    left: int, resets_in: float, waited: float
) -> None:
    account = Account()
    headers = {"ratelimit-limit": "250", "ratelimit-remaining": str(left), "ratelimit-reset": str(T0 + resets_in)}
    account.gate.hear(Reply(200, headers, b"", T0))
    played = wait_briefly([], 600.0, brief=BriefWait(0.0, STEADY), account=account)
    assert played.sends == []
    assert played.now == T0 + waited


def test_but_no_longer_than_until_the_jobs_deadline() -> None:
    account = Account()
    headers = {"ratelimit-limit": "250", "ratelimit-remaining": "12", "ratelimit-reset": str(T0 + 40)}
    account.gate.hear(Reply(200, headers, b"", T0))
    assert wait_briefly([], 5.0, account=account).now == T0 + 5


@passing
def test_a_brief_wait_gives_up_an_api_that_cannot_be_asked(answer: Answer) -> None:
    played = wait_briefly([answer], until=60.0)
    assert isinstance(played.result, float)
    assert played.now == T0 + 0.5 < played.result


def test_a_brief_wait_does_not_forget_when_the_api_wants_to_be_asked_again() -> None:
    played = wait_briefly([reply(200, QUEUED), reply(429, {}, retry_after="50")], until=5.0)
    assert isinstance(played.result, float)
    assert T0 + 1.1 + 50 <= played.result <= T0 + 1.1 + 51
    assert played.now == pytest.approx(T0 + 1.1)


def test_a_brief_wait_gives_up_at_an_early_404_and_a_lasting_failure() -> None:
    assert isinstance(wait_briefly([reply(404)], until=60.0).result, float)
    assert isinstance(wait_briefly([failure(lasting=True)], until=60.0).result, float)


@pytest.mark.parametrize("script", [[failure()] * 2, [reply(429, {}, retry_after="50")] * 2])
def test_a_brief_wait_never_pauses_beyond_its_end(script: list[Answer]) -> None:
    for until in (0.5, 1.0, 3.0, 10.0):
        assert wait_briefly([reply(200, QUEUED), *script], until=until).now <= T0 + until


def test_a_brief_wait_raises_for_a_failed_job_and_a_refusal() -> None:
    failed = {"request_id": "r1", "status": "FAILED", "error": "out of memory"}
    wait_briefly([reply(200, failed)], until=5.0).error(FalInvokeJobFailedError)
    wait_briefly([reply(401)], until=5.0).error(FalInvokeAuthError)
    wait_briefly([reply(404)], until=99.0, schedule=PollSchedule(initial=11.0, maximum=11.0, jitter=0.0)).error(
        FalInvokeNotFoundError
    )


def test_a_brief_wait_that_answers_slowly_ends() -> None:
    played = wait_briefly(itertools.repeat(reply(200, QUEUED)), until=5.0, took=4.0)
    assert isinstance(played.result, float)
    assert len(played.sends) == 1


# ---- get and list_models --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", list(InvocationStatus))
def test_get_returns_the_invocation_whatever_its_status(status: InvocationStatus) -> None:
    played = play(protocol.get("r1", patience=0), [reply(200, {"request_id": "r1", "status": status.value})])
    assert played.result.status is status


@passing
def test_get_asks_again_for_as_long_as_its_patience(answer: Answer) -> None:
    played = play(protocol.get("r1", patience=30.0), [answer, answer, reply(200, QUEUED)])
    assert played.result.request_id == "r1"


@passing
def test_get_without_patience_asks_once(answer: Answer) -> None:
    played = play(protocol.get("r1", patience=0.0), [answer])
    assert isinstance(played.raised, (FalInvokeUnreachableError, FalInvokeRateLimitError))
    assert names_the_way_back(played.raised)
    assert "goes on" in str(played.raised)
    assert played.now == T0


def test_get_gives_up_with_its_patience() -> None:
    played = play(protocol.get("r1", patience=30.0), itertools.repeat(reply(503)))
    assert played.error(FalInvokeUnreachableError).status_code == 503
    assert played.now == T0 + 30.0


def test_get_of_an_unknown_job_is_refused_at_once() -> None:
    played = play(protocol.get("r1", patience=30.0), [reply(404)])
    assert played.error(FalInvokeNotFoundError).request_id == "r1"


def test_get_ends_at_once_where_trying_again_cannot_help() -> None:
    played = play(protocol.get("r1", patience=30.0), [failure("not trusted", lasting=True)])
    assert "not trusted" in str(played.error(FalInvokeUnreachableError))


def test_the_models_are_listed_by_a_free_get() -> None:
    played = play(protocol.list_models(patience=0), [reply(200, {"object": "list", "data": [{"id": "llama"}]})])
    assert played.result == ["llama"]
    assert [send for _, send in played.sends] == [Send("GET", "/v1/models")]


def test_a_list_of_models_that_cannot_be_read_is_no_empty_list() -> None:
    error = play(protocol.list_models(patience=0), [reply(200, HTML)]).error(FalInvokeUnreachableError)
    assert "an HTML page" in str(error)
    assert error.request_id is None


def test_a_wrong_key_is_told_by_the_list_of_models() -> None:
    played = play(protocol.list_models(patience=60.0), [reply(401, {"message": "no"})])
    assert played.error(FalInvokeAuthError).status_code == 401


# ---- the words ------------------------------------------------------------------------------------------------------


def test_each_outcome_has_words() -> None:
    assert words(Reply(503, {}, json.dumps({"message": "Too busy."}).encode(), T0)) == "503 Too busy"
    assert words(FailureOutcome("ReadTimeout", True, T0)) == "ReadTimeout"
    assert words(Resumed(T0)) == "no answer"


def test_the_body_of_a_reply_is_not_in_its_repr() -> None:
    assert "secret" not in repr(Reply(200, {}, b"secret", T0))


def test_what_the_api_says_about_a_pause_counts_wherever_the_same_may_pass() -> None:
    for headers in ({"retry-after": "50"}, {"retry-after": formatdate(T0 + 50, usegmt=True)}):
        for status in (429, 503, 500, 408):
            assert 50 <= pause_after(Reply(status, headers, b"", T0), 1) <= 50.25
            assert 50 <= pause_after(Reply(status, headers, b"", 70.0, ahead=T0 - 70), 1) <= 50.25
        assert pause_after(Reply(200, headers, b"", T0), 1) < 1
    assert pause_after(Reply(503, {"ratelimit-reset": str(T0 + 50)}, b"", T0), 1) < 1, "its window has requests left"


def test_no_poll_waits_longer_than_until_a_probe_may_go() -> None:
    for headers in ({"retry-after": "1e9"}, {"ratelimit-reset": str(T0 * 1000 + 3e6)}):
        assert poll_pause(Reply(429, headers, b"", T0), 1) == PROBE
        assert 3000 <= pause_after(Reply(429, headers, b"", T0), 1) <= 3601, "a submit would rather give up"


def test_no_state_and_no_reason_acts_in_a_log_or_an_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    odd = "x\x1b[2J\u202e\r\n\x9b"
    submit(reply(202, {"request_id": odd, "status": odd}))
    submit(reply(202, f'{{"request_id": "{odd[:3]}", "sta'.encode()))
    for script in (
        [reply(200, {"request_id": "r1", "status": odd})],
        [reply(200, {"request_id": odd, "status": "COMPLETED"})],
        [failure(odd), reply(503, odd.encode())],
        [reply(200, {"request_id": "r1", "status": "FAILED", "error": odd, "model_id": odd})],
    ):
        assert str(wait(itertools.cycle(script)).raised).isprintable()
    assert len(caplog.records) > 9
    assert all(record.getMessage().isprintable() for record in caplog.records)


def test_a_key_that_is_repeated_in_escapes_is_in_no_error_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    key = "sk-do-v1/0123456789"
    echo = key.replace("/", "\\/").replace("-", "\\u002d")

    def echoed(status: int, body: str) -> Answer:
        return lambda now: Reply(status, {}, body.replace("ECHO", echo).encode(), now, key=key)

    for body in ('{"message": "ECHO"}', '{"message": "ECHO', '{"request_id": "ECHO"}'):
        for status in (200, 202, 400, 401, 500, 503):
            for played in (submit(echoed(status, body)), wait(itertools.repeat(echoed(status, body)))):
                assert key not in f"{played.raised!r} {played.returned}"
    failed = '{"request_id": "r1", "status": "FAILED", "error": "ECHO", "output": "ECHO"}'
    assert "failed: ***." in str(wait([echoed(200, failed)]).raised)
    assert not [record for record in caplog.records if key in record.getMessage() or echo in record.getMessage()]
    assert key not in repr(echoed(200, "")(T0))


@pytest.mark.parametrize(("refused", "kind"), [(False, FalInvokeJobFailedError), (True, FalInvokeJobRefusedError)])
def test_a_failed_job_says_whether_the_same_request_may_pass(
    refused: bool, kind: type[FalInvokeJobFailedError]
) -> None:
    failed = Invocation(request_id="r1", status=InvocationStatus.FAILED, error="why", refused=refused)
    with pytest.raises(FalInvokeJobFailedError) as caught:
        protocol.completed(failed)
    assert type(caught.value) is kind
    assert caught.value.may_pass is not refused
