"""Find the files in an output, whatever its shape. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_falinvoke.api.replies import MEDIA_KEYS

_URL = re.compile(r"\s*(https?://|data:)", re.IGNORECASE)
#: A prompt that an output repeats may begin with "data:" too; a URI has a blank only after a semicolon.
_DATA_URI = re.compile(r"\s*data:([^\s,;]*)[^\s,]*(?:;\s+[^\s,]*)?,", re.IGNORECASE)
#: No text goes on for so many characters without a blank or a full stop: that is base64, whatever key it stands under.
_ENCODED = 4096
_RUN = re.compile(r"[\w+/=\r\n-]+", re.ASCII)
#: What is nested deeper than any known shape is no file, and too deep for Python's stack at some point.
_DEPTH = 50


@dataclass(frozen=True)
class Media:
    """One file of an output.

    :param url: an ``https:`` URL, or a ``data:`` URI with the file in it.
    :param content_type: what the output says that it is, if it says so.
    :param flagged: whether the model's safety checker flagged it; None where the output does not say.
    """

    url: str
    content_type: str | None = None
    flagged: bool | None = None

    @property
    def inline(self) -> bool:
        """Whether the file itself is in the URL."""
        return self.url[:5].lower() == "data:"

    @property
    def source(self) -> str:
        """The URL as it may be shown: a signed URL's query is a credential, an inline file too long."""
        return "inline" if self.inline else re.split("[?#]", self.url, maxsplit=1)[0]


def find_media(output: Any) -> list[Media]:
    """Return the files that an output names, in order and each once, whatever its shape.

    Shapes: ``images: [{url}]``, ``audio: {url}``, ``audio_file``, ``video``, plain strings for the objects,
    ``audio_url`` and its like, ``b64_json``, ``data:`` URIs, or a URL alone. ``has_nsfw_concepts`` beside them, in the
    same order, says which are flagged.
    """
    found: dict[str, Media] = {}
    for media in _walk(output, None, None, _DEPTH):
        before = found.setdefault(media.url, media)
        if media.flagged and not before.flagged:
            found[media.url] = replace(before, flagged=True)
    return list(found.values())


def _walk(node: Any, content_type: str | None, flagged: bool | None, depth: int) -> Iterator[Media]:
    if isinstance(node, str):
        if _URL.match(node):
            yield Media(node.strip(), content_type, flagged)
    elif isinstance(node, list) and depth:
        for item in node:
            yield from _walk(item, None, flagged, depth - 1)
    elif isinstance(node, dict) and depth:
        kind = node.get("content_type") if isinstance(node.get("content_type"), str) else None
        if isinstance(encoded := node.get("b64_json"), str):
            prefix = "" if _URL.match(encoded) else f"data:{kind or 'application/octet-stream'};base64,"
            yield Media(prefix + encoded.strip(), kind, flagged)
        for key in MEDIA_KEYS:
            if key in node and key != "b64_json":
                value = node[key]
                for index, item in enumerate(value if isinstance(value, list) else [value]):
                    flag = _flag(node.get("has_nsfw_concepts"), index, flagged)
                    yield from _walk(item, None if isinstance(value, list) else kind, flag, depth - 1)


def _flag(flags: Any, index: int, otherwise: bool | None) -> bool | None:
    """Return what ``has_nsfw_concepts`` says of the file at ``index``."""
    if isinstance(flags, list):
        flags = flags[index] if index < len(flags) else None
    return flags if isinstance(flags, bool) else otherwise


def without_inline(value: Any, *, depth: int = _DEPTH) -> Any:
    """Return an output with each inline file replaced by a short note, so that it fits into XCom.

    :param depth: what is nested deeper is left out too.
    """
    if not depth and isinstance(value, (dict, list)):
        return "<nested too deeply>"
    if isinstance(value, dict):
        return {
            key: f"<inline, {len(item)} characters>"
            if key == "b64_json" and isinstance(item, str)
            else without_inline(item, depth=depth - 1)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [without_inline(item, depth=depth - 1) for item in value]
    if isinstance(value, str) and (uri := _DATA_URI.match(value)):
        return f"<inline {uri[1] or 'data'}, {len(value)} characters>"
    if isinstance(value, str) and any(len(run[0]) >= _ENCODED for run in _RUN.finditer(value)):
        return f"<inline data, {len(value)} characters>"
    return value


def flagged_numbers(found: Sequence[Media]) -> list[int]:
    """Return which files of an output are flagged, from 1."""
    return [number for number, media in enumerate(found, start=1) if media.flagged]
