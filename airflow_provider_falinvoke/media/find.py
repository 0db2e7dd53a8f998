"""Find the files in an output, whatever its shape. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_falinvoke.api.printable import printable

_URL = re.compile(r"\s*(https?://|data:)", re.IGNORECASE)
#: What stands before the comma of a ``data:`` URI is short: a longer text has none there, and is not searched for one.
_HEADER = 256
#: A prompt that an output repeats may begin with "data:" too; a URI has a blank only after a semicolon.
_DATA_HEADER = re.compile(r"([^\s,;]*)[^\s,]*(?:;\s+[^\s,]*)?,")
#: No text goes on for so many characters without a blank or a full stop: that is base64, whatever key it stands under.
_ENCODED = 4096
_RUN = re.compile(r"[\w+/=\r\n-]+", re.ASCII)
#: What is nested deeper than any known shape is no file, and too deep for Python's stack at some point.
_DEPTH = 50
#: A key with one of these words names files: ``images``, ``audio_url``, ``mask_image``, ``audioFiles``, ``model_glb``.
_NOUNS = frozenset(
    ["image", "images", "audio", "audios", "video", "videos", "file", "files", "download", "glb", "mesh"]
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
#: These say nothing of what they hold: it is what it would be in their place.
_WRAPPERS = frozenset(["url", "urls", "data", "output", "outputs", "result", "results"])
#: With one of these, an object that has a ``url`` is fal's File, under whatever key.
_FILE_KEYS = frozenset(("content_type", "file_name", "file_size"))
_FLAGS = "has_nsfw_concepts"
_YES = frozenset(["true", "yes", "y", "t", "1", "on", "nsfw", "unsafe", "flagged"])
_NO = frozenset(("false", "no", "n", "f", "0", "off", "safe", "sfw", "none", "null", ""))


@dataclass(frozen=True)
class Media:
    """One file of an output.

    :param url: an ``https:`` URL, or a ``data:`` URI with the file in it.
    :param content_type: what the output says that it is, if it says so.
    :param flagged: whether the model's safety checker flagged it; None where the output does not say.
    :param unreadable: whether the output says something of that which cannot be read.
    :param where: its place in the output, such as ``images[0].url``.
    """

    url: str
    content_type: str | None = None
    flagged: bool | None = None
    unreadable: bool = False
    where: str = field(default="", compare=False)

    @property
    def inline(self) -> bool:
        """Whether the file itself is in the URL."""
        return self.url[:5].lower() == "data:"

    @property
    def source(self) -> str:
        """The URL as it may be shown: a signed URL's query is a credential, an inline file too long."""
        return "inline" if self.inline else re.split("[?#]", self.url, maxsplit=1)[0]

    @property
    def suspect(self) -> bool:
        """Whether it is flagged, or may be: a flag that cannot be read counts as one."""
        return bool(self.flagged) or self.unreadable


@dataclass(frozen=True)
class Contents:
    """What an output holds.

    :param files: its files, in order and each once.
    :param others: what else may be a file and does not have the shape of one, each with its place and the reason.
    """

    files: list[Media]
    others: list[str]


def contents_of(output: Any) -> Contents:
    """Return the files that an output names, whatever its shape, and what it is not taken for one.

    Files are: an object with a ``url`` and a ``content_type``, ``file_name`` or ``file_size`` (fal's File) under
    whatever key; a URL, or an object with one, under a key that names files, such as ``images`` or ``audio_url``, or
    that only wraps them, such as ``result``; any ``b64_json``; a URL alone. ``has_nsfw_concepts`` above them, in the
    same order, says which are flagged.
    """
    found: dict[str, Media] = {}
    others: list[tuple[str | None, str]] = []
    for one in _walk(output, _At("", True, None, None), _DEPTH):
        if isinstance(one, Media):
            before = found.setdefault(one.url, one)
            if one.suspect and not before.flagged:
                found[one.url] = replace(before, flagged=one.flagged, unreadable=one.unreadable)
        else:
            others.append(one)
    return Contents(list(found.values()), [words for url, words in others if url not in found])


def find_media(output: Any) -> list[Media]:
    """Return the files that an output names; see :func:`contents_of`."""
    return contents_of(output).files


@dataclass(frozen=True)
class _At:
    """A place in an output, and what stands above it.

    :param named: whether what stands here would be a file.
    :param kind: what the object around it says that it is.
    :param flags: what is said of its safety, as it came.
    """

    where: str
    named: bool
    kind: str | None
    flags: Any


