"""The page docs/benchmarks.md: written as a whole from the stored results, never by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
#: Beside the page, so that a link from it is the file's name.
PICTURES = ROOT / "docs" / "images"

#: The order of the page; what is not named here follows by name.
_ORDER = (
    "jobs_an_hour",
    "requests_a_job",
    "cpu_per_poll",
    "triggerer_load",
    "worker_slots",
    "import_time",
)

_HEAD = """\
# Benchmarks

What the package costs beside its peers. `make bench` measures all of it on your machine and writes this page; a
single one is `python -m benchmarks NAME`. Every comparison is a ratio between runs of the same minutes on the same
machine, because machines drift; the API is the [emulator](emulator.md) in a process of its own, which enforces the
quota. The numbers behind the tables and plots are in `benchmarks/results/`; what has none there was not measured yet in
this version.
"""


def place(name: str) -> tuple[int, str]:
    """Return the sort key of a benchmark on the page."""
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)


def stored() -> list[dict[str, Any]]:
    """Return the stored results in the order of the page."""
    results: list[dict[str, Any]] = [json.loads(path.read_text()) for path in RESULTS.glob("*.json")]
    return sorted(results, key=lambda result: place(result["benchmark"]))


def render() -> Path:
    """Write the page and its plots from the stored results, and return its path."""
    results = stored()
    for result in results:
        for plot in result["plots"]:
            _draw(plot)
    PAGE.write_text(text(results))
    return PAGE


def text(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the page as Markdown."""
    whole = "\n".join((_HEAD, _summary(results), *map(_section, results)))
    anchors = {_anchor(result["title"]) for result in results}
    # What was not measured yet has no section to lead to.
    return re.sub(r"\[([^\]]+)\]\(#([^)]+)\)", lambda link: link[0] if link[2] in anchors else link[1], whole)


def table_lines(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return a table in Markdown, line by line."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(_cell(value) for value in line) + " |" for line in lines]


def _summary(results: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (check["what"], check["target"], check["figure"], "yes" if check["met"] else "**no**")
        for result in results
        for check in result["checks"]
    ]
    return "\n".join(("## Targets", "", *table_lines(("what", "target", "measured", "met"), rows), ""))


def _section(result: Mapping[str, Any]) -> str:
    parts = [f"## {result['title']}", "", result["text"], ""]
    for table in result["tables"]:
        parts += [f"**{table['title']}**", "", *table_lines(table["head"], table["rows"]), ""]
    for plot in result["plots"]:
        parts += [f"![{plot['title']}](images/{_picture(plot)})", ""]
    for note in result["notes"]:
        parts += [note, ""]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    parts += [
        f"<sub>`python -m benchmarks {result['benchmark']}`, {result['minutes']} min, {result['date']}; "
        f"{versions}; {machine}</sub>",
        "",
    ]
    return "\n".join(parts)


def _anchor(title: str) -> str:
    """Return what the site's generator makes of a heading."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def _picture(plot: Mapping[str, Any]) -> str:
    return f"benchmark-{plot['name']}.svg"


def _draw(plot: Mapping[str, Any]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    # The same figures give the same file, so that a page that did not change is no change.
    mpl.rcParams.update({"svg.hashsalt": plot["name"], "svg.fonttype": "none", "font.size": 9})
    figure, axes = pyplot.subplots(figsize=(7, 3.2 if plot["kind"] != "bars" else 0.6 + 0.4 * len(plot["series"])))
    if plot["kind"] == "bars":
        names = list(plot["series"])[::-1]
        bars = axes.barh(names, [plot["series"][name] for name in names], color="#7d6bc4")
        axes.bar_label(bars, fmt=lambda value: _cell(float(value)), padding=3)
        axes.margins(x=0.12)
        axes.set_xlabel(plot["y"])
        if plot["log"]:
            axes.set_xscale("log")
        if plot["limit"] is not None:
            axes.axvline(plot["limit"], color="#c0504d", linestyle="--", linewidth=1)
    else:
        for name, pairs in plot["series"].items():
            xs, ys = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
            if plot["kind"] == "points":
                axes.scatter(xs, ys, s=5, label=name)
            else:
                axes.plot(xs, ys, label=name, linewidth=1.2)
        axes.set_xlabel(plot["x"])
        axes.set_ylabel(plot["y"])
        if plot["log"]:
            axes.set_yscale("log")
        if plot["limit"] is not None:
            axes.axhline(plot["limit"], color="#c0504d", linestyle="--", linewidth=1)
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    axes.set_title(plot["title"], fontsize=10)
    figure.tight_layout()
    PICTURES.mkdir(exist_ok=True)
    figure.savefig(PICTURES / _picture(plot), metadata={"Date": None})
    pyplot.close(figure)
