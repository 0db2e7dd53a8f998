"""The disturbances, and where each can strike."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Kind(str, Enum):
    """What an operation is done to."""

    STORAGE = "storage"
    STORE = "store"
    XCOM = "xcom"
    API = "api"
    MEDIA = "media"
    AIRFLOW = "airflow"
    PAUSE = "pause"


class Blow(str, Enum):
    """What happens at an operation."""

    KILL_BEFORE = "kill_before"
    KILL_AFTER = "kill_after"
    #: Half of the bytes are written, then the process dies.
    TORN = "torn"
    #: Half of the bytes are written, then the storage fails.
    TORN_ERROR = "torn_error"
    ERROR_BEFORE = "error_before"
    #: It was done, and yet it is reported as failed.
    ERROR_AFTER = "error_after"
    #: The process stops; it goes on after the next try.
    FREEZE_BEFORE = "freeze_before"
    FREEZE_AFTER = "freeze_after"
    #: The machine stops after it; what was not synced is gone.
    POWER = "power"
    #: The same, but names outlive the bytes that were not synced, as file systems may have it.
    POWER_NAMES = "power_names"
    #: This and the next operations of its kind fail.
    OUTAGE_2 = "outage_2"
    OUTAGE_6 = "outage_6"

    @property
    def outage(self) -> int:
        """How many operations fail, this one included."""
        return {Blow.OUTAGE_2: 2, Blow.OUTAGE_6: 6}.get(self, 0)


_READS = ("read ", "list", "get ", "GET ", "pull ")


class Operation(NamedTuple):
    """One numbered operation.

    :param writes: whether it writes bytes, of which half may arrive.
    :param process: who does it.
    """

    number: int
    kind: Kind
    name: str
    writes: bool
    process: str

    def __str__(self) -> str:
        return f"{self.number:4} {self.process:12} {self.kind.value}: {self.name}"


def blows_at(operation: Operation, storage: str, *, is_first: bool) -> list[Blow]:
    """Return what can happen at an operation, without what is the same as something else.

    A death before an operation is one after the operation before; and to what only reads, nothing is done.

    :param is_first: whether it is its process's first operation.
    """
    changes = not operation.name.startswith(_READS)
    blows = [Blow.FREEZE_AFTER]
    if is_first:
        blows += [Blow.KILL_BEFORE, Blow.FREEZE_BEFORE]
    if changes:
        blows += [Blow.KILL_AFTER]
    if operation.kind is not Kind.PAUSE:
        blows += [Blow.ERROR_BEFORE, Blow.OUTAGE_2, Blow.OUTAGE_6]
    if changes and operation.kind is not Kind.PAUSE:
        blows += [Blow.ERROR_AFTER]
    if operation.writes:
        blows += [Blow.TORN, Blow.TORN_ERROR]
    if changes and storage == "disk":
        blows += [Blow.POWER, Blow.POWER_NAMES]
    return blows
