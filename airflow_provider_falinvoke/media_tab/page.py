"""The page, as HTML: a card for each file, and for each job without one. All that it says is escaped by Jinja."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_falinvoke.media.manifest import MediaFile
from airflow_provider_falinvoke.media_tab.results import Job

if TYPE_CHECKING:
    from jinja2 import Template

_WORDS = {"not_submitted": "not submitted"}
_KILO = 1000


class Entry(NamedTuple):
    """A job on the page.

    :param url: what its files are asked for with; their number is added.
    """

    job: Job
    url: str


class Turns(NamedTuple):
    """Where one can turn to from a page: bytes of the manifest, None where there is none."""

    before: int | None
    after: int | None


def render(
    *,
    entries: Sequence[Entry] = (),
    summary: Mapping[str, int] | None = None,
    turns: Turns | None = None,
    word: str | None = None,
) -> Callable[[str], str]:
    """Return what makes the page of the nonce that its style and its script are allowed by.

    :param entries: the jobs.
    :param summary: how many jobs of a batch are in which state.
    :param turns: where one can turn to.
    :param word: a sentence in place of what is not there.
    """
    counted = [f"{number:,} {_WORDS.get(name, name)}" for name, number in (summary or {}).items() if number]
    has_files = any(entry.job.files for entry in entries)
    if not word and entries and not has_files and not turns and all(not entry.job.error for entry in entries):
        word = "The job is completed, and no file was saved: the task has no output_path, or its output names no file."
    return functools.partial(_render, entries=entries, counted=counted, turns=turns, word=word)


def _render(nonce: str, **fields: object) -> str:
    return _template().render(nonce=nonce, **fields)


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("airflow_provider_falinvoke.media_tab"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(size=size_of, measures=measures_of, seconds=seconds_of)
    return environment.get_template("page.html")


def size_of(size: int) -> str:
    """Return a number of bytes in words, as file managers give it."""
    if size < _KILO:
        return f"{size} B"
    amount, units = size / _KILO, ["GB", "MB", "kB"]
    while amount >= _KILO and len(units) > 1:
        amount /= _KILO
        units.pop()
    return f"{amount:.1f} {units[-1]}"


def seconds_of(seconds: float) -> str:
    """Return a duration in words."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def measures_of(file: MediaFile) -> str:
    """Return how large a picture is, or how long a sound."""
    told = []
    if file.width and file.height:
        told.append(f"{file.width} \u00d7 {file.height}")
    if file.duration and math.isfinite(file.duration):
        told.append(seconds_of(file.duration))
    if file.sample_rate:
        told.append(f"{file.sample_rate / 1000:g} kHz")
    return ", ".join([*told, size_of(file.size)])
