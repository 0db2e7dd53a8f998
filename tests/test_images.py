"""The pictures of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"


def test_each_picture_is_shown_on_a_page_and_is_small() -> None:
    """Everybody who clones the repository fetches them."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    shown = {
        (page.parent / target).resolve()
        for page in pages
        for target in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text())
    }
    there = set(IMAGES.iterdir())
    assert {path for path in shown if path.is_relative_to(ROOT)} == there
    assert [path.name for path in there if path.stat().st_size > 200_000] == []
