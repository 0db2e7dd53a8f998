"""A page of a manifest is found without reading the rest of it."""

from __future__ import annotations

import pytest

from airflow_provider_falinvoke.media_tab.lines import BLOCK, LONGEST, PAGE, Read, last_page, page_at, starts_line


class File:
    """Bytes, and how many of them were read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.read_bytes = 0

    def read(self, start: int, stop: int) -> bytes:
        self.read_bytes += stop - start
        return self.data[start:stop]


def walk(read: Read, size: int, at: int, count: int) -> list[list[bytes]]:
    """Return all pages from one on."""
    pages, following = [], [at]
    while following:
        page = page_at(read, size, following.pop(), count)
        pages.append([line.data for line in page.lines])
        following += [] if page.after is None else [page.after]
    return pages


@pytest.mark.parametrize("lines", [0, 1, 2, 23, 24, 25, 48, 100])
@pytest.mark.parametrize("length", [1, 700, 70_000])
@pytest.mark.parametrize("ends", ["\n", ""])
def test_each_line_is_on_one_page_and_the_way_back_is_the_way_there(lines: int, length: int, ends: str) -> None:
    wanted = [str(number).ljust(length, "x").encode() + b"\n" for number in range(lines)]
    data = b"".join(wanted)
    if not ends:
        data = data[:-1]
    file = File(data)
    pages = walk(file.read, len(data), 0, 24)
    assert b"".join(line for page in pages for line in page) == data
    assert [len(page) for page in pages[:-1]] == [24] * (len(pages) - 1)
    at, back = last_page(file.read, len(data), 24), 0
    while (page := page_at(file.read, len(data), at, 24)).before is not None:
        at, back = page.before, back + 1
        assert starts_line(file.read, len(data), at)
    assert (at, back) == (0, max(0, -(-lines // 24) - 1))


def test_lines_as_long_as_the_times_of_a_speech_are_shown_a_few_on_a_page() -> None:
    """Not one of them could be shown, nor any other line of their page."""
    lengths = [10, 1_900_000, 10, *[900_000] * 9, 1_900_000, 1_900_000, 1_900_000, 20, 30]
    wanted = [b"x" * length + b"\n" for length in lengths]
    file = File(b"".join(wanted))
    size = len(file.data)
    pages = walk(file.read, size, 0, 24)
    assert [line for page in pages for line in page] == wanted
    assert max(sum(map(len, page)) for page in pages) <= PAGE
    assert len(pages) < 6
    at, ends = last_page(file.read, size, 24), size
    while True:
        page = page_at(file.read, size, at, 24)
        assert page.lines[-1].at + len(page.lines[-1].data) >= ends, "no line is left out on the way back"
        if page.before is None:
            break
        at, ends = page.before, at
    assert at == 0


def test_a_page_of_ten_thousand_lines_costs_what_one_of_a_hundred_does() -> None:
    file = File(b"".join(b"%1199d\n" % number for number in range(10_000)))
    size = len(file.data)
    at = last_page(file.read, size, 24)
    page = page_at(file.read, size, at, 24)
    assert page.lines[-1].data == b"%1199d\n" % 9999
    assert page.after is None
    assert file.read_bytes < 3_000_000 < size / 3


@pytest.mark.parametrize("at", [1, 5, 7, 10**9])
def test_a_page_begins_where_a_line_does(at: int) -> None:
    file = File(b"abcdef\nabc\n")
    if at == 7:
        assert page_at(file.read, 11, at, 24).lines[0].data == b"abc\n"
        return
    with pytest.raises(ValueError, match="no line begins there"):
        page_at(file.read, 11, at, 24)


def test_a_line_may_have_2_mb_and_a_block_is_all_that_a_longer_one_gains() -> None:
    for length, shown in ((2 << 20, True), ((2 << 20) + 1, True), ((2 << 20) + BLOCK + 2, False)):
        file = File(b"x" * (length - 1) + b"\n")
        try:
            assert (len(page_at(file.read, length, 0, 24).lines[0].data) == length) is shown
        except ValueError:
            assert not shown


def test_a_file_without_a_line_break_is_given_up_soon() -> None:
    file = File(b"x" * (8 * LONGEST))
    with pytest.raises(ValueError, match="too long"):
        last_page(file.read, len(file.data), 24)
    with pytest.raises(ValueError, match="too long"):
        page_at(file.read, len(file.data), 0, 24)
    assert file.read_bytes < 3 * LONGEST
