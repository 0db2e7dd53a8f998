"""Name the files: a template, and values that stay inside the folder whatever they hold. Pure."""

from __future__ import annotations

import hashlib
import re
import string
from dataclasses import asdict, dataclass
from typing import Any

from airflow_provider_falinvoke.exceptions import FalInvokeInputError

DEFAULT_FILE_NAME = "{dag_id}/{run_id}/{task_id}/{map_index}/{request_id}-{number}{extension}"
FIELDS = ("dag_id", "run_id", "task_id", "map_index", "request_id", "number", "extension")

#: Bytes of one value; a longer one is cut, and told from others by a digest.
_LONGEST_VALUE = 80
#: Bytes of what lies between two slashes. File systems take 255; a file that is being written has a longer name.
_LONGEST_SEGMENT = 200


@dataclass(frozen=True)
class Place:
    """Where in Airflow a file comes from; empty outside a task.

    :param map_index: of a mapped task, and the iteration of one in a loop; empty for another.
    """

    dag_id: str = ""
    run_id: str = ""
    task_id: str = ""
    map_index: str = ""

    @classmethod
    def of(cls, ti: Any) -> Place:
        """Return the place of a task instance."""
        index = "" if ti.map_index < 0 else str(ti.map_index)
        return cls(ti.dag_id, ti.run_id, ti.task_id, "-".join(part for part in (region_of(ti), index) if part))


def region_of(ti: Any) -> str:
    """Return which iteration of a loop a task instance belongs to (Airflow 3.4, where its map_index is -1); else empty.

    :param ti: as Airflow's context has it.
    """
    region, index = getattr(ti, "region_id", None), getattr(ti, "region_index", None)
    return f"{region}-{index}" if region and isinstance(index, int) and index >= 0 else ""


@dataclass(frozen=True)
class FileName:
    """A checked template for the names of files, below ``output_path``.

    :param template: text with the fields of ``FIELDS`` in braces, ``/`` between folders. ``{number}`` (from 1; also
        ``{number:03}``) must be in it, because a job may make several files, and ``{extension}`` (with its dot) at its
        end, because the file's own bytes decide it.
    :raises FalInvokeInputError: it is no such template.
    """

    template: str = DEFAULT_FILE_NAME

    def __post_init__(self) -> None:
        fields = []
        for _, field, spec, conversion in self._parts():
            if field is None:
                continue
            if (
                field not in FIELDS
                or conversion
                or (spec and (field != "number" or not re.fullmatch(r"0?\d\d?", spec)))
            ):
                raise self._wrong(
                    f"it has {{{field}}}{' in a form' if field in FIELDS else ', a field'} that is not known"
                )
            fields.append(field)
        if "number" not in fields:
            raise self._wrong("without {number} two files of one job would have the same name")
        if fields[-1] != "extension" or fields.count("extension") > 1 or not self.template.endswith("}"):
            raise self._wrong("it has to end with {extension}, and have it once: the bytes of a file decide its type")

    def render(self, place: Place, *, request_id: str | None, number: int | str, extension: str) -> str:
        """Return a file's name; empty folders vanish from it.

        :param request_id: the job's; where there is none, what tells its result from others.
        :param number: from 1, or a word for what belongs to all files of the job.
        :param extension: with its dot.
        :raises FalInvokeInputError: a part of it is too long for a file system, or leads out of the folder.
        """
        values = {**asdict(place), "request_id": request_id or "result", "number": number}
        text = "".join(
            literal + (extension if field == "extension" else _formatted(values[field], spec) if field else "")
            for literal, field, spec, _ in self._parts()
        )
        segments = [segment for segment in text.split("/") if segment]
        for segment in segments:
            if segment in (".", "..") or "\\" in segment or not segment.isprintable():
                raise self._wrong(f"{segment[:80]!r} is no name of a file or a folder")
            if len(segment.encode("utf-8", "replace")) > _LONGEST_SEGMENT:
                raise self._wrong(f"{segment[:40]!r}… would be longer than {_LONGEST_SEGMENT} bytes")
        return "/".join(segments)

    def check(self, place: Place) -> None:
        """Make sure that any name can be made of it.

        :raises FalInvokeInputError: one could not.
        """
        self.render(place, request_id="x" * _LONGEST_VALUE, number=10**6, extension=".extension")

    def check_for_many(self) -> None:
        """Make sure that the jobs of one task do not replace one another's files.

        :raises FalInvokeInputError: they would.
        """
        if all(field != "request_id" for _, field, _, _ in self._parts()):
            raise self._wrong("without {request_id} the files of the task's many jobs would have the same names")

    def _parts(self) -> list[tuple[str, str | None, str | None, str | None]]:
        try:
            return list(string.Formatter().parse(self.template))
        except (TypeError, ValueError) as error:
            raise self._wrong(str(error)) from None

    def _wrong(self, why: str) -> FalInvokeInputError:
        known = ", ".join(f"{{{field}}}" for field in FIELDS)
        return FalInvokeInputError(
            f"file_name {str(self.template)[:200]!r} cannot be used: {why}. Its fields are {known}."
        )


def _formatted(value: str | int, spec: str | None) -> str:
    return format(value, spec or "") if isinstance(value, int) else sanitised(value)


def sanitised(value: str) -> str:
    """Return a value as a part of a name: no separators, no steps up, nothing hidden, and not too long."""
    safe = re.sub(r"[^\w.-]|\.(?=\.)", "_", value)
    safe = "_" + safe[1:] if safe.startswith(".") else safe
    cut = safe.encode("utf-8", "replace")
    if len(cut) <= _LONGEST_VALUE:
        return safe
    digest = hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{cut[: _LONGEST_VALUE - 9].decode('utf-8', 'ignore')}-{digest}"
