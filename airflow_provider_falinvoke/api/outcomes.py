"""Steps, outcomes, and what an outcome means: the words and the errors of the protocol. Pure."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol, TypeAlias, TypeVar
from urllib.parse import quote

from airflow_provider_falinvoke.api import replies
from airflow_provider_falinvoke.api.pacing import backoff, rejected_pause
from airflow_provider_falinvoke.exceptions import (
    FalInvokeAmbiguousSubmitError,
    FalInvokeAPIError,
    FalInvokeAuthError,
    FalInvokeError,
    FalInvokeInputError,
    FalInvokeNotFoundError,
    FalInvokeRateLimitError,
    FalInvokeReplyTooLargeError,
    FalInvokeTimeoutError,
    FalInvokeUnreachableError,
)

INVOKE_PATH = "/v1/async-invoke"


@dataclass(frozen=True, slots=True)
class Send:
    """Send this request.

    :param turn_by: the latest time to send it, in epoch seconds, where it has to wait for its turn.
    :param answer_by: when its answer is of no use any more, in epoch seconds.
    """

    method: str
    path: str
    body: bytes | None = None
    turn_by: float = field(default=math.inf, compare=False)
    answer_by: float = field(default=math.inf, compare=False)


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing until this time, in epoch seconds."""

    until: float


#: Yielded for the time that it brings.
NOW = Pause(0.0)


@dataclass(frozen=True, slots=True)
class Say:
    """Write this line to the log; on an event loop in a thread.

    A triggerer that starts is handed a thousand triggers in one message, and its supervisor does not read the log until
    that is read. Lines that fill the log's pipe meanwhile would stop the event loop, which then never reads the
    message (seen with 2,000 triggers on 3.3.2: both waited for each other for ever).

    :param level: of :mod:`logging`.
    :param message: the line, with ``%`` for each of ``arguments``.
    """

    level: int
    message: str
    arguments: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """The API answered.

    :param headers: names in lower case.
    :param at: when it answered, in epoch seconds.
    :param cut: why the body is not whole, where it is not: what came of it is all that can be known of a POST.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    at: float
    cut: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer came.

    :param reason: what happened, in words.
    :param arrived: whether the request may have reached the API.
    :param lasting: whether trying again cannot help (a certificate that is not trusted).
    :param oversized: whether an answer did come, and was larger than the connection allows.
    """

    reason: str
    arrived: bool
    at: float
    lasting: bool = False
    oversized: bool = False


@dataclass(frozen=True, slots=True)
class Resumed:
    """The pause is over, or the line is written."""

    at: float


Step: TypeAlias = "Send | Pause | Say"
Outcome: TypeAlias = "Reply | Failure | Resumed"
T = TypeVar("T")
Call: TypeAlias = Generator[Step, Outcome, T]


class SubmitRecord(Protocol):
    """What a later process has to know of a submit, kept by the caller: an intent stands while a POST may be accepted.

    A POST may be sent several times, with pauses in between, in which nothing of it is on its way.
    """

    def intend(self) -> None:
        """Store that the job is sent next; called before each POST.

        :raises Exception: it could not be stored, or another process has the job now: the POST is not sent.
        """

    def withdraw(self) -> None:
        """Store that the last POST certainly came to nothing; must not raise."""


