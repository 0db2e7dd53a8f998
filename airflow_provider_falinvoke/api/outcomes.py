"""Steps, outcomes, and what an outcome means: the words and the errors of the protocol. Pure."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeAlias, TypeVar
from urllib.parse import quote

from airflow_provider_falinvoke.api import replies
from airflow_provider_falinvoke.api.pacing import backoff, rejected_pause
from airflow_provider_falinvoke.exceptions import (
    FalInvokeAmbiguousSubmitError,
    FalInvokeAPIError,
    FalInvokeAuthError,
    FalInvokeError,
    FalInvokeNotFoundError,
    FalInvokeRateLimitError,
    FalInvokeTimeoutError,
    FalInvokeUnreachableError,
)

INVOKE_PATH = "/v1/async-invoke"


@dataclass(frozen=True)
class Send:
    """Send this request."""

    method: str
    path: str
    body: bytes | None = None


@dataclass(frozen=True)
class Pause:
    """Do nothing until this time, in epoch seconds."""

    until: float


#: Yielded for the time that it brings.
NOW = Pause(0.0)


@dataclass(frozen=True)
class Reply:
    """The API answered.

    :param headers: names in lower case.
    :param at: when it answered, in epoch seconds.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    at: float


@dataclass(frozen=True)
class Failure:
    """No answer came.

    :param reason: what happened, in words.
    :param arrived: whether the request may have reached the API.
    :param lasting: whether trying again cannot help (a certificate that is not trusted).
    """

    reason: str
    arrived: bool
    at: float
    lasting: bool = False


@dataclass(frozen=True)
class Resumed:
    """The pause is over."""

    at: float


Step: TypeAlias = "Send | Pause"
Outcome: TypeAlias = "Reply | Failure | Resumed"
T = TypeVar("T")
Call: TypeAlias = Generator[Step, Outcome, T]


class NoAnswerError(Exception):
    """Within the protocol: no usable answer came for as long as the call would wait.

    :param outcome: what came last.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


def invocation_path(request_id: str) -> str:
    """Return the path of an invocation, safe whatever the id holds."""
    return f"{INVOKE_PATH}/{quote(request_id, safe='')}"


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
        return f"{outcome.status} {replies.read_error_body(outcome.body)}"
    return outcome.reason if isinstance(outcome, Failure) else "no answer"


def gave_up(what: str, outcome: Outcome, request_id: str | None = None) -> FalInvokeError:
    """Return the error for a call that got no usable answer for as long as it would wait."""
    still = f" The job goes on. {by_hand(request_id)}" if request_id else ""
    message = f"{what}: {words(outcome)}.{still}"
    if isinstance(outcome, Reply) and outcome.status == HTTPStatus.TOO_MANY_REQUESTS:
        message = f"{message} The token's quota is used up; run fewer jobs at a time or ask the vendor for more."
        return FalInvokeRateLimitError(message, request_id=request_id, status_code=outcome.status)
    status = outcome.status if isinstance(outcome, Reply) else None
    return FalInvokeUnreachableError(message, request_id=request_id, status_code=status)


def refused(reply: Reply, request_id: str | None) -> FalInvokeAPIError:
    """Return the error for a reply that will not change."""
    said = f"The API answered {words(reply)}."
    if reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        advice = " Check the model access key in the connection's password field."
        still = f" {by_hand(request_id)}" if request_id else ""
        return FalInvokeAuthError(f"{said}{advice}{still}", request_id=request_id, status_code=reply.status)
    if reply.status == HTTPStatus.NOT_FOUND:
        advice = (
            " Check the request_id, and that the connection is the account's that submitted it." if request_id else ""
        )
        return FalInvokeNotFoundError(said + advice, request_id=request_id, status_code=reply.status)
    if HTTPStatus.MULTIPLE_CHOICES <= reply.status < HTTPStatus.BAD_REQUEST:
        return FalInvokeAPIError(
            f"{said} Redirects are not followed: check the connection's host.",
            request_id=request_id,
            status_code=reply.status,
        )
    return FalInvokeAPIError(said, request_id=request_id, status_code=reply.status)


def refused_or_ambiguous(reply: Reply) -> FalInvokeError:
    """Return the error for a reply to a POST: only a 4xx says for certain that nothing was done."""
    if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR or reply.status == HTTPStatus.REQUEST_TIMEOUT:
        return ambiguous(f"the API answered {words(reply)}", reply.status)
    return refused(reply, None)


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
