"""What a batch returns: a manifest with a line for each item, and a summary that is small enough for XCom."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from airflow_provider_falinvoke.api.portable import for_airflow
from airflow_provider_falinvoke.batch.journal import Journal
from airflow_provider_falinvoke.batch.phases import TROUBLE, Item, Phase
from airflow_provider_falinvoke.batch.plan import Tally
from airflow_provider_falinvoke.batch.rows import JSON_LINES
from airflow_provider_falinvoke.batch.storage import Folder

MANIFEST = "manifest.jsonl"
#: So many indexes of each kind are in the summary; the manifest has them all.
SHOWN = 100
_LEFT_BEHIND = (
    "An earlier process died while it submitted this item: it may be running and paid, and no request_id is known to "
    "fetch it by. It was not submitted again, because that may pay twice."
)
_LOST = (
    "What is told of this result is lost from the batch's journal; its files, if they were saved, still lie where they "
    "were. `airflow falinvoke get` fetches the invocation by its request_id."
)


def write_manifest(journal: Journal, folder: Folder, prompts: Iterable[str | None]) -> dict[str, Any]:
    """Write a JSON line for each item, in the order of the inputs, and return the summary.

    :param prompts: what each item asked for, in words; at least as many as there are items.
    :return: ``items``, ``done``, ``failed`` (all that ended otherwise, ambiguous ones included), ``ambiguous``,
        ``not_submitted``; ``files_saved`` and ``bytes_saved``; ``seconds``, which is what the jobs took together;
        ``estimated_cost``; ``manifest`` and ``folder``, where they lie; ``failed_items`` and ``ambiguous_items``, the
        first hundred indexes of each.
    """
    files, size, seconds = 0, 0, 0.0
    with folder.writing(MANIFEST, JSON_LINES) as target:
        for row, prompt in zip(manifest_rows(journal), prompts, strict=False):
            target.write(json.dumps({**row, "prompt": prompt}).encode() + b"\n")
            files += len(row["files"])
            size += sum(file.get("size") or 0 for file in row["files"])
            seconds += row.get("seconds") or 0.0
    tally = Tally.of(journal.items)
    summary = {
        "items": tally.items,
        "done": tally.done,
        "failed": tally.trouble,
        "ambiguous": tally.phases[Phase.AMBIGUOUS],
        "not_submitted": tally.waiting,
        "files_saved": files,
        "bytes_saved": size,
        "seconds": round(seconds, 3),
        "estimated_cost": journal.head.cost,
        "manifest": folder.path_of(MANIFEST),
        "folder": str(folder),
        "failed_items": [item.index for item in journal.items if item.phase in TROUBLE][:SHOWN],
        "ambiguous_items": [item.index for item in journal.items if item.phase is Phase.AMBIGUOUS][:SHOWN],
    }
    return for_airflow(summary)


def manifest_rows(journal: Journal) -> Iterator[dict[str, Any]]:
    """Yield what the manifest says of each item, in order."""
    return (_current(item, told) for item, told in journal.rows())


def row_of(item: Item, result: dict[str, Any], error: str | None = None) -> dict[str, Any]:
    """Return what the manifest says of an item.

    :param result: what :func:`~airflow_provider_falinvoke.completion.bring_home` returned, if it did.
    :param error: what it ended with in place of a result.
    """
    return {
        "index": item.index,
        "state": item.phase.value,
        "error": error,
        "request_id": item.request_id,
        "model_id": item.asked.model_id,
        "files": [],
        **{name: value for name, value in result.items() if value is not None},
        "estimated_cost": item.asked.cost,
    }


def _current(item: Item, told: dict[str, Any] | None) -> dict[str, Any]:
    if told is not None:
        return told
    return row_of(item, {}, {Phase.AMBIGUOUS: _LEFT_BEHIND, Phase.DONE: _LOST}.get(item.phase))
