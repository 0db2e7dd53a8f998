"""What Airflow can carry: one rule for what users send, for what the API replies, and for what is handed over. Pure.

Airflow moves results, events and arguments through msgpack, JSON columns (PostgreSQL: JSONB) and a serialisation of
its own. msgpack takes no integer beyond 64 bits, and JSONB makes such an integer of a large float. Neither takes half a
surrogate pair; JSONB takes no U+0000 and no NaN. The serialisation refuses some keys that begin with two underscores,
and makes an object of a dict that has others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, TypeVar

#: The least and the largest number; msgpack's integers end there.
LEAST, MOST = -(2**63), 2**64 - 1
#: How many lists and dicts may stand in one another: far from where Airflow's encoders, and Python itself, give up.
DEEPEST = 100
#: So many more are ours: a model's output in an invocation, in an event, and so on.
_AROUND = 20
#: Stands for what is nested so deeply that Python cannot even write its JSON.
TOO_DEEP = "(nested too deeply)"

#: So many names, of so many characters, say where a value stands.
_MOST_NAMES, _LONGEST_NAME = 8, 40
_UNFIT = re.compile("[\0\ud800-\udfff]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
#: What holds no other values; asked for first, because a reply may have a million.
_PLAIN = (str, int, float, type(None))
T = TypeVar("T")
#: Where a list or dict stands: where the one around it does, and the place in that.
_Path = tuple[Any, ...]
#: Says what becomes of an item, of the path that it stands in, and its place there.
_Rule = Callable[[Any, _Path, Any], Any]


class NotPortableError(ValueError):
    """A value that cannot be sent; the message names it."""


def carried(value: Any) -> Any:
    """Return foreign data as plain data that Airflow can carry; it never raises.

    A number out of range becomes its text, U+0000 and half a surrogate pair become U+FFFD, and a list or dict that is
    more than a hundred levels deep becomes its JSON. A key that begins with two or more underscores gets one more, so
    that none is one of Airflow's own; taking one away from each that begins with three gives the keys as they were.

    :param value: what a reply held, as ``json.loads`` read it.
    """
    return _rebuilt(value, key=_escaped, leaf=_plain, deep=_json)


def for_airflow(value: T) -> T:
    """Return what is about to be handed to Airflow, as it can carry it; it never raises, and twice does no more.

    As :func:`carried`, but for keys that it has escaped already: everything goes through here at last, whether it comes
    from a reply, from a parameter, or from the text of an error.
    """
    fit: T = _rebuilt(value, key=_unreserved, leaf=_plain, deep=_json, deepest=DEEPEST + _AROUND)
    return fit


def sendable(value: Any) -> tuple[Any, list[str]]:
    """Return a part of a request without the characters that Airflow cannot carry, and where they were removed.

    :param value: JSON, or what will be made JSON.
    :raises NotPortableError: a number is out of range, or a list or dict more than a hundred levels deep.
    """
    removed: list[str] = []

    def text(text: str, path: _Path, place: Any) -> str:
        if not _UNFIT.search(text):
            return text
        removed.append(".".join(_names(path, place)))
        return _fit(text, "")

    def leaf(item: Any, path: _Path, place: Any) -> Any:
        if isinstance(item, str):
            return text(item, path, place)
        if isinstance(item, (int, float)) and not LEAST <= item <= MOST:
            raise NotPortableError(
                f"{'.'.join(_names(path, place))}: a number must lie between {LEAST} and {MOST}, or Airflow cannot "
                f"carry it (got {_number(item)[:80]})"
            )
        return item

    def key(key: Any, path: _Path, place: Any) -> Any:
        return text(key, (path, place), key) if isinstance(key, str) else key

    def deep(_: Any, path: _Path, place: Any) -> Any:
        raise NotPortableError(f"{_names(path, place)[0]}: it is nested more than {DEEPEST} levels deep")

    return _rebuilt(value, key=key, leaf=leaf, deep=deep), removed


def _rebuilt(value: Any, *, key: _Rule, leaf: _Rule, deep: _Rule, deepest: int = DEEPEST) -> Any:
    """Return a copy of ``value``; not by recursion, which a deep one would end."""
    top = [value]
    waiting: list[tuple[Any, int, _Path]] = [(top, 0, ())]
    while waiting:
        node, depth, path = waiting.pop()
        for place, item in node.items() if isinstance(node, dict) else enumerate(node):
            copy: Any = item if isinstance(item, _PLAIN) else _container(item)
            if copy is None or isinstance(copy, _PLAIN):
                node[place] = leaf(item, path, place)
            elif depth == deepest:
                node[place] = deep(copy, path, place)
            else:
                here = (path, place)
                if isinstance(copy, dict):
                    copy = {key(k, *here): v for k, v in copy.items()}
                node[place] = copy
                waiting.append((copy, depth + 1, here))
    return top[0]


def _container(item: Any) -> dict[Any, Any] | list[Any] | None:
    """Return what holds other values as a dict or a list of its own, whatever its type; None for anything else.

    A list of Airflow's is a LazyXComSequence where the tasks of a mapped one returned its items.
    """
    if isinstance(item, (dict, list, tuple)):
        return item if isinstance(item, dict) else list(item)
    if isinstance(item, Mapping):
        return dict(item)
    if isinstance(item, Set):  # in an order that the next process has too
        return sorted(item, key=_order)
    return list(item) if isinstance(item, Sequence) and not isinstance(item, (bytes, bytearray, memoryview)) else None


def _order(item: Any) -> str:
    """Return what a set's items are sorted by: alike in each process, whatever sets are in them."""
    if isinstance(item, Set):
        return f"({', '.join(sorted(map(_order, item)))})"
    return f"({', '.join(map(_order, item))})" if isinstance(item, tuple) else repr(item)


def _plain(item: Any, _: _Path, __: Any) -> Any:
    if item is None or isinstance(item, bool):
        return item
    if isinstance(item, (int, float)):
        return item if LEAST <= item <= MOST else _number(item)
    return _fit(item)


def _fit(item: Any, instead: str = "\ufffd") -> str:
    text = item if isinstance(item, str) else str(item)
    if not _UNFIT.search(text):
        return text
    # JSON's reader joins the halves of a pair that stand side by side; the codecs would take a microsecond for each.
    whole: str = json.loads(json.dumps(text)) if _PAIR.search(text) else text
    return _UNFIT.sub(instead, whole)


def _number(number: float) -> str:
    try:
        return json.dumps(number)
    except ValueError:  # Python writes no integer of more than 4,300 digits in tens
        return hex(int(number))


def _json(value: Any, _: _Path, __: Any) -> str:
    try:
        return json.dumps(value)
    except (ValueError, RecursionError):
        return TOO_DEEP


def _escaped(key: Any, _: _Path, __: Any) -> str:
    fit = _fit(key)
    return f"_{fit}" if fit.startswith("__") else fit


def _unreserved(key: Any, path: _Path, place: Any) -> str:
    return _fit(key) if str(key).startswith("___") else _escaped(key, path, place)


def _names(path: _Path, place: Any) -> list[str]:
    """Return the first names of where an item stands, from the outermost on."""
    names = [place]
    while path:
        path, place = path
        names.append(place)
    return [_fit(name)[:_LONGEST_NAME] for name in reversed(names[:-1])][:_MOST_NAMES] or ["value"]