def _walk(node: Any, at: _At, depth: int) -> Iterator[Media | tuple[str | None, str]]:
    """Yield each file, and for what may be one and is none its URL, if any, and the words for it."""
    if isinstance(node, str):
        yield from _read_text(node, at)
    elif isinstance(node, list) and depth:
        for index, item in enumerate(node):
            below = _At(f"{at.where}[{index}]", at.named, None, _flags_at(at.flags, index))
            yield from _walk(item, below, depth - 1)
    elif isinstance(node, dict) and depth:
        kind = node.get("content_type") if isinstance(node.get("content_type"), str) else None
        flags = node.get(_FLAGS, at.flags)
        is_file = not _FILE_KEYS.isdisjoint(node)
        for key, value in node.items():
            where = f"{at.where}.{printable(key, 80)}".removeprefix(".")
            if key == "b64_json" and isinstance(value, str):
                if not value.strip():  # some fill in what they do not give, beside a URL
                    continue
                prefix = "" if _URL.match(value) else f"data:{kind or 'application/octet-stream'};base64,"
                yield _file(prefix + value.strip(), _At(where, True, kind, flags))
            else:
                named = (at.named or (is_file and key == "url")) if key in _WRAPPERS else _names_files(key)
                alone = None if isinstance(value, list) else kind
                yield from _walk(value, _At(where, named, alone, flags), depth - 1)


def _read_text(text: str, at: _At) -> Iterator[Media | tuple[str | None, str]]:
    if at.named and _URL.match(text):
        yield _file(text.strip(), at)
    elif (note := _inline_note(text)) is not None:
        yield text.strip(), f"{at.where} ({note})"
    elif _URL.match(text) and len(text.split(maxsplit=1)) == 1 and not text.lstrip().lower().startswith("data:"):
        yield text.strip(), f"{at.where} (a URL, and not in the shape of a file)"


def _file(url: str, at: _At) -> Media:
    flagged, unreadable = read_flag(at.flags)
    return Media(url, at.kind, flagged, unreadable, at.where)


def _names_files(key: str) -> bool:
    return key not in _FILE_KEYS and any(word.lower() in _NOUNS for word in _WORD.findall(key))


def _flags_at(flags: Any, index: int) -> Any:
    if not isinstance(flags, list):
        return flags
    return flags[index] if index < len(flags) else None


def read_flag(value: Any, *, depth: int = _DEPTH) -> tuple[bool | None, bool]:
    """Return what an output says of a file's safety, in whatever spelling: flagged or not, and if it is unreadable.

    :return: whether it is flagged, None where that is not said; whether something is said that cannot be read.
    """
    if value is None:
        return None, False
    if isinstance(value, (list, dict)):
        return _worst(read_flag(one, depth=depth - 1) for one in _items(value)) if depth else (None, True)
    word = value.strip().lower() if isinstance(value, str) else {True: "yes", False: "no"}.get(value, "a score")
    return (True, False) if word in _YES else (False, False) if word in _NO else (None, True)


def _items(value: list[Any] | dict[str, Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _worst(readings: Iterable[tuple[bool | None, bool]]) -> tuple[bool | None, bool]:
    flags, unreadable = zip(*readings, strict=True) if (readings := list(readings)) else ((), ())
    if True in flags:
        return True, False
    if any(unreadable):
        return None, True
    return (False if False in flags else None), False


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
    if isinstance(value, str) and (note := _inline_note(value)) is not None:
        return f"<{note}>"
    return value


def _inline_note(text: str) -> str | None:
    """Return what to say in place of an inline file; None for any other text."""
    if (kind := _data_type(text)) is not None:
        return f"inline {kind or 'data'}, {len(text)} characters"
    if len(text) >= _ENCODED and any(len(run[0]) >= _ENCODED for run in _RUN.finditer(text)):
        return f"inline data, {len(text)} characters"
    return None


def _data_type(text: str) -> str | None:
    """Return the content type that a ``data:`` URI names, perhaps an empty one; None for any other text."""
    uri = text.lstrip()
    if uri[:5].lower() != "data:":
        return None
    header = _DATA_HEADER.match(uri[5 : 5 + _HEADER])
    return header[1] if header else None


def flagged_numbers(found: Sequence[Media]) -> list[int]:
    """Return which files of an output are flagged, from 1; a flag that cannot be read counts as one."""
    return [number for number, media in enumerate(found, start=1) if media.suspect]
