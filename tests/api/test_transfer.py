"""What a response does to a file's transfer: from its start, the rest of it, or nothing."""

from __future__ import annotations

import httpx
import pytest

from airflow_provider_falinvoke.api.transfer import MediaFailedError, PassingError, Transfer

TAG = '"abc"'


def begun(headers: dict[str, str] | None = None, *, max_bytes: int = 1000) -> Transfer:
    """Return a transfer that broke off after 40 of 100 bytes."""
    transfer = Transfer(max_bytes)
    assert transfer.begin(200, httpx.Headers({"content-length": "100", "etag": TAG, **(headers or {})}))
    transfer.take(40)
    return transfer


def test_a_file_is_asked_for_as_it_is() -> None:
    assert Transfer(10).headers() == {"Accept": "*/*", "Accept-Encoding": "identity"}


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({}, TAG),
        ({"etag": 'W/"abc"', "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT"}, None),
        ({"etag": "", "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT"}, "Thu, 01 Jan 2026 00:00:00 GMT"),
        ({"etag": "unquoted"}, None),
        ({"etag": ""}, None),
    ],
)
def test_the_rest_is_asked_for_where_the_host_says_which_version_it_is(
    headers: dict[str, str], validator: str | None
) -> None:
    asked = begun(headers).headers()
    assert asked.get("If-Range") == validator
    assert asked.get("Range") == (None if validator is None else "bytes=40-")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-range": "bytes 40-99/100"},
        {"content-range": "bytes 40-99/*"},
        {"content-range": "bytes 40-99/100", "etag": TAG, "content-length": "60"},
    ],
)
def test_the_rest_of_a_file_continues_it(headers: dict[str, str]) -> None:
    transfer = begun()
    assert not transfer.begin(206, httpx.Headers(headers))
    transfer.take(60)
    transfer.end()
    assert transfer.size == 100


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-range": "bytes 0-99/100"},
        {"content-range": "bytes 41-99/100"},
        {"content-range": "bytes 40-98/100"},
        {"content-range": "bytes 40-199/200"},
        {"content-range": "bytes 40-99/100", "etag": '"other"'},
        {"content-range": "bytes 40-99/100x"},
        {"content-range": "40-99"},
        {"content-range": "bytes " + "9" * 100 + "-1/1"},
        {"content-type": "multipart/byteranges; boundary=x"},
    ],
)
def test_another_part_than_was_asked_for_starts_the_file_again(headers: dict[str, str]) -> None:
    transfer = begun()
    with pytest.raises(PassingError, match="another part"):
        transfer.begin(206, httpx.Headers(headers))
    assert "Range" not in transfer.headers()


def test_a_part_that_nobody_asked_for_is_not_taken_for_the_file() -> None:
    with pytest.raises(PassingError):
        Transfer(1000).begin(206, httpx.Headers({"content-range": "bytes 0-99/100", "etag": TAG}))


def test_a_range_that_is_not_there_starts_the_file_again() -> None:
    transfer = begun()
    with pytest.raises(PassingError, match="416"):
        transfer.begin(416, httpx.Headers({"content-range": "bytes */20"}))
    assert "Range" not in transfer.headers()


def test_a_whole_file_in_place_of_its_rest_starts_it_again() -> None:
    transfer = begun()
    assert transfer.begin(200, httpx.Headers({"content-length": "70"}))
    transfer.take(70)
    transfer.end()
    assert transfer.size == 70


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 425, 429, 204, 304, 300])
def test_a_status_that_may_pass_keeps_what_there_is(status: int) -> None:
    transfer = begun()
    with pytest.raises(PassingError, match=str(status)):
        transfer.begin(status, httpx.Headers({}))
    assert transfer.headers()["Range"] == "bytes=40-"


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("0", 0.0), ("-1", 0.0), ("soon", 0.0), ("Thu, 01 Jan 2026 00:00:00 GMT", 0.0)]
)
def test_a_host_may_say_when_to_ask_again(header: str, seconds: float) -> None:
    with pytest.raises(PassingError) as caught:
        begun().begin(429, httpx.Headers({"retry-after": header}))
    assert caught.value.after == seconds


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_status_that_lasts_says_that_the_file_is_gone(status: int) -> None:
    with pytest.raises(MediaFailedError, match=str(status)) as caught:
        begun().begin(status, httpx.Headers({}))
    assert caught.value.gone


@pytest.mark.parametrize(
    "encoding", ["", "identity", "aws-chunked", "utf-8", " Binary ", "none", "x" * 500, "identity,"]
)
def test_what_names_no_compression_changes_no_byte(encoding: str) -> None:
    """Object stores and hosts put all kinds of words there; the file's own bytes tell what it is."""
    assert Transfer(1000).begin(200, httpx.Headers({"content-encoding": encoding}))


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "aws-chunked,GZIP", "x-gzip", "zstd", "compress"])
def test_a_body_that_is_compressed_all_the_same_is_refused(encoding: str) -> None:
    with pytest.raises(MediaFailedError, match="compressed") as caught:
        Transfer(1000).begin(200, httpx.Headers({"content-encoding": encoding}))
    assert len(str(caught.value)) < 200


def test_a_file_that_is_too_large_is_refused_before_it_comes_or_while_it_does() -> None:
    with pytest.raises(MediaFailedError, match="larger than 99 bytes") as caught:
        begun(max_bytes=99)
    assert caught.value.lasting
    silent = Transfer(99)
    silent.begin(200, httpx.Headers({}))
    silent.take(99)
    with pytest.raises(MediaFailedError, match="max_file_size"):
        silent.take(1)


def test_an_end_before_the_end_is_none() -> None:
    with pytest.raises(PassingError, match="40 of 100"):
        begun().end()
