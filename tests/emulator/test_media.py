"""The media origin: whole files, ranges, expiry, and the key that must not get there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.emulator.client import SPEECH, Running, running


@contextmanager
def _file(**settings: Any) -> Iterator[tuple[Running, str]]:
    with running(**settings) as api:
        yield api, api.finished(SPEECH, text="good morning")["output"]["audio"]["url"]


def test_a_file_is_served_with_its_type_length_and_etag() -> None:
    with _file() as (api, url):
        answer = httpx.get(url)
        assert answer.status_code == 200
        assert url.startswith(api.emulator.media_url + "/files/")
        assert answer.headers["content-type"] == "audio/wav"
        assert answer.headers["content-length"] == str(len(answer.content))
        assert answer.headers["accept-ranges"] == "bytes"
        assert httpx.head(url).headers["content-length"] == str(len(answer.content))
        unchanged = httpx.get(url, headers={"If-None-Match": answer.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-3", slice(0, 4)),
        ("bytes=10-", slice(10, None)),
        ("bytes=-5", slice(-5, None)),
        ("bytes=100-99999999", slice(100, None)),
    ],
)
def test_a_range_is_served_as_206(asked: str, part: slice) -> None:
    with _file() as (_, url):
        whole = httpx.get(url)
        answer = httpx.get(url, headers={"Range": asked, "If-Range": whole.headers["etag"]})
    assert answer.status_code == 206
    assert answer.content == whole.content[part]
    first = range(len(whole.content))[part][0]
    expected = f"bytes {first}-{first + len(answer.content) - 1}/{len(whole.content)}"
    assert answer.headers["content-range"] == expected


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
def test_a_range_beyond_the_end_answers_416(asked: str) -> None:
    with _file() as (_, url):
        size = len(httpx.get(url).content)
        answer = httpx.get(url, headers={"Range": asked})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{size}"


@pytest.mark.parametrize(
    "headers", [{"Range": "lines=1-2"}, {"Range": "bytes=5-2"}, {"Range": "bytes=-"}, {"Range": "bytes=0-1,3-4"}]
)
def test_a_range_that_cannot_be_read_is_ignored(headers: dict[str, str]) -> None:
    with _file() as (_, url):
        assert httpx.get(url, headers=headers).status_code == 200


def test_a_range_of_another_version_of_the_file_is_ignored() -> None:
    with _file() as (_, url):
        assert httpx.get(url, headers={"Range": "bytes=0-3", "If-Range": '"other"'}).status_code == 200


def test_files_expire_after_their_time() -> None:
    with running(media_ttl=60) as api:
        request_id = api.submit(SPEECH, text="x")
        api.clock.advance(4)
        url = api.get(request_id).json()["output"]["audio"]["url"]
        api.clock.advance(59)
        assert httpx.get(url).status_code == 200
        api.clock.advance(1)
        assert httpx.get(url).status_code == 410


def test_there_is_no_file_before_the_end_nor_under_another_name() -> None:
    with running() as api:
        url = f"{api.emulator.media_url}/files/{api.submit()}/"
        assert httpx.get(url + "0.png").status_code == 404
        api.clock.advance(100)
        assert httpx.get(url + "0.png").status_code == 200
        assert httpx.get(url + "1.png").status_code == 404
        assert httpx.get(api.emulator.media_url).status_code == 404
        assert httpx.post(url + "0.png").status_code == 405


def test_a_key_that_gets_to_the_media_origin_is_noticed_and_not_kept() -> None:
    with running(api_key="top/secret") as api:
        url = api.finished(SPEECH, text="x")["output"]["audio"]["url"]
        path = url.removeprefix(api.emulator.media_url)
        httpx.get(url)
        assert api.emulator.leaks == []
        httpx.get(url, headers={"Authorization": "Bearer other"})
        httpx.get(url, headers={"X-Key": "top/secret"})
        httpx.get(url, params={"key": "top/secret"})
        assert api.emulator.leaks == [path, path, f"{path}?key=***"]
        assert "secret" not in repr(api.emulator.requests) + repr(api.emulator.leaks)


def test_a_download_is_recorded_and_not_counted_against_the_quota() -> None:
    with _file(quota_per_minute=2) as (api, url):
        for _ in range(3):
            assert httpx.get(url).status_code == 200
        assert [record.route for record in api.emulator.requests] == ["post", "get", "media", "media", "media"]
        assert "ratelimit-limit" not in httpx.get(url).headers
