"""From the bytes of a reply to the JSON in it, however damaged they are. Pure, never raises, linear in time.

The order of attempts; each gives objects, and the reader takes the first that holds what it looks for:

1. The whole text as JSON. It may be UTF-8, UTF-16 or UTF-32, with or without a byte order mark; bytes that are no
   character become U+FFFD. What Python's strict reader refuses is taken too: control characters in a string, integers
   of any length (beyond 4,300 digits their text). NaN and Infinity become their text, as other numbers that Airflow
   cannot carry do.
2. Server-sent events: the last ``data:`` that is JSON.
3. The first JSON in the text, whatever stands before and after it; but neither a part of JSON that breaks off, nor what
   a page holds (a proxy's script is no reply).

JSON of more than a million values is not read at all.

What was read may be wrapped: a list of one, JSON within a JSON string, an envelope such as ``{"data": {…}}``. The outer
object comes first, then what is in it.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from airflow_provider_falinvoke.api.portable import carried

MASK = "***"
#: Shorter keys (a test's) are words that a reply may well hold.
SHORTEST_KEY = 8
#: A value takes some hundred bytes, and a microsecond of the interpreter that an event loop shares: 64 MiB of them
#: would end the process that reads them. Word by word, the times of a day of speech are fewer.
MOST_VALUES = 1_000_000
#: So many places in a text may be the beginning of its JSON, and so many wrappers may be around an object.
_BEGINNINGS, _WRAPPERS = 8, 4
_ENVELOPES = ("data", "result", "response", "body")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BEGINNING = re.compile(r"[{\[]")
_WITHIN_STRING = re.compile(r"\s{0,20}[{\[\"]")
_EVENT_STREAM = re.compile(r"\s{0,20}(data|event|id|retry|):")
_LINE_END = re.compile(r"\r\n|\n|\r")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ID_NAME = re.compile(r"request[_-]?id", re.IGNORECASE)
#: An id in a text that is no JSON: quoted as JSON does, perhaps within a string, or a number; whole in any case.
_SHOWN_ID = re.compile(
    r"""request[_-]?id\\{0,4}["']?\s{0,20}[:=]\s{0,20}"""
    r"""(?:\\{0,4}["']([^"'\\\s]{1,1000})\\{0,4}["']|(\d{1,40})\s{0,20}[,}\]])""",
    re.IGNORECASE,
)


def text_of(body: bytes, key: str = "") -> str:
    """Return the text of a body, the key masked where it is written plainly."""
    encoding = json.detect_encoding(body)
    try:
        text = body.decode(encoding, "surrogatepass")
    except UnicodeDecodeError:
        text = body.decode("utf-16" if body.startswith(_UTF_16) else "utf-8", "replace")
    return masked(text.removeprefix("\ufeff"), key)


def objects_in(body: bytes, key: str = "") -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a body in the order of the attempts, as data that Airflow can carry.

    :param key: what is masked in all their strings, however the API wrote it.
    """
    text = text_of(body, key)
    for tree in _trees(text):
        yield from _unwrapped(_own(tree, text, key), key)


def document_in(body: bytes, key: str = "") -> Any:
    """Return the first JSON of a body, but for the key and what Airflow cannot carry; None where there is none."""
    text = text_of(body, key)
    return _own(next(_trees(text), None), text, key)


def ids_in(body: bytes, key: str = "") -> set[str]:
    """Return the request_ids that a body shows, JSON or not; one that is cut off is none, nor is one in a page.

    In JSON they are values of that name, wherever they stand: the text of a value may be anything, a prompt's too.
    """
    objects = list(objects_in(body, key))
    text = text_of(body, key)
    if (named := set().union(*map(_ids_within, objects))) or (objects and _is_whole(text)):
        return named
    found = () if is_page(text) else itertools.islice(_SHOWN_ID.finditer(text), 100)
    return {quoted or number for quoted, number in (match.groups() for match in found)}


def _ids_within(tree: Any) -> set[str]:
    """Return the ids in JSON that stand nearest to its beginning, but for those of the input that it repeats."""
    level = [tree]
    while level:
        pairs = [pair for node in level if isinstance(node, dict) for pair in node.items()]
        if found := {str(value) for name, value in pairs if _ID_NAME.fullmatch(name) and _may_be_id(value)}:
            return found
        items = [item for node in level if isinstance(node, list) for item in node]
        level = [value for name, value in pairs if name != "input"] + items
    return set()


def _may_be_id(value: object) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def is_page(text: str) -> bool:
    """Whether it is HTML or XML."""
    return text[:100].lstrip().startswith("<")


def masked(text: str, key: str) -> str:
    """Return a text with ``***`` for the key."""
    return text.replace(key, MASK) if len(key) >= SHORTEST_KEY else text


def unescaped(text: str) -> str:
    r"""Return a piece of JSON's text with its escapes resolved, such as ``\/`` and ``\u002d``."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else match[2], text)


