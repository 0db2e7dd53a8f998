"""Which bytes a browser asks for: players fetch a sound's end first, and go on where one clicks. RFC 9110; pure."""

from __future__ import annotations

import re
from typing import NamedTuple

#: No file has a place of more digits, and Python refuses to read thousands of them.
_ONE = re.compile(r"\s*bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.ASCII)


class Span(NamedTuple):
    """Bytes of a file, from the first up to, and without, ``stop``."""

    start: int
    stop: int


class UnsatisfiableError(ValueError):
    """No byte of the file lies in what was asked for."""


def span_of(header: str | None, size: int) -> Span | None:
    """Return what a ``Range`` header asks for; None for the whole file.

    A header that is not understood, or asks for several parts, may be answered with the whole file.

    :param header: the header's value.
    :param size: the file's bytes.
    :raises UnsatisfiableError: answer 416.
    """
    found = _ONE.fullmatch(header or "")
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None
    if start >= stop:
        raise UnsatisfiableError
    return Span(start, stop)
