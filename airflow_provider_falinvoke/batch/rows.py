"""What is told of a batch's items, as the manifest will have it: files of a hundred, one of each process that wrote."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_falinvoke.batch.copies import CHUNK, Copy
from airflow_provider_falinvoke.batch.phases import Item
from airflow_provider_falinvoke.batch.storage import Folder

log = logging.getLogger(__name__)

JSON_LINES = "application/jsonl"
Row = dict[str, Any]


class Rows:
    """The rows of all processes, read; and those of this one, written.

    :param folder: of the journal.
    :param found: the files that are there, by their hundred, the latest last.
    """

    def __init__(self, folder: Folder, found: Mapping[int, Sequence[Copy]]) -> None:
        self._folder = folder
        self._files = {number: [copy.name for copy in copies] for number, copies in found.items()}

    def read(self, number: int, items: Sequence[Item]) -> dict[int, Row]:
        """Return what was told last of each of a hundred items, as far as that is what they are now.

        :param items: these hundred items.
        """
        told: dict[int, Row] = {}
        known = {item.index: item for item in items}
        for name in self._files.get(number, ()):
            try:
                for row in map(json.loads, (self._folder.read(name) or b"").splitlines()):
                    if fits(row, known[row["index"]]):
                        told[row["index"]] = row
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                log.warning(
                    "%s of the batch's journal in %s is damaged (%r): of some items the manifest has their "
                    "request_ids, and not their files",
                    name,
                    self._folder,
                    error,
                )
        return told

    def write(self, name: str, new: Mapping[int, Row], items: Sequence[Item]) -> list[str]:
        """Write what is told now, and what was told before of the same hundred items.

        :param name: of the file.
        :param new: by the items' indexes.
        :param items: these hundred items.
        :return: the files that are superseded by it.
        """
        number = min(new) // CHUNK
        told = {**self.read(number, items), **new}
        lines = "".join(f"{json.dumps(told[index])}\n" for index in sorted(told))
        self._folder.write(name, lines.encode(), JSON_LINES)
        superseded = [file for file in self._files.get(number, ()) if file != name]
        self._files[number] = [name]
        return superseded


def fits(row: Mapping[str, Any], item: Item) -> bool:
    """Whether what was told of an item is what it is now."""
    return (row.get("state"), row.get("request_id")) == (item.phase.value, item.request_id)
