"""Lenient reading of what the API answers: every spelling seen in the wild becomes one plain model.

Pure: bytes in, models or ``None`` out. ``None`` always means "cannot be read", never "nothing there".
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Any

from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus

_STATUSES = {
    InvocationStatus.QUEUED: ("QUEUED", "IN_QUEUE", "PENDING"),
    InvocationStatus.IN_PROGRESS: ("IN_PROGRESS", "PROCESSING", "RUNNING"),
    InvocationStatus.COMPLETED: ("COMPLETED", "COMPLETE", "SUCCEEDED", "SUCCESS"),
    InvocationStatus.FAILED: ("FAILED", "ERROR", "CANCELLED", "CANCELED"),
}
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
_EXCERPT = 200
#: fal reports refused content as content_policy_violation; the other words are guarded spellings of the same.
_REFUSED_CONTENT = re.compile(r"content[_ -]?policy|moderation|safety (system|filter)|nsfw", re.IGNORECASE)
#: The types of fal's (that is, pydantic's) validation errors, and of refused content.
_REFUSED_TYPE = re.compile(
    r"^(missing|value_error.*|type_error.*|literal_error|enum|extra_forbidden|content_policy.*)$"
    r"|_(type|parsing)$|^(greater|less)_than|_too_(short|long|small|large)$"
)
#: An escaped U+0000: after an even number of backslashes, each pair of which is one of the text's own.
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
#: An id up to its last quote: one that was cut off would be another job's, or nobody's.
_WHOLE_ID = re.compile(rb'"request_id"\s{0,9}:\s{0,9}"([A-Za-z0-9_.:-]{1,1000})"')
#: No more of a page is read than may hold its first words: taking tags out of megabytes would hold up the event loop.
_PAGE = 8_000
#: An error nested deeper than this is written as its JSON.
_DEPTH = 20


def read_status(word: object) -> InvocationStatus:
    """Return the state that ``word`` names, in any case; UNKNOWN for a word that nobody has seen."""
    return _BY_SPELLING.get(re.sub(r"[\s-]+", "_", str(word).strip()).upper(), InvocationStatus.UNKNOWN)


def read_invocation(body: bytes, *, request_id: str | None = None) -> Invocation | None:
    """Return the invocation that ``body`` holds, or None if it holds none that can be read.

    :param body: the reply's body.
    :param request_id: the id that was asked for; some replies leave it out.
    """
    data = _json_object(body)
    if data is None:
        return None
    word = data.get("status") or data.get("state")
    output, error = data.get("output"), data.get("error")
    if isinstance(word, str) and word.strip():
        status = read_status(word)
    elif output is not None or not data.keys().isdisjoint(MEDIA_KEYS):
        status = InvocationStatus.COMPLETED
    elif error:
        status = InvocationStatus.FAILED
    elif "request_id" in data or "id" in data:
        status = InvocationStatus.UNKNOWN
    else:
        return None
    if status is InvocationStatus.COMPLETED and output is None and not data.keys().isdisjoint(MEDIA_KEYS):
        output = data  # the result itself, without its envelope
    # What was asked for is certain; a bare "id" may be something else.
    own_id = data.get("request_id") or request_id or (data.get("id") if output is not data else None)
    return Invocation(
        request_id=str(own_id) if own_id else None,
        status=status,
        raw_status=word if isinstance(word, str) else None,
        model_id=_text(data.get("model_id")),
        created_at=read_time(data.get("created_at")),
        started_at=read_time(data.get("started_at")),
        completed_at=read_time(data.get("completed_at")),
        output=output,
        error=read_error(error) if error else None,
        refused=is_refusal(error),
    )


def read_cut(body: bytes) -> Invocation | None:
    """Return the job that the beginning of a body names, or None if it names none, or several."""
    ids = set(_WHOLE_ID.findall(body))
    if len(ids) != 1:
        return None
    return Invocation(request_id=ids.pop().decode(), status=InvocationStatus.UNKNOWN)


def read_model_ids(body: bytes) -> list[str] | None:
    """Return the ids in the answer of ``GET /v1/models``, or None if it cannot be read."""
    data = _json_object(body)
    items = data.get("data") if data is not None else None
    if not isinstance(items, list):
        return None
    return [str(item["id"]) for item in items if isinstance(item, dict) and "id" in item]


def read_error(error: object, *, depth: int = _DEPTH) -> str:
    """Return an invocation's ``error`` as one line: a string, an object with ``message``, fal's ``detail``."""
    if isinstance(error, str):
        return _one_line(error)
    if isinstance(error, list) and depth:
        return "; ".join(read_error(item, depth=depth - 1) for item in error)
    if isinstance(error, dict) and depth:
        if isinstance(error.get("loc"), list) and "msg" in error:
            return _one_line(f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}")
        for key in ("message", "detail", "error", "msg"):
            if error.get(key):
                return read_error(error[key], depth=depth - 1)
    try:
        return _one_line(json.dumps(error, default=str))
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


def read_error_body(body: bytes) -> str:
    """Return what the body of an error reply says, as one line: JSON, plain text, or the text of an HTML page."""
    data = _json_object(body)
    if data is not None:
        return read_error(data)
    text = body[:_PAGE].decode("utf-8", errors="replace")
    if "<html" in text[:500].lower() or "<!doctype" in text[:500].lower():
        text = "an HTML page: " + re.sub(r"<[^>]*>", " ", re.sub(r"(?is)<(script|style).*?</\1>", " ", text))
    return _one_line(text) or "an empty body"


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


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        # NaN and half a surrogate pair are no JSON that Airflow could pass on: one would end its whole triggerer. Nor
        # is U+0000, which PostgreSQL refuses: the result of a paid job would never get into XCom.
        data = json.loads(body, parse_constant=lambda _: None)
        if b"\\u" in body:
            text = json.dumps(data, ensure_ascii=False)
            data = json.loads(_NUL.sub(r"\1\\ufffd", text).encode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 1] + "…"
