"""Everything that this package raises, in one small tree.

::

    FalInvokeError
    ├── FalInvokeConfigError          the connection lacks something, or a field of it cannot be right
    ├── FalInvokeInputError           the request is wrong; found before anything was sent
    ├── FalInvokeAPIError             the API refused a request; it did nothing (a job that is awaited goes on)
    │   ├── FalInvokeAuthError        401, 403
    │   ├── FalInvokeNotFoundError    404
    │   └── FalInvokeRateLimitError   429, for longer than the caller would wait
    ├── FalInvokeUnreachableError     no usable answer came; a job that was submitted before is still running
    │   └── FalInvokeReplyTooLargeError  … because it is larger than max_reply_size
    ├── FalInvokeAmbiguousSubmitError a submit that may have been accepted, and paid, though no request_id came back
    ├── FalInvokeJobFailedError       the API says that the job FAILED
    │   └── FalInvokeJobRefusedError  … for a reason that the same request will meet again
    ├── FalInvokeTimeoutError         the deadline passed; the job may still be running, and is paid
    ├── FalInvokeMediaError           the job is done, but its files could not be brought home
    │   └── FalInvokeMediaGoneError   … and their hosts do not have them any more, or there are none
    ├── FalInvokeFlaggedError         the job is done, but files of it are flagged, and on_flagged is "fail"
    └── FalInvokeBatchError           items of a batch are not home; the manifest says which and why

"I could not ask" (Unreachable, Timeout) and "the job failed" (JobFailed) are different errors: after the first the
job is still there to be collected.

This module imports nothing but ``printable``, so that every layer may raise from it.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_falinvoke.api.printable import printable

#: Longer than any message with a job's id in it.
_LONGEST = 20_000


class FalInvokeError(Exception):
    """Base of every error of this package.

    :param message: what happened and what to do next, one or two sentences; what is not printable in it is escaped.
    :param request_id: the job that it happened to, where there is one.
    :param status_code: the HTTP status of the reply that said so, where there was one.
    """

    #: Whether the same call may succeed later. Where not, Airflow's retries would only repeat the failure.
    may_pass = True

    def __init__(self, message: str, *, request_id: str | None = None, status_code: int | None = None) -> None:
        message = printable(message, _LONGEST)
        super().__init__(message)
        self.message = message
        self.request_id = request_id
        self.status_code = status_code

    def __str__(self) -> str:
        """Name the request_id even where the message does not."""
        if self.request_id and (shown := printable(self.request_id)) not in self.message:
            return f"{self.message} (request_id: {shown})"
        return self.message


class FalInvokeConfigError(FalInvokeError):
    """The connection lacks something, or a field of it cannot be right."""

    may_pass = False


class FalInvokeInputError(FalInvokeError, ValueError):
    """The request is wrong; nothing was sent."""

    may_pass = False


class FalInvokeAPIError(FalInvokeError):
    """The API refused a request and did nothing; a job that the request asked for goes on, and is paid."""

    may_pass = False


class FalInvokeAuthError(FalInvokeAPIError):
    """401 or 403: the API does not take this key."""


class FalInvokeNotFoundError(FalInvokeAPIError):
    """404: the API does not know this request_id, model or path."""


class FalInvokeRateLimitError(FalInvokeAPIError):
    """429 for longer than the caller would wait."""

    may_pass = True


class FalInvokeUnreachableError(FalInvokeError):
    """No usable answer came: the network, a 5xx, or a body that cannot be read."""


class FalInvokeReplyTooLargeError(FalInvokeUnreachableError):
    """The answer is larger than the connection's ``max_reply_size``; the job is there to be collected once that is."""

    may_pass = False


class FalInvokeAmbiguousSubmitError(FalInvokeError):
    """A submit that may have been accepted, and paid, though no request_id came back.

    Submitting again may pay twice, so nothing in this package does it by itself.
    """

    may_pass = False


class FalInvokeJobFailedError(FalInvokeError):
    """The API says that the job FAILED."""


class FalInvokeJobRefusedError(FalInvokeJobFailedError):
    """The job FAILED for a reason that the same request will meet again: a wrong field, or refused content."""

    may_pass = False


class FalInvokeTimeoutError(FalInvokeError, TimeoutError):
    """The deadline passed while the job was still pending; it goes on, and it is paid."""


class FalInvokeMediaError(FalInvokeError):
    """The job is done and paid, but its files could not be brought home."""


class FalInvokeMediaGoneError(FalInvokeMediaError):
    """The job is done and paid, but the hosts of its files do not have them any more, or its output names none.

    A retry asks the API for new URLs; a task that is cleared submits a new job.
    """


class FalInvokeFlaggedError(FalInvokeError):
    """The job is done and paid, but the model's safety checker flagged files of it, and ``on_flagged`` is ``fail``."""

    may_pass = False


class FalInvokeBatchError(FalInvokeError):
    """Some items of a batch are not home; the others are. The manifest says which and why."""


_BY_NAME: dict[str, type[FalInvokeError]] = {
    cls.__name__: cls
    for cls in (
        FalInvokeError,
        FalInvokeConfigError,
        FalInvokeInputError,
        FalInvokeAPIError,
        FalInvokeAuthError,
        FalInvokeNotFoundError,
        FalInvokeRateLimitError,
        FalInvokeUnreachableError,
        FalInvokeReplyTooLargeError,
        FalInvokeAmbiguousSubmitError,
        FalInvokeJobFailedError,
        FalInvokeJobRefusedError,
        FalInvokeTimeoutError,
        FalInvokeMediaError,
        FalInvokeMediaGoneError,
        FalInvokeBatchError,
        FalInvokeFlaggedError,
    )
}


#: So many characters of a message travel: an event lies in Airflow's database, and a foreign text may have megabytes.
LONGEST_MESSAGE = 4_000


def to_dict(error: FalInvokeError) -> dict[str, Any]:
    """Return ``error`` as a plain dict, so that it can travel from the triggerer to the worker."""
    return {
        "type": type(error).__name__,
        "message": error.message[:LONGEST_MESSAGE],
        "request_id": error.request_id,
        "status_code": error.status_code,
    }


def from_dict(data: dict[str, Any]) -> FalInvokeError:
    """Return the error that :func:`to_dict` wrote; one of an unknown type is a plain :class:`FalInvokeError`."""
    cls = _BY_NAME.get(str(data.get("type")), FalInvokeError)
    return cls(
        str(data.get("message") or "the trigger reported an error without a message"),
        request_id=data.get("request_id"),
        status_code=data.get("status_code"),
    )
