"""What a task's result, or a line of a batch's manifest, has to show. Pure.

Whoever writes a DAG can write such a result by hand. So it is read as input from outside: what has another shape than
ours is not shown, and :mod:`~airflow_provider_falinvoke.media_tab.storage` opens nothing but what is named here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from airflow_provider_falinvoke.batch.result import MANIFEST
from airflow_provider_falinvoke.media.manifest import MediaFile

#: A batch's manifest is told from a single job's by its name.
_LINES = f"/{MANIFEST}"
_SHA256 = re.compile("[0-9a-f]{64}")
#: The most files on a page; of a job that has more, the first ones are shown.
MOST_FILES = 200


def _files(value: Any) -> list[MediaFile]:
    found = []
    for entry in value if isinstance(value, list) else ():
        try:
            file = MediaFile.model_validate(entry)
        except ValidationError:
            continue
        if _SHA256.fullmatch(file.sha256):  # it goes into a header
            found.append(file)
    return found


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _number(value: Any) -> float | None:
    is_one = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_one else None


Text = Annotated[str | None, BeforeValidator(_text)]
Number = Annotated[float | None, BeforeValidator(_number)]


class Job(BaseModel):
    """One job, as a result or a line of a manifest describes it; what is missing or of another type is None.

    :param index: its place in a batch, from 0.
    :param state: what became of it in a batch, see :class:`~airflow_provider_falinvoke.batch.phases.Phase`.
    :param error: why it has no files.
    :param seconds: how long the model worked.
    :param more: files that are not among ``files``, because they are too many.
    """

    model_config = ConfigDict(protected_namespaces=())

    index: Annotated[int | None, BeforeValidator(_number)] = None
    state: Text = None
    error: Text = None
    prompt: Text = None
    model_id: Text = None
    request_id: Text = None
    seconds: Number = None
    estimated_cost: Number = None
    files: Annotated[list[MediaFile], BeforeValidator(_files)] = Field(default_factory=list)
    more: int = 0

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Job:
        """Read a result."""
        output = result.get("output")
        said = output.get("prompt") if isinstance(output, dict) else None
        files = result.get("files")
        listed = files if isinstance(files, list) else []
        read = {
            "prompt": _text(result.get("prompt")) or _text(said),
            "files": listed[:MOST_FILES],
            "more": max(0, len(listed) - MOST_FILES),
        }
        try:
            return cls.model_validate({**result, **read})
        except ValidationError:  # a number that is none, such as 0.5 for an index
            return cls(error="This entry cannot be read.")


class Result(BaseModel):
    """What a task returned.

    :param job: the job, where it is one with files, or an error.
    :param manifest: the path of a manifest with a line for each job, for a batch or a long speech.
    :param summary: how a batch stands, by the words of its summary.
    """

    job: Job | None = None
    manifest: str | None = None
    summary: dict[str, int] = Field(default_factory=dict)


def read_result(value: Any) -> Result | None:
    """Return what a task's XCom has to show; None for one that is not ours.

    :param value: the XCom's value: a dict, or its JSON, in the form of Airflow's own serialization.
    """
    value = plain(value)
    if not isinstance(value, dict):
        return None
    manifest = value.get("manifest")
    lines = manifest if isinstance(manifest, str) and manifest.endswith(_LINES) else None
    if lines is not None and "items" in value:
        counted = {name: value.get(name) for name in ("items", "done", "failed", "ambiguous", "not_submitted")}
        return Result(manifest=lines, summary={name: n for name, n in counted.items() if isinstance(n, int)})
    if isinstance(value.get("files"), list) and "request_id" in value:
        return Result(job=Job.of(value), manifest=lines)
    return None


def read_line(line: bytes) -> Job | None:
    """Return the job of a manifest's line; None where it is no such line."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if isinstance(row, dict) and isinstance(row.get("files"), list) and {"index", "state"} <= row.keys():
        return Job.of(row)
    return None


def plain(value: Any) -> Any:
    """Return a value as it was, where the database holds its JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None
