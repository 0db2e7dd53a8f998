"""What survives a dead process: the state of each item, in small files of object storage.

``claims/…`` say whose batch it is and which process writes, see :mod:`~airflow_provider_falinvoke.batch.claims`.
``items-0000.….json`` and its like hold the states of a hundred items each, and are rewritten whole when one of them
changes; ``rows-0000.….jsonl`` and its like hold what is told of the same items, as the manifest will have it. Each
process writes files of its own, see :mod:`~airflow_provider_falinvoke.batch.copies`. An item's intent is written before
its POST and its request_id before anything else is risked, so that a process that dies leaves in doubt only the POSTs
that were in the air.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from airflow_provider_falinvoke.api.drivers import sleep
from airflow_provider_falinvoke.batch import arrangement
from airflow_provider_falinvoke.batch.arrangement import DONE, Order, moves
from airflow_provider_falinvoke.batch.claims import Claims, Head, JournalError, TakenOverError
from airflow_provider_falinvoke.batch.copies import (
    CHUNK,
    Doubts,
    chunks,
    items_name,
    read_items,
    rows_name,
    write_items,
)
from airflow_provider_falinvoke.batch.left import Left, read_left
from airflow_provider_falinvoke.batch.phases import Asked, Item, Phase
from airflow_provider_falinvoke.batch.rows import Row, Rows
from airflow_provider_falinvoke.batch.storage import Folder
from airflow_provider_falinvoke.exceptions import FalInvokeError

log = logging.getLogger(__name__)

#: Rows are written by so many at a time; what is lost with a process is fetched again.
ROWS_AT_ONCE = 25
#: What the storage does not take is tried again after so many seconds each, a minute in all: the ids of paid jobs wait.
PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
_JSON = "application/json"
_SHOWN = 100


class Journal:
    """The states of a batch's items, in memory and in storage; the threads of a process share it.

    :param folder: where the files lie.
    :param batch: ``dag_id``, ``run_id``, ``task_id``, ``map_index``.
    :param try_number: of the task instance, and …
    :param task_instance: … its id, which tell this process from one that Airflow gave up.
    """

    def __init__(
        self, folder: Folder, batch: Mapping[str, str | int], *, try_number: int = 0, task_instance: str = ""
    ) -> None:
        self._folder = folder
        self._claims = Claims(folder, Head(batch=dict(batch), try_number=try_number, task_instance=task_instance))
        self._lock = threading.Lock()
        self._changes = 0
        self._dirty: dict[int, int] = {}
        #: Ids that came back, and of which it is not certain that the next process finds them.
        self._landed: dict[str, int] = {}
        self._writing = threading.Lock()
        self._written = -1
        self._failures: list[tuple[int, JournalError]] = []
        self._left = Left()
        self._superseded: list[str] = []
        self._told = Rows(folder, {})
        self._rows: list[tuple[Item, Row]] = []
        self.items: list[Item] = []
        #: What became of items that an earlier try had and this one does not: the next may ask for them again.
        self._beyond: list[Item] = []

    @property
    def known(self) -> list[Item]:
        """All items of which the journal tells, those that this try does not ask for included."""
        return [*self.items, *self._beyond]

    @property
    def head(self) -> Head:
        """How the batch stands as a whole."""
        return self._claims.head

    @property
    def lost(self) -> Mapping[int, str]:
        """Why the state of some items is lost, by their index."""
        return self._left.lost

    @property
    def is_dirty(self) -> bool:
        """Whether there are changes that are not written."""
        return self._written < self._changes

    def take_over(self) -> bool:
        """Become the process that writes, and read what earlier ones left.

        :return: whether there is a journal.
        :raises FalInvokeError: it cannot be read, which is not the same as that there is none, or a later try has it.
        """
        try:
            self._claims.take()
            # A process may have died between its claim and the first head that says how many items there are.
            self._left = read_left(self._folder, None if self.head.generation is None else self.head.items)
            unfinished = arrangement.unfinished(self._folder.names())
            order = unfinished and arrangement.read(self._folder.read(unfinished) or DONE)
        except TakenOverError:
            raise
        except Exception as error:  # each storage has errors of its own
            raise FalInvokeError(
                f"The batch's journal in {self._folder} cannot be read ({error}). Nothing was submitted, because jobs "
                "that are paid may be recorded there."
            ) from error
        wanted = len(self._left.items) if self.head.generation is None else self.head.items
        self.items, self._beyond = self._left.items[:wanted], self._left.items[wanted:]
        self._told = Rows(self._folder, self._left.rows)
        self._dirty = dict.fromkeys(self._left.unlike, self._changes)
        self._superseded = list(self._left.superseded)
        for why in sorted(set(self._left.lost.values())):
            log.warning("%s", why)
        if unfinished and order:
            self._left.lost.clear()  # the order has what is to be believed of them, in other places
            self._put_in_order(unfinished, order, wanted)
        return bool(self.items) or self.head.generation is not None

    def rearrange(self, order: Sequence[int | None]) -> None:
        """Put the items in another order, whole or not at all.

        :param order: for each place the index of the item that comes there, None for none; see
            :func:`~airflow_provider_falinvoke.batch.arrangement.arrange`.
        :raises FalInvokeError: it cannot be written, or another process has the batch.
        """
        if not moves(order):
            return
        before = self.known
        items = [
            Item(place, Asked("", "")) if old is None else replace(before[old], index=place)
            for place, old in enumerate(order)
        ]
        places = {old: place for place, old in enumerate(order) if old not in (None, place)}
        rows = [
            {**row, "index": places[index]}
            for number in range(chunks(len(before)))
            for index, row in self._told.read(number, before[number * CHUNK : (number + 1) * CHUNK]).items()
            if index in places
        ]
        self._left.lost = {places.get(index, index): why for index, why in self._left.lost.items()}
        name, new = arrangement.order_name(self._claims.claim), Order(items, rows)
        self._patiently(lambda: self._folder.write(name, arrangement.written(new), _JSON))
        try:
            self._patiently(self._claims.check)
        except TakenOverError:
            self._folder.remove_all([name])
            raise
        self._put_in_order(name, new, len(items))

    def _put_in_order(self, name: str, order: Order, wanted: int) -> None:
        with self._lock:
            self.items, self._beyond = order.items[:wanted], order.items[wanted:]
            self._changes += 1
            self._dirty = dict.fromkeys(range(chunks(len(order.items))), self._changes)
        rows = {row["index"]: row for row in order.rows}
        for number, indexes in itertools.groupby(sorted(rows), lambda index: index // CHUNK):
            self._patiently(partial(self._write_rows, number, {index: rows[index] for index in indexes}))
        self.commit()
        # Before anything else changes, or the next process would go back to this.
        self._patiently(lambda: self._folder.write(name, DONE, _JSON))
        self._folder.remove_all([name])

    def begin(self, items: Sequence[Item], *, generation: int, cost: float | None) -> None:
        """Write what a new try starts from.

        :raises FalInvokeError: it cannot be written, or another process has the batch.
        """
        with self._lock:
            before = self.known
            self.items, self._beyond = list(items), before[len(items) :]
            self._changes += 1
            for number in range(chunks(len(items))):
                if before[number * CHUNK : (number + 1) * CHUNK] != self._hundred(number):
                    self._dirty[number] = self._changes
        of_earlier_tries = {"stopped": None, "blocked_since": None, "refused_in_a_row": 0, "unsaved_in_a_row": 0}
        try:
            self.commit()
            self.note(generation=generation, items=len(items), cost=cost, **of_earlier_tries)
        except TakenOverError:
            raise
        except JournalError as error:
            raise FalInvokeError(f"{error.message} Nothing was submitted by this try.") from error

    def note(self, **changes: Any) -> None:
        """Change fields of the head, and write it.

        :raises JournalError: it cannot be written, or another process has the batch.
        """
        if any(getattr(self.head, name) != value for name, value in changes.items()):
            self._patiently(lambda: self._note(changes))

    def put(self, item: Item) -> None:
        """Change the state of an item; :meth:`commit` writes it. Any thread may."""
        with self._lock:
            self._changes += 1
            if item.phase is Phase.SUBMITTED and item.request_id != self.items[item.index].request_id:
                self._landed[str(item.request_id)] = self._changes
            self.items[item.index] = item
            self._dirty[item.index // CHUNK] = self._changes

    def tell(self, item: Item, row: Row) -> None:
        """Change the state of an item that ended, once what is told of it is written: soon, or by :meth:`close`."""
        self._rows.append((item, row))
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush_rows()

    def commit(self, *, patient: bool = True) -> None:
        """Write the states that changed so far. Any thread may; what several changed goes in one write.

        :param patient: whether a storage that fails is tried again for a minute.
        :raises JournalError: they cannot be written, or another process has the batch. It names the jobs that may be
            missing in the journal.
        """
        with self._lock:
            wanted, failures = self._changes, len(self._failures)
        with self._writing:
            if self._written >= wanted:
                return
            if patient and any(upto >= wanted for upto, _ in self._failures[failures:]):
                raise self._failures[-1][1]  # another thread has tried this for a minute just now
            upto = self._changes
            try:
                self._patiently(self._write, pauses=PAUSES if patient else ())
            except JournalError as error:
                self._failures.append((upto, error))
                raise

    def close(self) -> None:
        """Write everything that is not yet written, and remove what it supersedes."""
        self.commit()
        self._flush_rows()
        self._folder.remove_all(self._superseded)
        self._superseded.clear()

    def catch_up(self) -> bool:
        """Read what earlier processes have learnt of their submits since; return whether there is anything new."""
        before = self._changes
        for number, names in self._left.open.items():
            self._left.open[number] = [name for name in names if self._may_tell_more(name, number)]
        return self._changes > before

    def _may_tell_more(self, name: str, number: int) -> bool:
        try:
            copy = read_items(self._folder.read(name) or b"", number)
        except Exception as error:  # each storage has errors of its own, and the next process looks again
            log.warning("%s of the batch's journal in %s cannot be read (%s)", name, self._folder, error)
            return True
        doubts = Doubts(self.items)
        for item in filter(None, map(doubts.settled, copy)):
            phase = item.phase.value
            log.info("Item %d, whose submit was in doubt, is %s by the process that made it", item.index, phase)
            self.put(item)
        return any(map(doubts.may_settle, copy))

    def rows(self) -> Iterator[tuple[Item, Row | None]]:
        """Yield each item, in order, with what was told of it as it is now, if anything was."""
        for start in range(0, len(self.items), CHUNK):
            told = self._told.read(start // CHUNK, self._hundred(start // CHUNK))
            for item in self.items[start : start + CHUNK]:
                yield item, told.get(item.index)

    def _write(self) -> None:
        with self._lock:
            upto, dirty = self._changes, dict(self._dirty)
            states = {number: self._hundred(number) for number in dirty}
        for number, items in sorted(states.items()):
            self._folder.write(items_name(number, self._claims.claim), write_items(items), _JSON)
            with self._lock:
                if self._dirty.get(number) == dirty[number]:
                    del self._dirty[number]
            if newest := self._left.newest.pop(number, None):
                self._superseded.append(newest)
        self._claims.check()
        with self._lock:
            self._landed = {job: change for job, change in self._landed.items() if change > upto}
        self._written = upto

    def _note(self, changes: Mapping[str, Any]) -> None:
        self._claims.note(**changes)
        self._claims.check()

    def _flush_rows(self) -> None:
        if not self._rows:
            return
        self.commit()  # what is told can be had again, a request_id cannot
        told = {item.index: row for item, row in self._rows}
        for number in sorted({index // CHUNK for index in told}):
            new = {index: row for index, row in told.items() if index // CHUNK == number}
            self._patiently(partial(self._write_rows, number, new))
        for item, _ in self._rows:
            self.put(item)
        self._rows.clear()
        self.commit()

    def _write_rows(self, number: int, new: Mapping[int, Row]) -> None:
        name = rows_name(number, self._claims.claim)
        self._superseded += self._told.write(name, new, self._hundred(number))

    def _hundred(self, number: int) -> list[Item]:
        start, end, wanted = number * CHUNK, (number + 1) * CHUNK, len(self.items)
        return self.items[start:end] + self._beyond[max(0, start - wanted) : max(0, end - wanted)]

    def _patiently(self, act: Callable[[], None], pauses: Sequence[float] | None = None) -> None:
        """Do something with the storage, again and again for a minute where it fails."""
        for pause in (*(PAUSES if pauses is None else pauses), None):
            try:
                return act()
            except TakenOverError as error:
                raise TakenOverError(error.message + self._unsaved()) from None
            except Exception as error:  # each storage has errors of its own
                if pause is None:
                    raise JournalError(
                        f"The batch's journal in {self._folder} cannot be written ({error}), so nothing more is "
                        f"submitted.{self._unsaved()}"
                    ) from error
                log.warning(
                    "The batch's journal in %s cannot be written (%s); tried again in %.0f s.%s",
                    self._folder,
                    error,
                    pause,
                    self._unsaved(),
                )
                sleep(pause)
        return None

    def _unsaved(self) -> str:
        with self._lock:
            landed = list(self._landed)
        if not landed:
            return ""
        more = f" and {len(landed) - _SHOWN} more" if len(landed) > _SHOWN else ""
        return f" Jobs that may be missing in it, which go on and are paid: {', '.join(landed[:_SHOWN])}{more}."
