"""Lenient reading of what the API answers: every spelling seen in the wild becomes one plain model.

Pure: bytes in, models or ``None`` out. ``None`` always means "cannot be read", never "nothing there". How JSON is found
in the bytes, damaged or wrapped, is the matter of ``reading.py``.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import unquote

from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus
from airflow_provider_falinvoke.api.printable import printable
from airflow_provider_falinvoke.api.reading import ids_in, masked, objects_in, text_of, unescaped

_STATUSES = {
    InvocationStatus.QUEUED: ("QUEUED", "IN_QUEUE", "PENDING"),
    InvocationStatus.IN_PROGRESS: ("IN_PROGRESS", "PROCESSING", "RUNNING"),
    InvocationStatus.COMPLETED: ("COMPLETED", "COMPLETE", "SUCCEEDED", "SUCCESS"),
    InvocationStatus.FAILED: ("FAILED", "ERROR", "CANCELLED", "CANCELED"),
}
#: A script or style of a page, up to its end or the page's; and a tag.
_CODE, _TAG = re.compile(r"(?is)<(script|style)\b.*?(</\1>|\Z)"), re.compile(r"<[^<>]*>")
_ENCODER = json.JSONEncoder(default=str)
_NOTHING: tuple[object, ...] = (None, {}, [], "")
_BY_SPELLING = {spelling: status for status, spellings in _STATUSES.items() for spelling in spellings}

#: Where results keep their files: as an object with a URL, a plain string, or a list of either.
MEDIA_KEYS = (
    "images",
    "image",
    "image_url",
    "audio",
    "audio_file",
    "audio_url",
    "video",
    "videos",
    "video_url",
    "url",
    "file_url",
    "download_url",
    "b64_json",
)
#: fal reports refused content as content_policy_violation; the other words are guarded spellings of the same.
_REFUSED_CONTENT = re.compile(r"content[_ -]?policy|moderation|safety (system|filter)|nsfw", re.IGNORECASE)
#: The types of fal's (that is, pydantic's) validation errors, and of refused content.
_REFUSED_TYPE = re.compile(
    r"^(missing|value_error.*|type_error.*|literal_error|enum|extra_forbidden|content_policy.*)$"
    r"|_(type|parsing)$|^(greater|less)_than|_too_(short|long|small|large)$"
)
#: The ``id`` of an error of the vendor's, such as ``too_many_requests``. A job's has digits in it.
_ERROR_ID = re.compile(r"[A-Za-z]{1,40}([_-][A-Za-z]{1,40}){0,9}")
_LOCATION = re.compile(r"/async-invoke/([^/?#\s]{1,4000})(?:/status)?/?(?:[?#]|$)")
#: The longest request_id, in characters: it has to fit into a path, percent-encoded.
LONGEST_ID = 1_000
#: No more of a page is read than may hold its first words: taking tags out of megabytes would hold up the event loop.
_PAGE = 8_000
#: An error nested deeper than this is written as its JSON; of a list so many items are said, and so long is the line.
_DEPTH, _ITEMS, _LONGEST_ERROR = 20, 20, 1_000
_EXCERPT = 200


def read_status(word: object) -> InvocationStatus:
    """Return the state that ``word`` names, in any case; UNKNOWN for a word that nobody has seen."""
    return _BY_SPELLING.get(re.sub(r"[\s-]+", "_", str(word).strip()).upper(), InvocationStatus.UNKNOWN)


def read_invocation(body: bytes, *, request_id: str | None = None, key: str = "") -> Invocation | None:
    """Return the invocation that ``body`` holds, or None if it holds none that can be read.

    :param body: the reply's body.
    :param request_id: the id that was asked for; some replies leave it out. A reply about another job has its own.
    :param key: what is masked.
    """
    found: Invocation | None = None
    for data in objects_in(body, key):
        invocation = _invocation(data, request_id)
        if invocation is not None and (found is None or "request_id" in data):
            found = invocation
            if "request_id" in data or invocation.status is not InvocationStatus.UNKNOWN:
                break
    return found


def _invocation(data: dict[str, Any], request_id: str | None) -> Invocation | None:
    word = data.get("status") or data.get("state")
    output, error = data.get("output"), data.get("error")
    is_bare = output is None and not data.keys().isdisjoint(MEDIA_KEYS)
    if isinstance(word, str) and word.strip():
        status = read_status(word)
    elif output is not None or is_bare:
        status = InvocationStatus.COMPLETED
    elif _is_error(data):
        return None
    elif error:
        status = InvocationStatus.FAILED
    elif "request_id" in data or "id" in data:
        status = InvocationStatus.UNKNOWN
    else:
        return None
    if status is InvocationStatus.COMPLETED and is_bare:
        output = data  # the result itself, without its envelope
    if status is InvocationStatus.COMPLETED and output in _NOTHING and error:
        status = InvocationStatus.FAILED
    own_id = _id(data.get("request_id"))
    if own_id is None or _is_same(own_id, request_id):
        # What was asked for is certain; a bare "id" may be something else.
        own_id = request_id or (_id(data.get("id")) if output is not data and not _is_error_id(data) else None)
    return Invocation(
        request_id=own_id,
        status=status,
        raw_status=printable(word, 60) if isinstance(word, str) else None,
        model_id=printable(data["model_id"]) if isinstance(data.get("model_id"), str) else None,
        created_at=read_time(data.get("created_at")),
        started_at=read_time(data.get("started_at")),
        completed_at=read_time(data.get("completed_at")),
        output=output,
        error=(read_error(error) or None) if error else None,
        refused=is_refusal(error),
    )


def read_submitted(body: bytes, headers: Mapping[str, str], key: str = "") -> tuple[Invocation | None, str]:
    """Return the job that a 2xx reply to a POST tells of, and where its id was found, "" where it is in its place.

    A job without an id is one that ended at once. None for a reply that shows no id, an error, or several ids.
    """
    invocation = read_invocation(body, key=key)
    if invocation is not None and (
        invocation.request_id or (invocation.status is InvocationStatus.COMPLETED and invocation.output is not None)
    ):
        return invocation, ""
    if any(_is_error(data) for data in objects_in(body, key)):
        return None, ""
    status = invocation.status if invocation is not None else InvocationStatus.UNKNOWN
    for where, ids in (("the Location header", _ids_of(headers, key)), ("the text of the reply", ids_in(body, key))):
        if len(ids) == 1 and (request_id := _id(*ids)) is not None:
            return Invocation(request_id=request_id, status=status), where
    return None, ""


def _ids_of(headers: Mapping[str, str], key: str) -> set[str]:
    found = _LOCATION.search(headers.get("location", ""))
    shown = unquote(found[1], errors="replace") if found else ""
    return {shown} if shown and masked(shown, key) == shown else set()  # the key is no job's id


def _id(value: object) -> str | None:
    """Return an id as text; None for what cannot be one: blanks, a list, a text without end."""
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    return text if text.strip() and len(text) <= LONGEST_ID else None


def _is_same(own_id: str, request_id: str | None) -> bool:
    return request_id is not None and own_id.strip().lower() == request_id.strip().lower()


def _is_error_id(data: dict[str, Any]) -> bool:
    message, code = data.get("message"), data.get("id")
    return isinstance(message, str) and isinstance(code, str) and _ERROR_ID.fullmatch(code) is not None


def _is_error(data: dict[str, Any]) -> bool:
    """Whether it is the vendor's error body, of which neither ``id`` nor ``request_id`` is a job's."""
    return _is_error_id(data) and data.keys().isdisjoint(("status", "state", "output", *MEDIA_KEYS))


def read_model_ids(body: bytes, key: str = "") -> list[str] | None:
    """Return the ids in the answer of ``GET /v1/models``, or None if it cannot be read."""
    for data in objects_in(body, key):
        if isinstance(items := data.get("data"), list):
            return [str(item["id"]) for item in items if isinstance(item, dict) and "id" in item]
    return None


def read_error(error: object) -> str:
    """Return an invocation's ``error`` as one line: a string, an object with ``message``, fal's ``detail``."""
    return printable(_error_text(error, _DEPTH), _LONGEST_ERROR)


def _error_text(error: object, depth: int) -> str:
    if isinstance(error, str):
        return printable(error)
    if isinstance(error, list) and depth:
        items = [_error_text(item, depth - 1) for item in error[:_ITEMS]]
        return "; ".join(items + (["…"] if len(error) > _ITEMS else []))
    if isinstance(error, dict) and depth:
        if isinstance(error.get("loc"), list) and "msg" in error:
            place = ".".join(_error_text(part, 0) for part in error["loc"][:_ITEMS])
            return printable(f"{place}: {_error_text(error['msg'], depth - 1)}")
        for key in ("message", "detail", "error", "msg"):
            if error.get(key):
                return _error_text(error[key], depth - 1)
    try:  # only as much of it as is shown
        return printable("".join(itertools.islice(_ENCODER.iterencode(error), _EXCERPT)))
    except RecursionError:
        return "an error that is nested too deeply to be read"


def is_refusal(error: object) -> bool:
    """Whether an invocation's ``error`` says that the same request will fail again: a wrong field, refused content.

    fal's ``detail`` list has passing failures too, so the items' ``type`` decides; a type of neither kind may pass.
    """
    if not error:
        return False
    detail = error.get("detail") if isinstance(error, dict) else None
    types = [str(item.get("type")) for item in detail if isinstance(item, dict)] if isinstance(detail, list) else []
    return any(_REFUSED_TYPE.search(kind) for kind in types) or _REFUSED_CONTENT.search(read_error(error)) is not None


def is_json(body: bytes) -> bool:
    """Whether a body has a JSON object in it, as each answer of the API has."""
    return next(objects_in(body), None) is not None


def read_error_body(body: bytes, key: str = "") -> str:
    """Return what the body of an error reply says, as one line: JSON, plain text, or the text of an HTML page."""
    if (data := next(objects_in(body, key), None)) is not None:
        return read_error(data) or "an error without words"
    text = text_of(body, key)[:_PAGE]
    if "\\" in text:  # a piece of JSON may write the key in its own way
        text = masked(unescaped(text), key)
    if "<html" in text[:500].lower() or "<!doctype" in text[:500].lower():
        text = "an HTML page: " + _TAG.sub(" ", _CODE.sub(" ", text))
    return printable(text) or "an empty body"


def read_time(value: object) -> datetime | None:
    """Return a timestamp of the API, which has nine digits of fraction; None where it cannot be read."""
    if not isinstance(value, str):
        return None
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|z|[+-]\d\d:?\d\d)?", value.strip())
    if match is None:
        return None
    seconds, fraction, zone = match.groups()
    micros = (fraction or "")[:6].ljust(6, "0")
    offset = "+00:00" if zone in (None, "Z", "z") else f"{zone[:3]}:{zone[-2:]}"
    try:
        # Not strptime, which takes as long as all the rest of a reply.
        return datetime.fromisoformat(f"{seconds}.{micros}{offset}").astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None
