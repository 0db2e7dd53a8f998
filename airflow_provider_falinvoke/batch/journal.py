"""What survives a dead process: the state of each item, in small files of object storage.

``head.json`` says whose batch it is and which process writes; ``items-0000.json`` and its like hold the states of a
hundred items each, and are rewritten whole when one of them changes; ``rows-0000.jsonl`` and its like hold what is told
of the same items, as the manifest will have it. An item's intent is written before its POST and its request_id before
anything else is risked, so that a process that dies leaves in doubt only the POSTs that were in the air.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from airflow_provider_falinvoke.batch.phases import Asked, Item, Phase
from airflow_provider_falinvoke.batch.storage import Folder
from airflow_provider_falinvoke.exceptions import FalInvokeError

log = logging.getLogger(__name__)

#: Items in a file. One of 100 has some 25 kB; on S3 that takes as long to write as one of 1 kB.
CHUNK = 100
#: Rows are written by so many at a time; what is lost with a process is fetched again.
ROWS_AT_ONCE = 25
JSON_LINES = "application/jsonl"
_JSON = "application/json"
_HEAD = "head.json"
_SHOWN = 100


class Head(BaseModel):
    """Whose batch this is, and how it stands as a whole.

    :param batch: ``dag_id``, ``run_id``, ``task_id``, ``map_index``.
    :param owner: the process that writes.
    :param generation: ``ti.max_tries``: constant over retries, raised by a user's clear.
    :param items: how many there are.
    :param cost: what all of them are estimated to cost, where that is known.
    :param stopped: why nothing more is submitted in this try, if so.
    :param blocked_since: since when the quota let no submit pass, in epoch seconds.
    """

    model_config = ConfigDict(frozen=True)

    batch: dict[str, str | int]
    owner: str
    generation: int
    items: int
    cost: float | None = None
    stopped: str | None = None
    blocked_since: float | None = None


class Journal:
    """The states of a batch's items, in memory and in storage.

    :param folder: where the files lie.
    :param batch: ``dag_id``, ``run_id``, ``task_id``, ``map_index``.
    """

    def __init__(self, folder: Folder, batch: Mapping[str, str | int]) -> None:
        self._folder = folder
        self._batch = dict(batch)
        self._owner = uuid.uuid4().hex
        self._dirty: set[int] = set()
        self._rows: list[tuple[Item, dict[str, Any]]] = []
        self._head: Head | None = None
        self.items: list[Item] = []

    @property
    def head(self) -> Head:
        """How the batch stands as a whole; there is one once there is a journal."""
        assert self._head is not None, "begin was called, or take_over found a journal"
        return self._head

    def take_over(self) -> bool:
        """Read what an earlier process left, and become the one that writes.

        :return: whether there is a journal.
        :raises FalInvokeError: it cannot be read, which is not the same as that there is none.
        """
        try:
            head = self._read_head()
            if head is None:
                return False
            if head.batch != self._batch:
                raise ValueError(f"it is that of {head.batch}")
            # First, so that a process that was given up but still runs writes no more.
            self._write_head(head.model_copy(update={"owner": self._owner}))
            names = [_items_name(number) for number in range(_chunks(head.items))]
            self.items = [
                item
                for name, data in zip(names, self._folder.read_all(names), strict=True)
                for item in _read_items(name, data)
            ]
        except Exception as error:  # each storage has errors of its own
            raise FalInvokeError(
                f"The batch's journal in {self._folder} cannot be read ({error}). Nothing was submitted, because jobs "
                "that are paid may be recorded there."
            ) from error
        return True

    def begin(self, items: Sequence[Item], *, generation: int, cost: float | None) -> None:
        """Write what a new try starts from.

        :raises FalInvokeError: it cannot be written.
        """
        self._dirty = {
            number
            for number in range(_chunks(len(items)))
            if self.items[number * CHUNK : (number + 1) * CHUNK] != items[number * CHUNK : (number + 1) * CHUNK]
        }
        self.items = list(items)
        try:
            self._write_chunks()
            self._write_head(
                Head(batch=self._batch, owner=self._owner, generation=generation, items=len(items), cost=cost)
            )
        except Exception as error:  # as above
            raise FalInvokeError(
                f"The batch's journal in {self._folder} cannot be written ({error}). Nothing was submitted by this try."
            ) from error

    def note(self, **changes: Any) -> None:
        """Change fields of the head, and write it."""
        if any(getattr(self.head, name) != value for name, value in changes.items()):
            self._check_owner()
            self._write_head(self.head.model_copy(update=changes))

    def put(self, item: Item) -> None:
        """Change the state of an item; :meth:`flush` writes it."""
        self.items[item.index] = item
        self._dirty.add(item.index // CHUNK)

    def tell(self, item: Item, row: dict[str, Any]) -> None:
        """Change the state of an item that ended, once what is told of it is written: soon, or by :meth:`close`."""
        self._rows.append((item, row))
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush_rows()

    def flush(self) -> None:
        """Write the states that changed.

        :raises FalInvokeError: they cannot be written, or another process writes this journal now.
        """
        if not self._dirty:
            return
        self._check_owner()
        try:
            self._write_chunks()
        except Exception as error:  # as above
            unsaved = [
                item.request_id
                for number in self._dirty
                for item in self.items[number * CHUNK : (number + 1) * CHUNK]
                if item.phase is Phase.SUBMITTED
            ]
            raise FalInvokeError(
                f"The batch's journal in {self._folder} cannot be written ({error}), so nothing more is submitted. "
                f"Jobs that may be missing in it, which go on and are paid: {', '.join(map(str, unsaved[:_SHOWN]))}."
            ) from error

    def close(self) -> None:
        """Write everything that is not yet written."""
        self._flush_rows()
        self.flush()

    def rows(self) -> Iterator[tuple[Item, dict[str, Any] | None]]:
        """Yield each item, in order, with what was told of it, if anything was."""
        for start in range(0, len(self.items), CHUNK):
            told = self._read_rows(start // CHUNK)
            for item in self.items[start : start + CHUNK]:
                yield item, told.get(item.index)

    def _flush_rows(self) -> None:
        if not self._rows:
            return
        self._check_owner()
        for number in {item.index // CHUNK for item, _ in self._rows}:
            told = self._read_rows(number)
            told |= {item.index: row for item, row in self._rows if item.index // CHUNK == number}
            lines = [json.dumps(told[index]) for index in sorted(told)]
            self._folder.write(_rows_name(number), "".join(f"{line}\n" for line in lines).encode(), JSON_LINES)
        for item, _ in self._rows:
            self.put(item)
        self._rows.clear()
        self.flush()

    def _read_rows(self, number: int) -> dict[int, dict[str, Any]]:
        data = self._folder.read(_rows_name(number)) or b""
        try:
            return {row["index"]: row for row in map(json.loads, data.splitlines())}
        except (ValueError, TypeError, KeyError) as error:
            raise FalInvokeError(
                f"{_rows_name(number)} of the batch's journal in {self._folder} is damaged and cannot be read "
                f"({error!r}). Nothing was submitted again. Without the file, the manifest has of these items their "
                "request_ids, and not their files."
            ) from error

    def _check_owner(self) -> None:
        head = self._read_head()
        if head is None or head.owner != self._owner:
            raise FalInvokeError(
                f"Another process has taken over this batch (see {self._folder}), so this one submits nothing more."
            )

    def _read_head(self) -> Head | None:
        data = self._folder.read(_HEAD)
        return None if data is None else Head.model_validate_json(data)

    def _write_head(self, head: Head) -> None:
        self._folder.write(_HEAD, head.model_dump_json().encode(), _JSON)
        self._head = head

    def _write_chunks(self) -> None:
        for number in sorted(self._dirty):
            chunk = self.items[number * CHUNK : (number + 1) * CHUNK]
            self._folder.write(_items_name(number), json.dumps([_plain(item) for item in chunk]).encode(), _JSON)
            self._dirty.discard(number)


def _chunks(items: int) -> int:
    return -(-items // CHUNK)


def _items_name(number: int) -> str:
    return f"items-{number:04}.json"


def _rows_name(number: int) -> str:
    return f"rows-{number:04}.jsonl"


def _plain(item: Item) -> dict[str, Any]:
    plain = {"index": item.index, **item.asked._asdict(), "phase": item.phase.value, "request_id": item.request_id}
    times = {name: round(getattr(item, name), 3) for name in ("submitted_at", "deadline", "ended_at")}
    return {name: value for name, value in plain.items() if value is not None} | {
        name: time for name, time in times.items() if time
    }


def _read_items(name: str, data: bytes | None) -> Iterable[Item]:
    if data is None:
        raise ValueError(f"{name} is missing")
    chunk = json.loads(data)
    if not isinstance(chunk, list):
        raise ValueError(f"{name} holds no list")
    for plain in chunk:
        asked = Asked(plain.pop("fingerprint"), plain.pop("model_id"), plain.pop("cost", None))
        yield Item(asked=asked, **plain | {"phase": Phase(plain["phase"])})
