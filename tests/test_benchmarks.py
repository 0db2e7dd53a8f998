"""The benchmarks' frame: what is measured is shown as it was measured. The benchmarks themselves are not run here."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.support import page
from benchmarks.support.report import Report


def test_the_page_shows_the_stored_results() -> None:
    """``python -m benchmarks --render`` writes it; nobody else does."""
    assert page.PAGE.read_text() == page.text(page.stored())


@pytest.mark.parametrize("name", command.names())
def test_each_benchmark_says_what_it_measures_and_can_be_run(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    assert module.__doc__
    assert callable(module.main)


def test_a_missed_target_is_told_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    report = Report("benchmarks.some", "Some figures.\n\nHow.")
    report.check("requests a job", 2.5, at_most=2.4)
    report.check("jobs an hour", 2200, at_least=2125)
    assert report.finish() == 1
    lines = (tmp_path / "page.md").read_text().splitlines()
    assert "| requests a job | ≤ 2.4 | 2.5 | **no** |" in lines
    assert "| jobs an hour | ≥ 2,125 | 2,200 | yes |" in lines


def test_a_link_to_what_was_not_measured_is_none() -> None:
    result = {"benchmark": "b", "title": "Jobs, an hour", "text": "[here](#jobs-an-hour) [there](#cpu)", "minutes": 1}
    result |= {name: [] for name in ("checks", "tables", "plots", "notes")} | {
        name: {} for name in ("versions", "machine")
    }
    assert "\n[here](#jobs-an-hour) there\n" in page.text([result | {"date": "2026-01-01"}])
