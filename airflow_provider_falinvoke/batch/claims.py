"""Whose a batch's journal is: each process that takes it up claims it, and the latest claim holds.

A claim is a file of its own, ``claims/000012-002-5f3c9a1e.json``: number, try, and a token that tells two of one number
apart. No storage has to compare and swap for that, and no process can write over another's claim: one that was frozen
while it claimed wakes with a number that is too low. The rule for both sides is *write, then look*: a process claims
first, and then reads the journal; it writes its intents first, then looks for a later claim, and only then submits. So
of two at a time at least one sees the other.
"""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from airflow_provider_falinvoke.batch.storage import Folder
from airflow_provider_falinvoke.exceptions import FalInvokeError

JSON = "application/json"
_FOLDER = "claims"
#: A journal of an earlier version has one head for all processes.
_OLD_HEAD = "head.json"


class JournalError(FalInvokeError):
    """The journal cannot be written, or is another process's now; nothing more is submitted."""


class TakenOverError(JournalError):
    """Another process has taken the batch over."""


class Head(BaseModel):
    """Whose batch this is, and how it stands as a whole.

    :param batch: ``dag_id``, ``run_id``, ``task_id``, ``map_index``.
    :param try_number: of the process that writes this head.
    :param task_instance: Airflow's id of that try; later ones are greater, also after the run was deleted and made
        again, which starts the numbers from 1.
    :param generation: ``ti.max_tries``: constant over retries, raised by a user's clear; None before a try has begun.
    :param items: how many there are.
    :param cost: what all of them are estimated to cost, where that is known.
    :param stopped: why nothing more is submitted in this try, if so.
    :param blocked_since: since when the quota let no submit pass, in epoch seconds.
    :param refused_in_a_row: submits that were refused since one was taken, in this try; waves are short.
    :param unsaved_in_a_row: jobs whose files could not be saved since those of one were, in this try.
    """

    model_config = ConfigDict(frozen=True)

    batch: dict[str, str | int]
    try_number: int = 0
    task_instance: str = ""
    generation: int | None = None
    items: int = 0
    cost: float | None = None
    stopped: str | None = None
    blocked_since: float | None = None
    refused_in_a_row: int = 0
    unsaved_in_a_row: int = 0

    def is_later_than(self, other: Head) -> bool:
        """Whether the process that wrote this head is of a later try than another one's."""
        return self.try_number > other.try_number and not self.task_instance < other.task_instance


class Claim(NamedTuple):
    """A process's claim; the greatest holds.

    :param number: one more than that of the claim before it.
    :param try_number: of two with one number, the later try's holds.
    :param token: tells two of one number and try apart.
    """

    number: int
    try_number: int
    token: str

    def __str__(self) -> str:
        return f"{self.number:06}-{self.try_number:03}-{self.token}"

    @classmethod
    def read(cls, text: str) -> Claim | None:
        """Return the claim that has this name; None where it is none."""
        found = re.fullmatch(CLAIM, text)
        return cls(int(found[1]), int(found[2]), found[3]) if found else None


#: A claim's name, as a part of a file's.
CLAIM = r"(\d+)-(\d+)-([0-9a-f]{8})"
#: Files of an earlier version have no claim in their names.
UNCLAIMED = Claim(0, 0, "")


class Claims:
    """The claims of one journal.

    :param folder: of the journal.
    :param mine: what this process's head says of itself.
    """

    def __init__(self, folder: Folder, mine: Head) -> None:
        self._folder = folder
        self._mine = mine
        self.claim = UNCLAIMED
        self.head = mine

    def take(self) -> bool:
        """Claim the journal for this process, and go on from the head that the last one left.

        :return: whether there was one.
        :raises TakenOverError: a later try's process has it, or claims it at the same time.
        :raises Exception: the storage fails, or the head is damaged or another batch's.
        """
        held = self._held()
        last = max(held, default=None)
        name = _OLD_HEAD if last is None else _name_of(last)
        data = self._folder.read(name)
        if data is None and last is not None:
            raise self._taken_over()
        if data is not None:
            left = Head.model_validate_json(data)
            if left.batch != self._mine.batch:
                raise ValueError(f"{name} is that of {left.batch}")
            if left.is_later_than(self._mine):
                raise TakenOverError(
                    f"Try {left.try_number} of this task has taken over this batch (see {self._folder}), so this "
                    f"process of try {self._mine.try_number} submits nothing."
                )
            own = {"try_number": self._mine.try_number, "task_instance": self._mine.task_instance}
            self.head = left.model_copy(update=own)
        self.claim = Claim((last or UNCLAIMED).number + 1, self._mine.try_number, secrets.token_hex(4))
        self._write()
        self.check()
        self._folder.remove_all([_name_of(claim) for claim in held] or [_OLD_HEAD])
        return data is not None

    def check(self) -> None:
        """Make sure that no other process has claimed the journal since.

        :raises TakenOverError: one has, or the claim is not there any more.
        :raises Exception: the storage fails.
        """
        if max(self._held(), default=None) != self.claim:
            raise self._taken_over()

    def note(self, **changes: object) -> None:
        """Change fields of the head, and write it."""
        self.head = self.head.model_copy(update=changes)
        self._write()

    def _taken_over(self) -> TakenOverError:
        return TakenOverError(
            f"Another process has taken over this batch (see {self._folder}), so this one submits nothing more."
        )

    def _held(self) -> list[Claim]:
        read = (Claim.read(name.removesuffix(".json")) for name in self._folder.names(_FOLDER))
        return [claim for claim in read if claim is not None]

    def _write(self) -> None:
        self._folder.write(_name_of(self.claim), self.head.model_dump_json().encode(), JSON)


def _name_of(claim: Claim) -> str:
    return f"{_FOLDER}/{claim}.json"
