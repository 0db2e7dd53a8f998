"""The API's calls, sans I/O: one generator each, that decides and never sends, sleeps or reads a clock.

A call yields steps and is sent an outcome for each: :class:`Send` is answered with a :class:`Reply` or a
:class:`Failure`, :class:`Pause` and :class:`Say` with a :class:`Resumed`. Every outcome says when it happened, so one
step is one decision at one time. ``drivers.py`` performs the steps, blocking or awaiting. The calls take and give times
of the wall clock, in epoch seconds, and go by one that never steps.

What is repeated is decided here alone. A GET is repeated until its deadline: after 429 by the vendor's recipe, after
5xx, transport errors, unreadable bodies and answers about another job with a growing pause. A POST is repeated only
where it cannot have arrived or was refused with 429; anything else that gives no request_id is a
:class:`~airflow_provider_falinvoke.exceptions.FalInvokeAmbiguousSubmitError`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeVar

from airflow_provider_falinvoke.api import replies
from airflow_provider_falinvoke.api.account import Account
from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus, InvokeRequest
from airflow_provider_falinvoke.api.outcomes import (
    INVOKE_PATH,
    NOW,
    Call,
    Failure,
    NoAnswerError,
    Pause,
    Reply,
    Say,
    Send,
    ambiguous,
    gave_up,
    invocation_path,
    is_lasting,
    is_passing,
    is_success,
    may_be_accepted,
    pause_after,
    poll_pause,
    refused,
    refused_or_ambiguous,
    timed_out,
    unusable,
    words,
)
from airflow_provider_falinvoke.api.printable import printable
from airflow_provider_falinvoke.api.schedule import BriefWait, PollSchedule
from airflow_provider_falinvoke.exceptions import FalInvokeJobFailedError, FalInvokeJobRefusedError

log = logging.getLogger(__name__)

_State = tuple[InvocationStatus, "str | None"]

MODELS_PATH = "/v1/models"
#: For so many seconds after a POST, a 404 may only mean that the API has not heard of the job everywhere yet.
NOT_FOUND_GRACE = 10.0
#: An API that stumbles just at a job's deadline is asked for so many seconds more.
LAST_LOOK_GRACE = 5.0
#: The seconds beyond the deadline that a request may wait for its answer.
ANSWER_GRACE = 10.0
#: Where many look at once, the last look at a job may have to wait so many seconds more for its turn.
LAST_TURN_GRACE = 120.0
_NO_ANSWER = "The API gave no usable answer"
Result = TypeVar("Result")


def submit(request: InvokeRequest, *, patience: float) -> Call[Invocation]:
    """POST the job.

    :param patience: seconds to go on trying while the request cannot have arrived, or is refused with 429.
    :return: the invocation; pending with a request_id, or already ended.
    :raises FalInvokeAPIError: the API refused it; nothing is paid.
    :raises FalInvokeUnreachableError: it could not be sent; nothing is paid.
    :raises FalInvokeAmbiguousSubmitError: it may have been accepted; see there.
    """
    step = Send("POST", INVOKE_PATH, request.body(), turn_by=(yield NOW).at + patience)
    failures = 0
    give_up_at: float | None = None
    while True:
        outcome = yield step
        give_up_at = outcome.at + patience if give_up_at is None else give_up_at
        if isinstance(outcome, Reply):
            if may_be_accepted(outcome):
                return _submitted(request, outcome)
            if outcome.status != HTTPStatus.TOO_MANY_REQUESTS:
                raise refused_or_ambiguous(outcome)
        elif isinstance(outcome, Failure) and outcome.arrived:
            raise ambiguous(f"the connection failed after the request was sent ({outcome.reason})")
        failures += 1
        again_at = outcome.at + pause_after(outcome, failures)
        if again_at > give_up_at or is_lasting(outcome):
            raise gave_up("The job was not submitted and nothing is paid", outcome)
        yield Say(
            logging.WARNING,
            "The submit was not taken (%s); next try in %.1f s",
            (words(outcome), again_at - outcome.at),
        )
        yield Pause(again_at)


def get(request_id: str, *, patience: float, is_new: bool = False) -> Call[Invocation]:
    """GET the invocation, asking again for ``patience`` seconds while no usable answer comes.

    :param is_new: the job may have been submitted a moment ago, so that a 404 is no answer yet.
    :return: the invocation, whatever its status.
    :raises FalInvokeAPIError: the API refused to tell (401, 403, 404, …).
    :raises FalInvokeUnreachableError: no usable answer within ``patience``.
    """
    now = (yield NOW).at
    try:
        invocation, _ = yield from _fetch_invocation(
            request_id,
            give_up_at=now + patience,
            turn_by=now + patience,
            answer_by=now + patience + ANSWER_GRACE,
            not_found_until=now + NOT_FOUND_GRACE if is_new else 0.0,
        )
    except NoAnswerError as error:
        raise gave_up(_NO_ANSWER, error.outcome, request_id) from None
    return invocation


def wait(
    request_id: str,
    *,
    submitted_at: float,
    deadline: float,
    schedule: PollSchedule,
    first_look_at: float = 0.0,
    model_id: str | None = None,
    account: Account | None = None,
) -> Call[Invocation]:
    """GET the invocation until it is completed.

    :param submitted_at: when the job was submitted, in epoch seconds; the schedule goes by its age.
    :param deadline: when to give up, in epoch seconds. The job is looked at once more then, so that one which is
        done never times out.
    :param first_look_at: when to look first, in epoch seconds.
    :param model_id: the model, where it is known before the first look.
    :param account: what is known of the account; how long the job took is added.
    :return: the completed invocation.
    :raises FalInvokeJobFailedError: the job failed.
    :raises FalInvokeTimeoutError: it had not ended at the deadline, or could not be asked.
    :raises FalInvokeAPIError: the API refused to tell: at once for 401 and 403, for 404 some seconds after the POST.
    """
    account = account or Account()
    began = yield NOW
    now, seen = began.at, None
    # From here on by the clock of the steps, which never steps back: the wall clock says when it is over, and no more.
    submitted_at, deadline = min(now, submitted_at - began.ahead), deadline - began.ahead
    look_at, pending_at = max(now, first_look_at - began.ahead), submitted_at
    if account.gate.is_scarce(now):
        look_at = max(look_at, account.look_at(schedule, model_id, submitted_at, now))
    while True:
        asked_at = (yield Pause(min(look_at, deadline))).at
        try:
            invocation, now = yield from _look(
                request_id,
                submitted_at,
                give_up_at=deadline + LAST_LOOK_GRACE,
                turn_by=deadline + LAST_TURN_GRACE,
                answer_by=deadline + ANSWER_GRACE,
                seen=seen,
            )
        except NoAnswerError as error:
            if is_lasting(error.outcome):
                raise gave_up(_NO_ANSWER, error.outcome, request_id) from None
            raise timed_out(request_id, f"its state could not be read ({words(error.outcome)})") from None
        if invocation.status is InvocationStatus.COMPLETED:
            # Where the API gave no times: it ended somewhere between the last two looks.
            seconds = (pending_at + now) / 2 - submitted_at if invocation.seconds is None else invocation.seconds
            account.durations.add(invocation.model_id or model_id, seconds)
            return invocation
        if asked_at >= deadline:  # not ``now``: an answer that was long on its way may be older than the deadline
            state = invocation.raw_status or "pending"
            raise timed_out(request_id, f"it was still {state} {now - submitted_at:.0f} s after the submit")
        seen, pending_at = _state(invocation), now
        model_id = invocation.model_id or model_id
        look_at = account.look_at(schedule, model_id, submitted_at, now)
        del invocation  # thousands of jobs may wait in one process


def wait_briefly(
    request_id: str,
    *,
    submitted_at: float,
    brief: BriefWait,
    deadline: float,
    account: Account | None = None,
) -> Call[Invocation | float]:
    """GET the invocation while a look may soon find it completed, and no longer.

    :param brief: how long that is, and when it looks.
    :param deadline: the last moment for a look in any case, in epoch seconds.
    :param account: what is known of the account; where its requests are scarce there is no brief wait, and where a
        minute's are all but used up the worker submits nothing more in it.
    :return: the completed invocation; or, as soon as there is nothing to wait for, when to look next, in epoch seconds.
    :raises FalInvokeJobFailedError: the job failed.
    :raises FalInvokeAPIError: the API refused to tell, as in :func:`wait`.
    """
    begun = yield NOW
    ahead, now = begun.ahead, begun.at
    submitted_at, deadline = min(now, submitted_at - ahead), deadline - ahead
    if account is not None and account.gate.is_scarce(now):
        # The process that comes next in this worker slot knows nothing: it would meet a 429, and wait as long.
        if (used_up_until := account.gate.used_up_until(now)) > now:
            now = (yield Pause(min(used_up_until, deadline))).at
        return account.look_at(brief.schedule, None, submitted_at, now) + ahead
    seen, until = None, min(submitted_at + brief.seconds, deadline)
    look_at = submitted_at + max(brief.schedule.pause(0), brief.first_look)
    while look_at <= until:
        yield Pause(look_at)
        try:
            invocation, now = yield from _look(
                request_id,
                submitted_at,
                give_up_at=look_at,
                turn_by=until,
                answer_by=until + ANSWER_GRACE,
                seen=seen,
            )
        except NoAnswerError as error:
            return error.outcome.at + poll_pause(error.outcome, 1) + ahead
        if invocation.status is InvocationStatus.COMPLETED:
            return invocation
        seen, look_at = _state(invocation), now + brief.schedule.pause(now - submitted_at)
        if invocation.status is InvocationStatus.QUEUED and now >= submitted_at + brief.started_by:
            break
    return look_at + ahead


def list_models(*, patience: float) -> Call[list[str]]:
    """GET the ids of the models; free, so it serves to check a key. The fal models are not in the list.

    :raises FalInvokeAPIError: the API refused.
    :raises FalInvokeUnreachableError: no usable answer within ``patience`` seconds.
    """
    give_up_at = (yield NOW).at + patience
    try:
        ids, _ = yield from _fetch(
            Send("GET", MODELS_PATH, turn_by=give_up_at, answer_by=give_up_at + ANSWER_GRACE),
            _read_models,
            give_up_at=give_up_at,
        )
    except NoAnswerError as error:
        raise gave_up(_NO_ANSWER, error.outcome) from None
    return ids


def completed(invocation: Invocation) -> Invocation:
    """Return ``invocation`` unless it failed.

    :raises FalInvokeJobFailedError: it failed.
    :raises FalInvokeJobRefusedError: it failed for a reason that the same request will meet again.
    """
    if invocation.status is InvocationStatus.FAILED:
        model = f" of {invocation.model_id}" if invocation.model_id else ""
        reason = (invocation.error or "").rstrip(".") or "the API gave no reason"
        if invocation.refused:
            raise FalInvokeJobRefusedError(
                f"The job {invocation.request_id}{model} failed: {reason}. The same request will fail again.",
                request_id=invocation.request_id,
            )
        raise FalInvokeJobFailedError(
            f"The job {invocation.request_id}{model} failed: {reason}.", request_id=invocation.request_id
        )
    return invocation


def _state(invocation: Invocation) -> _State:
    return invocation.status, invocation.raw_status


def _look(
    request_id: str,
    submitted_at: float,
    *,
    give_up_at: float,
    turn_by: float,
    answer_by: float,
    seen: _State | None,
) -> Call[tuple[Invocation, float]]:
    invocation, now = yield from _fetch_invocation(
        request_id,
        give_up_at=give_up_at,
        turn_by=turn_by,
        answer_by=answer_by,
        not_found_until=submitted_at + NOT_FOUND_GRACE,
    )
    if seen != _state(invocation):
        # What is still pending at the first look is no news.
        level = logging.INFO if seen is not None or invocation.status.ended else logging.DEBUG
        age = now - submitted_at
        yield Say(level, "Invocation %s is %s, %.1f s after the submit", (request_id, invocation.status.value, age))
        if invocation.status is InvocationStatus.UNKNOWN:
            yield Say(
                logging.WARNING,
                "Invocation %s has the status %r, which this version does not know. It is taken as pending.",
                (request_id, invocation.raw_status),
            )
    return completed(invocation), now


def _fetch_invocation(
    request_id: str, *, give_up_at: float, turn_by: float, answer_by: float, not_found_until: float = 0.0
) -> Call[tuple[Invocation, float]]:
    def read(reply: Reply) -> Invocation | Failure | None:
        invocation = replies.read_invocation(reply.body, request_id=request_id, key=reply.key)
        if invocation is not None and invocation.request_id != request_id:
            return unusable(reply, f"about another job ({invocation.request_id}), so it is not taken")
        return invocation

    send = Send("GET", invocation_path(request_id), turn_by=turn_by, answer_by=answer_by)
    return _fetch(send, read, give_up_at=give_up_at, request_id=request_id, not_found_until=not_found_until)


def _fetch(
    send: Send,
    read: Callable[[Reply], Result | Failure | None],
    *,
    give_up_at: float,
    request_id: str | None = None,
    not_found_until: float = 0.0,
) -> Call[tuple[Result, float]]:
    """Send it until a 2xx comes that ``read`` can use, a refusal that lasts, or the time is up."""
    failures = 0
    while True:
        outcome = yield send
        if isinstance(outcome, Reply):
            result = read(outcome) if is_success(outcome) else None
            if isinstance(result, Failure):
                outcome = result
            elif result is not None:
                return result, outcome.at
        if isinstance(outcome, Reply):
            early_404 = outcome.status == HTTPStatus.NOT_FOUND and outcome.at < not_found_until
            if not (is_success(outcome) or is_passing(outcome) or early_404):
                raise refused(outcome, request_id)
        failures += 1
        if outcome.at >= give_up_at or is_lasting(outcome):
            raise NoAnswerError(outcome)
        again_at = min(outcome.at + poll_pause(outcome, failures), give_up_at)
        yield Say(
            logging.WARNING,
            "%s %s: %s; next try in %.1f s",
            (send.method, send.path, words(outcome), again_at - outcome.at),
        )
        yield Pause(again_at)


def _read_models(reply: Reply) -> list[str] | None:
    return replies.read_model_ids(reply.body, reply.key)


def _submitted(request: InvokeRequest, reply: Reply) -> Invocation:
    """Return the job that a reply to a POST shows; no step, for nothing may come between a paid job and its id.

    :raises FalInvokeAmbiguousSubmitError: it shows none.
    """
    body = reply.body if is_success(reply) else b""  # an id in an error is that of the HTTP request
    invocation, where = replies.read_submitted(body, reply.headers, reply.key)
    if invocation is None:
        raise refused_or_ambiguous(reply)
    shown = printable(invocation.request_id)
    log.info("Submitted %s as %s: %s", printable(request.model_id), shown, invocation.status.value)
    if where:
        log.warning(
            "The reply to the submit could not be read (%s). The request_id %s was found in %s; it is taken for the "
            "job's, which is awaited.",
            words(reply),
            shown,
            where,
        )
    return invocation
