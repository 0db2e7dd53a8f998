"""What a fault does to a reply or to an invocation. Pure: values in, values out."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_falinvoke.emulator.faults import FAILURES, Fault
from airflow_provider_falinvoke.emulator.jobs import Failure
from airflow_provider_falinvoke.emulator.replies import Reply, error_body

_HTML = "<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
_BAD_GATEWAY = 502

# What the API says for each status, so far as its error ids are known.
_ERRORS: Mapping[int, tuple[str, str]] = {
    400: ("bad_request", "The request is malformed."),
    401: ("unauthorized", "Unable to authenticate you."),
    403: ("forbidden", "You are not authorized to perform this operation."),
    404: ("not_found", "The resource you requested could not be found."),
    410: ("gone", "The resource you requested has expired."),
    413: ("payload_too_large", "The request body is too large."),
    422: ("unprocessable_entity", "The request could not be processed."),
    429: ("too_many_requests", "API Rate limit exceeded."),
    500: ("server_error", "An unexpected server error occurred."),
    502: ("bad_gateway", "The upstream server gave no valid answer."),
    503: ("service_unavailable", "The service is temporarily unavailable."),
    504: ("gateway_timeout", "The upstream server did not answer in time."),
}


def intercepted(fault: Fault, elsewhere: str) -> Reply:
    """Return the reply that a fault gives in place of the real one.

    :param elsewhere: the URL on another host that a redirect points to unless the fault names one.
    """
    if fault.kind == "drop":
        return Reply(500, delivery="reset" if fault.value == "reset" else "drop")
    if fault.kind == "redirect":
        return with_headers(Reply(fault.status or 302, {"location": fault.value or elsewhere}), fault.headers)
    status, content_type, body = _content(fault)
    headers = {"content-type": content_type}
    if fault.kind == "answer" and fault.seconds is not None:
        headers["retry-after"] = f"{fault.seconds:g}"
    # HTTP allows these no body, and the server would refuse to send one.
    return with_headers(Reply(status, headers, b"" if status in (204, 304) else body.encode()), fault.headers)


def _content(fault: Fault) -> tuple[int, str, str]:
    if fault.kind == "html":
        status = fault.status or 200
        title = "502 Bad Gateway" if status == _BAD_GATEWAY else "Please wait ..."
        page = _HTML.format(title=title) if fault.body is None else _text(fault.body)
        return status, "text/html; charset=utf-8", page
    if fault.kind == "text":
        words = "upstream error" if fault.body is None else _text(fault.body)
        return fault.status or _BAD_GATEWAY, "text/plain; charset=utf-8", words
    status = fault.status or 500
    if isinstance(fault.body, str):
        return status, "text/plain; charset=utf-8", fault.body
    known = _ERRORS.get(status, (f"http_{status}", "A fault of the emulator."))
    return status, "application/json", json.dumps(error_body(*known) if fault.body is None else fault.body)


def _text(body: Any) -> str:
    return body if isinstance(body, str) else json.dumps(body)


def with_headers(reply: Reply, headers: Mapping[str, str | None] | None) -> Reply:
    """Return a reply with headers replaced, or left out where the value is None."""
    changed = {**reply.headers, **{name.lower(): value for name, value in (headers or {}).items()}}
    return replace(reply, headers={name: value for name, value in changed.items() if value is not None})


def delivered(fault: Fault, reply: Reply) -> Reply:
    """Return the real reply, to be delivered as badly as the fault says."""
    seconds = fault.seconds or 0.0
    changed = with_headers(reply, fault.headers)
    if fault.kind == "cut":
        return replace(changed, delivery="cut")
    if fault.kind == "slow":
        return replace(changed, wait_first=seconds)
    return replace(changed, wait_between=seconds)


def failure(fault: Fault) -> Failure:
    """Return how a job ends that a fault lets fail."""
    return Failure(FAILURES[fault.value or "string"] if fault.body is None else fault.body)


def reshaped(fault: Fault, invocation: dict[str, Any]) -> dict[str, Any]:
    """Return an invocation as the fault shows it; an equal one if the fault finds nothing to change."""
    change = _CHANGES.get(fault.kind)
    return change(fault.value, invocation) if change else invocation


def _unknown_status(word: Any, invocation: dict[str, Any]) -> dict[str, Any]:
    if "status" not in invocation:
        return invocation
    # Only the status is unknown: the result must stay hidden, or the client could take it from the output.
    hidden = dict.fromkeys(invocation.keys() & {"completed_at", "output", "error"})
    return {**invocation, **hidden, "status": word or "WARMING_UP"}


def _spelling(value: Any, invocation: dict[str, Any]) -> dict[str, Any]:
    words = value if isinstance(value, Mapping) else {"COMPLETED": value}
    return {key: words.get(shown, shown) if key == "status" else shown for key, shown in invocation.items()}


def _omit(keys: Any, invocation: dict[str, Any]) -> dict[str, Any]:
    omitted = [keys] if isinstance(keys, str) else keys
    return {key: value for key, value in invocation.items() if key not in omitted}


def _no_envelope(_value: Any, invocation: dict[str, Any]) -> dict[str, Any]:
    return invocation.get("output") or invocation


_CHANGES: Mapping[str, Callable[[Any, dict[str, Any]], dict[str, Any]]] = {
    "unknown_status": _unknown_status,
    "spelling": _spelling,
    "rename": lambda names, invocation: {names.get(key, key): value for key, value in invocation.items()},
    "omit": _omit,
    "merge": lambda value, invocation: {**invocation, **value},
    "no_envelope": _no_envelope,
}
