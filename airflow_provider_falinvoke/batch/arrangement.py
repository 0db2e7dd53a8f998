"""Which earlier item belongs to which input, where inputs were inserted, removed or put in another order. Pure.

An item is known by its request, wherever that stands now: else one input more at the front would pay for all of them
again. The journal is rewritten in the new order before anything else is done. That takes several files, so all that
they will hold is written to one file first (:func:`written`), which stands until the last of them is there.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from airflow_provider_falinvoke.batch.claims import CLAIM, UNCLAIMED, Claim
from airflow_provider_falinvoke.batch.copies import UNSETTLED, item_of, plain, sorted_out
from airflow_provider_falinvoke.batch.phases import Asked, Item, Phase

_NAME = re.compile(rf"order\.({CLAIM})\.json")
#: Items that would be submitted in any case.
_NOTHING = frozenset((Phase.WAITING, Phase.FAILED))


def arrange(left: Sequence[Item], asked: Sequence[Asked]) -> list[int | None]:
    """Return the index of the earlier item for each place, None where there is none.

    After the places of the inputs come the jobs that no input asks for: a later try may ask for them again.

    :param left: the earlier items, each at its index.
    :param asked: the inputs.
    """
    order: list[int | None] = [None] * max(len(left), len(asked))
    elsewhere: list[Item] = []
    for item in left:
        if item.index < len(asked) and asked[item.index].fingerprint == item.asked.fingerprint:
            order[item.index] = item.index
        elif item.phase not in _NOTHING:
            elsewhere.append(item)
    unasked = _placed(order, left, asked, elsewhere)
    free = deque(place for place in range(len(asked)) if order[place] is None)
    for item in unasked:
        place = _of_doubtful(item, order, free, len(asked))
        if place is not None:
            order[place] = item.index
        elif item.index >= len(asked):
            order[item.index] = item.index
        else:
            order.append(item.index)
    return order


def _placed(order: list[int | None], left: Sequence[Item], asked: Sequence[Asked], items: Sequence[Item]) -> list[Item]:
    """Put items where the same is asked for now, and return those that nobody asks for."""
    places: dict[str, deque[int]] = defaultdict(deque)
    for place, one in enumerate(asked):
        # Where another job is to be made, one that is there of the same request will do.
        if (old := order[place]) is None or left[old].phase in _NOTHING:
            places[one.fingerprint].append(place)
    unasked: list[Item] = []
    for item in items:
        if fitting := places.get(item.asked.fingerprint):
            order[fitting.popleft()] = item.index
        else:
            unasked.append(item)
    return unasked


def _of_doubtful(item: Item, order: Sequence[int | None], free: deque[int], count: int) -> int | None:
    """Return the place of an item whose submit may be paid: its own, whatever is asked for there.

    A template may render to something else at each try, and pay each time. An item whose request is lost may be any
    input's.
    """
    if item.phase not in UNSETTLED:
        return None
    if item.index < count and order[item.index] is None:
        return item.index
    while free and order[free[0]] is not None:
        free.popleft()
    return free[0] if free and not item.asked.fingerprint else None


def moves(order: Sequence[int | None]) -> bool:
    """Whether an item changes its place."""
    return any(old not in (None, place) for place, old in enumerate(order))


class Order(NamedTuple):
    """A journal in its new order.

    :param items: all of them.
    :param rows: what is told of those that changed their places.
    """

    items: list[Item]
    rows: list[dict[str, Any]]


def order_name(claim: Claim) -> str:
    """Return the name of the file in which a process keeps a new order until the journal has it."""
    return f"order.{claim}.json"


def unfinished(names: Collection[str]) -> str | None:
    """Return the name of the file with the order that an earlier process may not have put all items into.

    :param names: of all files of the journal. Where a later process has written states, it went on without the order.
    """
    orders = {claim: name for name in names if (found := _NAME.fullmatch(name)) and (claim := Claim.read(found[1]))}
    states, _ = sorted_out(names)
    last = max((copy.claim for copies in states.values() for copy in copies), default=UNCLAIMED)
    return orders[max(orders)] if orders and max(orders) >= last else None


def written(order: Order) -> bytes:
    """Return the content of such a file."""
    return json.dumps({"items": [plain(item) for item in order.items], "rows": order.rows}).encode()


#: In place of the order once the journal has it: not every user may remove files.
DONE = b"null"


def read(data: bytes) -> Order | None:
    """Return what such a file holds, None where that is done.

    :raises Exception: it is damaged.
    """
    found = json.loads(data)
    return None if found is None else Order([item_of(one) for one in found["items"]], found["rows"])
