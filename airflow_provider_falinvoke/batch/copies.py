"""What one process after the other wrote of the same hundred items, and what is to be believed of it. Pure.

Each process writes files of its own, which have its claim in their names, so that none writes over another's. What the
latest wrote counts; but who made a submit knows best what became of it, however late.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

from airflow_provider_falinvoke.batch.claims import CLAIM, UNCLAIMED, Claim
from airflow_provider_falinvoke.batch.phases import Asked, Item, Phase

#: Items in a file. One of 100 has some 30 kB; on S3 that takes as long to write as one of 1 kB.
CHUNK = 100
#: What became of the item's last submit is not known.
UNSETTLED = frozenset((Phase.INTENT, Phase.AMBIGUOUS))

_TIMES = ("intended_at", "submitted_at", "deadline", "ended_at", "reported_at")
_NAME = re.compile(rf"(items|rows)-(\d+)(?:\.({CLAIM}))?\.jsonl?")


class Copy(NamedTuple):
    """A file of a hundred items, or of what is told of them.

    :param number: which hundred.
    :param claim: of the process that wrote it.
    :param name: the file's.
    """

    number: int
    claim: Claim
    name: str


def chunks(items: int) -> int:
    """Return how many files so many items take."""
    return -(-items // CHUNK)


def items_name(number: int, claim: Claim) -> str:
    """Return the name of the file in which a process keeps the states of a hundred items."""
    return f"items-{number:04}.{claim}.json"


def rows_name(number: int, claim: Claim) -> str:
    """Return the name of the file in which a process keeps what is told of a hundred items."""
    return f"rows-{number:04}.{claim}.jsonl"


def sorted_out(names: Iterable[str]) -> tuple[dict[int, list[Copy]], dict[int, list[Copy]]]:
    """Return the files of states, and those of rows, by their hundred, the latest last."""
    found: dict[str, dict[int, list[Copy]]] = {"items": {}, "rows": {}}
    for name in names:
        if match := _NAME.fullmatch(name):
            copy = Copy(int(match[2]), (match[3] and Claim.read(match[3])) or UNCLAIMED, name)
            found[match[1]].setdefault(copy.number, []).append(copy)
    for copies in (*found["items"].values(), *found["rows"].values()):
        copies.sort(key=lambda copy: copy.claim)
    return found["items"], found["rows"]


class Doubts:
    """Items of which it is not known what became of their last submits. Who made a submit knows best, however late.

    A submit is known by its request and its time: inputs in another order change an item's place.

    :param items: all of them, as they are believed to be.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._submits: dict[int, _Submit] = {}
        self._jobs: set[str | None] = {None}
        self._open: dict[_Submit, list[int]] = defaultdict(list)
        for item in items:
            self._submits[item.index] = submit = _submit_of(item)
            self._jobs.add(item.request_id)
            if item.phase in UNSETTLED and item.intended_at:
                self._open[submit].append(item.index)

    def settled(self, older: Item) -> Item | None:
        """Return one of the items as the process tells that made its submit; None where that tells nothing new.

        :param older: by that process, which may have written it after a later one had looked.
        """
        submit = _submit_of(older)
        places = self._open.get(submit)
        if not places or older.phase in UNSETTLED:
            return None
        if self._submits.get(older.index) == submit:
            place = older.index
        elif older.request_id not in self._jobs:  # of two alike one may be home, and the other in doubt
            place = places[0]
        else:
            return None
        if place not in places:
            return None
        places.remove(place)
        self._jobs.add(older.request_id)
        return replace(older, index=place)

    def may_settle(self, older: Item) -> bool:
        """Whether the process that made a submit may yet tell what became of it.

        :param older: what that process wrote of it so far.
        """
        return older.phase is Phase.INTENT and bool(self._open.get(_submit_of(older)))


_Submit: TypeAlias = tuple[str, float]


def _submit_of(item: Item) -> _Submit:
    return item.asked.fingerprint, item.intended_at


def write_items(items: Iterable[Item]) -> bytes:
    """Return the content of a file of states."""
    return json.dumps([plain(item) for item in items]).encode()


def read_items(data: bytes, number: int) -> list[Item]:
    """Return the items of a file of states.

    :raises ValueError: it is damaged.
    """
    try:
        items = [item_of(one) for one in json.loads(data)]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"it holds no items ({error!r})") from None
    if not items or any(item.index // CHUNK != number for item in items):
        raise ValueError("it holds other items")
    return items


def plain(item: Item) -> dict[str, Any]:
    """Return an item as JSON has it."""
    fields = {"index": item.index, **item.asked._asdict(), "phase": item.phase.value, "request_id": item.request_id}
    times = {name: round(getattr(item, name), 3) for name in _TIMES}
    return {name: value for name, value in fields.items() if value is not None} | {
        name: time for name, time in times.items() if time
    }


def item_of(fields: dict[str, Any]) -> Item:
    """Return the item that JSON has so."""
    asked = Asked(fields.pop("fingerprint"), fields.pop("model_id"), fields.pop("cost", None))
    return Item(asked=asked, **fields | {"phase": Phase(fields["phase"])})
