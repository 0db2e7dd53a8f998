"""What a benchmark found: printed, stored as JSON, and brought onto the page."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import psutil

from benchmarks.support import page

#: Distributions whose versions a result names where they are installed.
_NAMED = ("apache-airflow", "httpx", "aiohttp", "httpx-aiohttp", "pydantic")


@dataclass(frozen=True)
class Check:
    """A target and what was measured.

    :param what: what was measured, with its unit.
    :param target: the target in words, such as ``≤ 0.60``.
    """

    what: str
    target: str
    figure: float
    met: bool


@dataclass(frozen=True)
class Table:
    """A table of the page; numbers are shown with three digits."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | float | int | None]]


@dataclass(frozen=True)
class Plot:
    """A plot of the page.

    :param name: of its file, without the ending.
    :param kind: ``bars`` (one value for each name), ``lines`` or ``points`` (pairs of x and y for each name).
    :param y: the label of the values.
    :param series: what is drawn, by name.
    :param limit: a target, drawn as a line across.
    :param log: whether the values' axis is logarithmic.
    """

    name: str
    kind: Literal["bars", "lines", "points"]
    title: str
    y: str
    series: Mapping[str, float | Sequence[tuple[float, float]]]
    x: str = ""
    limit: float | None = None
    log: bool = False


@dataclass
class Report:
    """The findings of one run.

    :param name: the benchmark's module, ``__name__``.
    :param text: its docstring: a title, and how it measures.
    :param save: whether the result is stored and brought onto the page.
    """

    name: str
    text: str | None
    save: bool = True
    versions: Sequence[str] = ()
    checks: list[Check] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = self.name.rpartition(".")[2]
        self._since = time.monotonic()
        self._load = os.getloadavg()[0]

    def check(
        self, what: str, figure: float, *, at_most: float | None = None, at_least: float | None = None, unit: str = ""
    ) -> None:
        """Hold a figure against its target, one of the two."""
        limit = at_most if at_most is not None else at_least
        assert limit is not None, "a check needs a target"
        met = figure <= limit if at_most is not None else figure >= limit
        sign = "≤" if at_most is not None else "≥"
        found = Check(what, f"{sign} {limit:,g}{_spaced(unit)}", figure, met)
        self.checks.append(found)
        print(f"{what}: {figure:,.4g}{_spaced(unit)}, target {found.target}: {'met' if met else 'NOT met'}", flush=True)

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str | float | int | None]]) -> None:
        """Add a table, and print it."""
        table = Table(title, head, rows)
        self.tables.append(table)
        print("\n".join((f"\n{title}", *page.table_lines(head, rows), "")), flush=True)

    def plot(self, plot: Plot) -> None:
        """Add a plot."""
        self.plots.append(plot)

    def note(self, text: str) -> None:
        """Add a sentence that the figures need to be understood, and print it."""
        self.notes.append(text)
        print(text, flush=True)

    def finish(self) -> int:
        """Store the result and write the page; return 0 where every target is met."""
        title, _, text = (self.text or self.name).partition("\n")
        document = {
            "benchmark": self.name,
            "title": title.rstrip("."),
            "text": text.strip(),
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "minutes": round((time.monotonic() - self._since) / 60, 1),
            "machine": machine() | {"load before": round(self._load, 2)},
            "versions": {"Python": platform.python_version(), **_versions((*_NAMED, *self.versions))},
            "checks": [asdict(check) for check in self.checks],
            "tables": [asdict(table) for table in self.tables],
            "plots": [asdict(plot) for plot in self.plots],
            "notes": self.notes,
        }
        if self.save:
            page.RESULTS.mkdir(exist_ok=True)
            shown = json.dumps(document, indent=1, ensure_ascii=False)
            (page.RESULTS / f"{self.name}.json").write_text(shown + "\n")
            page.render()
        return 0 if all(check.met for check in self.checks) else 1


def parser(text: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have.

    :param text: the benchmark's docstring.
    """
    made = argparse.ArgumentParser(description=(text or "").partition("\n")[0])
    made.add_argument("--no-save", action="store_true", help="print only; leave the stored result and the page alone")
    return made


def machine() -> dict[str, Any]:
    """Return what this machine is, without names and paths of it."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = (line.partition(":") for line in cpuinfo.read_text().splitlines())
        model = next((value.strip() for name, _, value in lines if name.strip() == "model name"), "")
    return {
        "CPU": model or platform.machine(),
        "cores": os.cpu_count(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.system(),
    }


def _versions(names: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in dict.fromkeys(names):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _spaced(unit: str) -> str:
    return f" {unit}" if unit else ""
