"""Foreign text on its way to a log, a terminal, a table or an error: on one line, and nothing in it acts. Pure.

This module imports nothing, so that even ``exceptions.py`` may use it.
"""

from __future__ import annotations

import re

#: Letters and marks to Unicode, but nothing is seen of them.
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u3164\uffa0]")
#: So many times the limit are looked at: blanks become one, and a text of megabytes must not hold up an event loop.
_SLACK = 8


def printable(text: object, limit: int = 200) -> str:
    """Return a text on one line, with what acts or hides (controls, directions, zero widths) as its visible escape.

    :param limit: the length in characters from which it is cut.
    """
    whole = str(text)
    line = visible(" ".join(whole[: _SLACK * limit].split()))
    fits = len(line) <= limit and len(whole) <= _SLACK * limit
    return line if fits else line[: limit - 1] + "…"


def visible(text: str) -> str:
    """Return a text of whole length and of as many lines, with what acts or hides as its visible escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character == "\n" or (character.isprintable() and not _UNSEEN.match(character)):
        return character
    return character.encode("unicode_escape").decode()
