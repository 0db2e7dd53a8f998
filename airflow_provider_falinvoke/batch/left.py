"""What earlier processes left in a batch's journal, read once by the process that takes it over."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_provider_falinvoke.batch.copies import CHUNK, Copy, Doubts, chunks, read_items, sorted_out
from airflow_provider_falinvoke.batch.phases import Asked, Item, Phase
from airflow_provider_falinvoke.batch.storage import Folder


@dataclass
class Left:
    """What earlier processes left; files by their hundred items.

    :param items: the items, as they are to be believed.
    :param lost: why the states of some are lost, by their index. Such an item is ambiguous.
    :param unlike: hundreds of which no single file holds what is to be believed.
    :param newest: the latest file of states, superseded once this process has written one.
    :param open: files whose process may yet learn, and write there, what became of its last submits.
    :param superseded: files that nobody needs.
    :param rows: the files of rows.
    """

    items: list[Item] = field(default_factory=list)
    lost: dict[int, str] = field(default_factory=dict)
    unlike: set[int] = field(default_factory=set)
    newest: dict[int, str] = field(default_factory=dict)
    open: dict[int, list[str]] = field(default_factory=dict)
    superseded: list[str] = field(default_factory=list)
    rows: dict[int, list[Copy]] = field(default_factory=dict)


def read_left(folder: Folder, count: int | None) -> Left:
    """Read a journal; a file that is damaged or missing costs its own items alone.

    :param count: how many items the last try asked for; None where no head says so. Of a longer batch that an earlier
        try had, what is found is read too.
    :raises Exception: the storage fails.
    """
    states, rows = sorted_out(folder.names())
    numbers = range(max(max(states, default=-1) + 1, chunks(count or 0)))
    names = [copy.name for number in numbers for copy in states.get(number, ())]
    contents = dict(zip(names, folder.read_all(names), strict=True))
    left = Left(rows=rows)
    found: dict[int, Item] = {}
    damage: dict[int, str] = {}
    read: dict[int, dict[str, list[Item]]] = {}
    for number in numbers:
        try:
            read[number] = _read(number, states.get(number, []), contents)
        except ValueError as error:
            damage[number] = f"{error} in the batch's journal in {folder}"
        else:
            found |= {item.index: item for items in read[number].values() for item in items}
    _settle(left, found, read)
    ends = [count or 0, max(found, default=-1) + 1]
    if count is not None:
        # A longer batch may have had the whole of a hundred that is lost.
        ends += [(number + 1) * CHUNK for number in damage]
    for index in range(max(ends)):
        number = index // CHUNK
        if index not in found:
            why = damage.get(number, f"items-{number:04} does not have all of its items in {folder}")
            left.lost[index] = (
                f"{why}, so nobody knows which of the items {number * CHUNK} to {number * CHUNK + CHUNK - 1} are paid. "
                "They count as ambiguous, and are not submitted again."
            )
            left.unlike.add(number)
            # Its time is that of no submit.
            found[index] = Item(index, Asked("", ""), Phase.AMBIGUOUS, intended_at=round(time.time(), 3))
        left.items.append(found[index])
    return left


def _read(number: int, copies: list[Copy], contents: Mapping[str, bytes | None]) -> dict[str, list[Item]]:
    """Return the items of each file of a hundred, the latest last.

    :raises ValueError: the latest file is damaged; of others, that were superseded, nothing is needed.
    """
    read: dict[str, list[Item]] = {}
    for copy in copies:
        try:
            if (data := contents[copy.name]) is not None:
                read[copy.name] = read_items(data, number)
        except ValueError as error:
            if copy is copies[-1]:
                raise ValueError(f"{copy.name} is damaged ({error})") from None
    if not read:
        raise ValueError(f"items-{number:04} is missing")
    return read


def _settle(left: Left, found: dict[int, Item], read: Mapping[int, Mapping[str, list[Item]]]) -> None:
    """Believe who made a submit, and note which files are needed.

    :param found: the items by the latest files.
    """
    doubts = Doubts(found.values())
    for items in (items for copies in read.values() for items in copies.values()):
        found |= {item.index: item for item in filter(None, map(doubts.settled, items))}
    for number, copies in read.items():
        *_, newest = copies
        start, end = number * CHUNK, (number + 1) * CHUNK
        if [found[index] for index in range(start, end) if index in found] != copies[newest]:
            left.unlike.add(number)
        left.open[number] = [name for name, items in copies.items() if any(map(doubts.may_settle, items))]
        if newest not in left.open[number]:
            left.newest[number] = newest
        left.superseded += [name for name in copies if name not in (newest, *left.open[number])]
