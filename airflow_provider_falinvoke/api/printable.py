"""Foreign text on its way to a log, a terminal, a table or an error: on one line, and nothing in it acts. Pure."""

from __future__ import annotations


def printable(text: object, limit: int = 200) -> str:
    """Return a text on one line, cut where it is longer than ``limit`` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