class NoAnswerError(Exception):
    """Within the protocol: no usable answer came for as long as the call would wait.

    :param outcome: what came last.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


def invocation_path(request_id: str) -> str:
    """Return the path of an invocation, safe whatever the id holds.

    :raises FalInvokeInputError: the id is empty, or no text.
    """
    if not isinstance(request_id, str) or not request_id.strip():
        raise FalInvokeInputError(
            f"request_id must be a text that is not empty, not {str(request_id)[:80]!r}; nothing was asked for. An "
            "operator returns one with wait_for_completion=False; without, it is output['request_id']."
        )
    segment = quote(request_id, safe="", errors="replace")
    if segment in (".", ".."):  # an HTTP client would take it for a step up the path
        segment = segment.replace(".", "%2E")
    return f"{INVOKE_PATH}/{segment}"


def is_success(reply: Reply) -> bool:
    """Whether the API took the request: 200, 202, and any other 2xx."""
    return HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES


def is_passing(reply: Reply) -> bool:
    """Whether the same GET may be answered later."""
    return reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR or reply.status in (
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
    )


def is_lasting(outcome: Outcome) -> bool:
    """Whether trying again cannot help."""
    return isinstance(outcome, Failure) and outcome.lasting


def pause_after(outcome: Outcome, failures: int) -> float:
    """Return the seconds to wait after ``failures`` unusable outcomes in a row, the last one ``outcome``."""
    if isinstance(outcome, Reply) and outcome.status == HTTPStatus.TOO_MANY_REQUESTS:
        return rejected_pause(outcome.headers, outcome.at, failures)
    return backoff(failures)


def words(outcome: Outcome) -> str:
    """Say what came, for a log line or an error."""
    if isinstance(outcome, Reply):
        return f"{outcome.status} {replies.read_error_body(outcome.body).rstrip('.')}"
    return outcome.reason if isinstance(outcome, Failure) else "no answer"


def gave_up(what: str, outcome: Outcome, request_id: str | None = None) -> FalInvokeError:
    """Return the error for a call that got no usable answer for as long as it would wait."""
    still = f" The job goes on. {by_hand(request_id)}" if request_id else ""
    message = f"{what}: {words(outcome)}.{still}"
    if isinstance(outcome, Reply) and outcome.status == HTTPStatus.TOO_MANY_REQUESTS:
        message = f"{message} The token's quota is used up; run fewer jobs at a time or ask the vendor for more."
        return FalInvokeRateLimitError(message, request_id=request_id, status_code=outcome.status)
    status = outcome.status if isinstance(outcome, Reply) else None
    if isinstance(outcome, Failure) and not outcome.arrived:
        message = f"{message} Check the connection's host and port, the network, and the proxy."
    is_oversized = isinstance(outcome, Failure) and outcome.oversized
    kind = FalInvokeReplyTooLargeError if is_oversized else FalInvokeUnreachableError
    return kind(message, request_id=request_id, status_code=status)


def refused(reply: Reply, request_id: str | None, *, after: str = "") -> FalInvokeAPIError:
    """Return the error for a reply that will not change.

    :param after: a last sentence, where there is no request_id to fetch a result by.
    """
    kind, advice = FalInvokeAPIError, ""
    if reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        kind, advice = FalInvokeAuthError, " Check the model access key in the connection's password field."
    elif reply.status == HTTPStatus.NOT_FOUND:
        kind = FalInvokeNotFoundError
        if request_id:
            advice = " Check the request_id, and that the connection is the account's that submitted it."
    elif reply.status < HTTPStatus.BAD_REQUEST:
        advice = " Redirects are not followed: check the connection's host."
    if request_id and kind is not FalInvokeNotFoundError:
        after = f" {by_hand(request_id)}"
    message = f"The API answered {words(reply)}.{advice}{after}"
    return kind(message, request_id=request_id, status_code=reply.status)


def may_be_accepted(outcome: Outcome) -> bool:
    """Whether a POST that ended so may have been accepted, and be paid.

    A 5xx, a 408 and a 303 ("see the result elsewhere") may follow an accepted request; the other refusals say that it
    was not.
    """
    if isinstance(outcome, Failure):
        return outcome.arrived
    return isinstance(outcome, Reply) and (
        is_success(outcome)
        or outcome.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        or outcome.status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.SEE_OTHER)
    )


def refused_or_ambiguous(reply: Reply) -> FalInvokeError:
    """Return the error for a reply to a POST that is no success."""
    if may_be_accepted(reply):
        return ambiguous(f"the API answered {words(reply)}", reply.status)
    return refused(reply, None, after=" Nothing was submitted, and nothing is paid.")


def ambiguous(why: str, status: int | None = None) -> FalInvokeAmbiguousSubmitError:
    """Return the error for a POST that may have been accepted."""
    return FalInvokeAmbiguousSubmitError(
        f"It is not known whether the job was submitted: {why}. It may be running and paid, and no request_id came "
        "back to fetch it by. It was not submitted again, because that may pay twice; look at the usage in the "
        "vendor's console, then clear the task if it was not.",
        status_code=status,
    )


def timed_out(request_id: str, why: str) -> FalInvokeTimeoutError:
    """Return the error for a job that was not completed at the deadline."""
    return FalInvokeTimeoutError(
        f"The job {request_id} was not completed in time: {why}. It goes on, and it is paid. {by_hand(request_id)}",
        request_id=request_id,
    )


def by_hand(request_id: str) -> str:
    """Say how to get a job's result later."""
    return (
        f"Its result can still be fetched: FalInvokeSensor(request_id={request_id!r}, output_path=…), "
        f"FalInvokeHook().get({request_id!r}), or GET {invocation_path(request_id)}."
    )
