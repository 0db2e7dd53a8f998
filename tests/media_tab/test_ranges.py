"""Ranges, as RFC 9110 has them."""

from __future__ import annotations

import pytest

from airflow_provider_falinvoke.media_tab.ranges import UnsatisfiableError, span_of


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-", (0, 1000)),
        ("bytes=0-0", (0, 1)),
        ("bytes=100-199", (100, 200)),
        ("bytes=900-5000", (900, 1000)),
        ("bytes=-5", (995, 1000)),
        ("bytes=-5000", (0, 1000)),
        (" bytes = 1 - 2 ", (1, 3)),
        (None, None),
        ("", None),
        ("bytes=-", None),
        ("bytes=5-4", None),
        ("bytes=0-1,5-6", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
        ("bytes=\u0661-", None),
        ("bytes=0-" + "9" * 5000, None),
        ("bytes=" + "9" * 5000 + "-", None),
        ("bytes=-" + "1" * 20, None),
    ],
)
def test_a_range_is_a_span_or_else_the_whole_file(header: str | None, span: tuple[int, int] | None) -> None:
    assert span_of(header, 1000) == span


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=1000-2000", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused(header: str) -> None:
    with pytest.raises(UnsatisfiableError):
        span_of(header, 1000)


def test_of_an_empty_file_there_is_no_part() -> None:
    assert span_of(None, 0) is None
    with pytest.raises(UnsatisfiableError):
        span_of("bytes=0-", 0)
