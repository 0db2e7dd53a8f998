"""A page of a long file of lines, found by where it begins, so that no more than that is read. Pure but for ``read``.

A page is named by the byte at which its first line begins: the page of a manifest's ten thousandth line costs as much
as that of the first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

#: Returns the bytes from one offset up to another.
Read = Callable[[int, int], bytes]

#: How many bytes are read at a time.
BLOCK = 1 << 16
#: A longer line is none of ours: a job of 64 files takes some 40 kB, the times of a speech's 10,000 characters 1 MB.
LONGEST = 2 << 20
#: A page of longer lines has fewer of them.
PAGE = 4 << 20


class Line(NamedTuple):
    """A line and where it begins.

    :param at: its first byte's place in the file.
    """

    at: int
    data: bytes


class Lines(NamedTuple):
    """A page.

    :param lines: its lines, in order.
    :param before: where the page before it begins; None for the first.
    :param after: where the page after it begins; None for the last.
    """

    lines: list[Line]
    before: int | None
    after: int | None


def page_at(read: Read, size: int, at: int, count: int) -> Lines:
    """Return the page that begins at a byte.

    :param read: reads the file.
    :param size: its bytes.
    :param at: where a line begins.
    :param count: lines on a page.
    :raises ValueError: no line begins there, or a line is too long.
    """
    if not starts_line(read, size, at):
        raise ValueError("no line begins there")
    lines: list[Line] = []
    end = at
    while len(lines) < count and end < size:
        line = line_at(read, size, end)
        if lines and line.at + len(line.data) - at > PAGE:
            break
        lines.append(line)
        end = line.at + len(line.data)
    before = _start_of_page_before(read, at, count) if at > 0 else None
    return Lines(lines, before, end if end < size else None)


def last_page(read: Read, size: int, count: int) -> int:
    """Return where the last page begins."""
    return _start_of_page_before(read, size, count) if size else 0


def line_at(read: Read, size: int, at: int) -> Line:
    """Return the line that begins at a byte, with its end.

    :raises ValueError: it is too long.
    """
    data = b""
    while at + len(data) < size:
        start = at + len(data)
        block = read(start, min(size, start + BLOCK))
        found = block.find(b"\n")
        if found >= 0:
            return Line(at, data + block[: found + 1])
        if not block:
            break
        data += block
        if len(data) > LONGEST:
            raise ValueError("a line is too long")
    return Line(at, data)


def starts_line(read: Read, size: int, at: int) -> bool:
    """Whether a line begins at a byte: JSON has no line breaks of its own, so nothing within a line looks like one."""
    return at == 0 or (0 < at < size and read(at - 1, at) == b"\n")


def _start_of_page_before(read: Read, end: int, count: int) -> int:
    """Return where the ``count`` lines before ``end``, at which a line ends, begin; fewer, where they are long."""
    # The last byte ends the last of the wanted lines; the break before the first of them is one more.
    start = line_end = end - 1
    while start > 0:
        block = read(max(0, start - BLOCK), start)
        if not block or line_end - start > LONGEST:
            raise ValueError("a line is too long")
        start, found = start - len(block), len(block)
        while (found := block.rfind(b"\n", 0, found)) >= 0:
            if end - start - found - 1 > PAGE and line_end < end - 1:
                return line_end + 1  # the line between the two is one too many
            count, line_end = count - 1, start + found
            if count == 0:
                return line_end + 1
    return 0
