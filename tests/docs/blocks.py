"""Finds the code blocks of the pages, and what a page says of one that cannot be executed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Every page, in the order in which a reader meets them.
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CHANGELOG.md"]
_FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)\n(?P<code>.*?)^(?P=indent)(?P=fence) *$", re.M | re.S
)
_MARKER = re.compile(r"<!-- not executed: (?P<reason>[^>]*?) -->\s*\Z")
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One fenced block.

    :param language: the first word after the fence, or "".
    :param title: the file that a reader is told to write it to, if any.
    :param reason: why it is not executed, where an HTML comment before it says so:
        ``<!-- not executed: … -->``.
    """

    page: Path
    line: int
    language: str
    code: str
    title: str | None = None
    reason: str | None = None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path, text: str | None = None) -> list[Block]:
    """Return the blocks of a page, in order.

    :param text: the page's text, where it is not to be read.
    """
    text = page.read_text() if text is None else text
    return [_block(page, text, match) for match in _FENCE.finditer(text)]


def _block(page: Path, text: str, match: re.Match[str]) -> Block:
    marker = _MARKER.search(text[: match.start()])
    title = _TITLE.search(match["info"])
    return Block(
        page=page,
        line=text.count("\n", 0, match.start()) + 1,
        language=match["info"].strip().split(" ")[0],
        code=re.sub(f"^{match['indent']}", "", match["code"], flags=re.M),
        title=title[1] if title else None,
        reason=marker["reason"] if marker else None,
    )
