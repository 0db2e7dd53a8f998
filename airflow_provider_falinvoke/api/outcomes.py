"""Steps, outcomes, and what an outcome means: the words and the errors of the protocol. Pure.

Times within a call are seconds of a clock that never steps (the monotonic one). A time that comes from outside, such as
a deadline, is of the wall clock, in epoch seconds; ``ahead`` of an outcome says how far that is ahead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol, TypeAlias, TypeVar
from urllib.parse import quote

from airflow_provider_falinvoke.api import replies
from airflow_provider_falinvoke.api.pacing import PROBE, backoff, rejected_pause, retry_after
from airflow_provider_falinvoke.api.printable import printable
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
#: What OpenSSL calls an answer that is no TLS; its words changed over the versions.
_NO_TLS = re.compile(r"wrong[_ ]version[_ ]number|record[_ ]layer[_ ]failure", re.I)
_OPT_IN = " On a new account, enable fal models in the vendor's console first (effective after 10 to 15 minutes)."
#: The longest part of a line, in characters.
_SAID = 1_000
#: With these a server says that it did not do what was asked for. Any other status may follow an accepted POST: a 5xx
#: of a proxy, a 303 ("see the result elsewhere") and what browsers take a 301 and 302 for, a 408 or 499 ("you went
#: away"), a 409 ("it is there already"), and what nobody has heard of.
_NOT_ACCEPTED = frozenset(
    {
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.PAYMENT_REQUIRED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
        HTTPStatus.GONE,
        HTTPStatus.LENGTH_REQUIRED,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.REQUEST_URI_TOO_LONG,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.MISDIRECTED_REQUEST,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.UPGRADE_REQUIRED,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS,
    }
)


@dataclass(frozen=True, slots=True)
class Send:
    """Send this request.

    :param turn_by: the latest time to send it, in the call's seconds, where it has to wait for its turn.
    :param answer_by: when its answer is of no use any more, in the call's seconds.
    """

    method: str
    path: str
    body: bytes | None = None
    turn_by: float = field(default=math.inf, compare=False)
    answer_by: float = field(default=math.inf, compare=False)


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing until this time, in the call's seconds."""

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
    :param message: the line, with ``%`` for each of ``arguments``, which are made printable.
    """

    level: int
    message: str
    arguments: tuple[object, ...] = ()

    def __post_init__(self) -> None:
        """Let nothing foreign act in a log or a terminal."""
        shown = tuple(printable(one, _SAID) if isinstance(one, str) else one for one in self.arguments)
        object.__setattr__(self, "arguments", shown)


@dataclass(frozen=True, slots=True)
class Reply:
    """The API answered.

    :param headers: names in lower case.
    :param at: when it answered, in the call's seconds.
    :param ahead: by how many seconds the wall clock is ahead of those.
    :param key: what must not be shown of it, however the API wrote it.
    :param cut: why the body is not whole, where it is not: what came of it is all that can be known of a POST.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    at: float
    ahead: float = 0.0
    key: str = field(default="", repr=False, compare=False)
    cut: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer came.

    :param reason: what happened, in words.
    :param arrived: whether the request may have reached the API.
    :param at: when that was clear, in the call's seconds.
    :param lasting: whether trying again cannot help (a certificate that is not trusted).
    :param ahead: by how many seconds the wall clock is ahead of those.
    :param oversized: whether an answer did come, and was larger than the connection allows.
    """

    reason: str
    arrived: bool
    at: float
    lasting: bool = False
    ahead: float = 0.0
    oversized: bool = False


@dataclass(frozen=True, slots=True)
class Resumed:
    """The pause is over, or the line is written.

    :param at: the time, in the call's seconds.
    :param ahead: by how many seconds the wall clock is ahead of those.
    """

    at: float
    ahead: float = 0.0


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

    :raises FalInvokeInputError: the id is empty, too long, or no text.
    """
    if not isinstance(request_id, str) or not request_id.strip() or len(request_id) > replies.LONGEST_ID:
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
    if isinstance(outcome, Reply):
        now = outcome.at + outcome.ahead
        if outcome.status == HTTPStatus.TOO_MANY_REQUESTS:
            return rejected_pause(outcome.headers, now, failures)
        if is_passing(outcome) and (seconds := retry_after(outcome.headers, now)) is not None:
            return seconds
    return backoff(failures)


def poll_pause(outcome: Outcome, failures: int) -> float:
    """Return the same for a GET: no longer than until the gate would let a probe through."""
    return min(pause_after(outcome, failures), PROBE)


def words(outcome: Outcome) -> str:
    """Say what came, for a log line or an error."""
    if isinstance(outcome, Reply):
        said = outcome.cut or replies.read_error_body(outcome.body, outcome.key)
        return f"{outcome.status} {said.rstrip('.')}"
    return printable(outcome.reason, _SAID) if isinstance(outcome, Failure) else "no answer"


def unusable(reply: Reply, why: str) -> Failure:
    """Return what a reply that should have been right is worth: it may be right the next time.

    :param why: what is wrong with it.
    """
    return Failure(f"{reply.status}, but {why}", True, reply.at, ahead=reply.ahead)


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
        if _NO_TLS.search(outcome.reason):
            message += " The server does not seem to speak TLS: for plain HTTP, the connection's schema is http."
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
        advice += _OPT_IN if reply.status == HTTPStatus.FORBIDDEN else ""
    elif reply.status == HTTPStatus.NOT_FOUND:
        kind, advice = FalInvokeNotFoundError, f" Check the model_id and the connection's host.{_OPT_IN}"
        if request_id and reply.body and not replies.is_json(reply.body):
            # The word of something before the API. Nobody may take the job for lost, and pay for another one.
            kind, advice = FalInvokeAPIError, " That is not the API's own answer: check the connection's host."
        elif request_id:
            advice = " Check the request_id, and that the connection is the account's that submitted it."
    elif reply.status < HTTPStatus.BAD_REQUEST:
        advice = " Redirects are not followed: check the connection's host."
    if request_id and kind is not FalInvokeNotFoundError:
        after = f" {by_hand(request_id)}"
    message = f"The API answered {words(reply)}.{advice}{after}"
    return kind(message, request_id=request_id, status_code=reply.status)


def may_be_accepted(outcome: Outcome) -> bool:
    """Whether a POST that ended so may have been accepted, and be paid: always, but where the reply rules it out."""
    if isinstance(outcome, Failure):
        return outcome.arrived
    return isinstance(outcome, Reply) and outcome.status not in _NOT_ACCEPTED


def refused_or_ambiguous(reply: Reply) -> FalInvokeError:
    """Return the error for a reply to a POST that shows no job."""
    if not may_be_accepted(reply):
        return refused(reply, None, after=" Nothing was submitted, and nothing is paid.")
    if is_success(reply):
        said = reply.cut or replies.read_error_body(reply.body, reply.key)
        return ambiguous(f"the API answered {reply.status} without a request_id: {said.rstrip('.')}")
    hint = " (redirects are not followed: check the connection's host)" if reply.status < HTTPStatus.BAD_REQUEST else ""
    return ambiguous(f"the API answered {words(reply)}{hint}", reply.status)


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