def _integer(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return digits


_DECODER = json.JSONDecoder(strict=False, parse_int=_integer, parse_constant=str)


def _trees(text: str) -> Iterator[Any]:
    if sum(map(text.count, ",[{")) > MOST_VALUES:
        return
    try:
        yield _DECODER.decode(text)
        return
    except (ValueError, RecursionError):
        pass
    are_events = False
    for event in itertools.islice(reversed(_events(text)), _BEGINNINGS):
        with contextlib.suppress(ValueError, RecursionError):
            yield _DECODER.decode(event)
            are_events = True
    read_to = len(text) if are_events or is_page(text) else 0
    for match in itertools.islice(_BEGINNING.finditer(text), _BEGINNINGS):
        if match.start() < read_to:
            continue
        try:
            tree, read_to = _DECODER.raw_decode(text, match.start())
            yield tree
        except json.JSONDecodeError as error:
            if text[match.end() : error.pos].strip():
                return  # it is JSON that breaks off: what is whole in it would pass for all of it
        except (ValueError, RecursionError):
            return


def _is_whole(text: str) -> bool:
    """Whether a text is JSON and nothing else."""
    try:
        _DECODER.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _events(text: str) -> list[str]:
    """Return the data of server-sent events; nothing where the text is none of them."""
    if not _EVENT_STREAM.match(text):
        return []
    events, data = [], list[str]()
    for line in [*_LINE_END.split(text), ""]:
        if line.startswith("data:"):
            data.append(line.removeprefix("data:"))
        elif not line and data:
            events.append("\n".join(data))
            data = []
    return events


def _unwrapped(tree: Any, key: str) -> Iterator[dict[str, Any]]:
    for _ in range(_WRAPPERS):
        if isinstance(tree, dict):
            yield tree
            tree = next((tree[name] for name in _ENVELOPES if tree.get(name)), None)
        elif isinstance(tree, list) and len(tree) == 1:
            tree = tree[0]
        elif isinstance(tree, str) and _WITHIN_STRING.match(tree):
            try:
                tree = _own(_DECODER.decode(tree), tree, key)
            except (ValueError, RecursionError):
                return


def _own(tree: Any, text: str, key: str) -> Any:
    """Return what was read as data of our own: such that Airflow can carry it, and without the key."""
    data = carried(tree)
    return _masked_in(data, key) if len(key) >= SHORTEST_KEY and "\\" in text else data


def _masked_in(data: Any, key: str, depth: int = 200) -> Any:
    if isinstance(data, str):
        return masked(data, key)
    if not depth:  # deeper than what is carried ever is
        return None
    if isinstance(data, dict):
        return {masked(name, key): _masked_in(value, key, depth - 1) for name, value in data.items()}
    if isinstance(data, list):
        return [_masked_in(value, key, depth - 1) for value in data]
    return data
