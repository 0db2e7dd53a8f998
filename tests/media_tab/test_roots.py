"""What a deployment lets the tab read, and what of it a path can make look otherwise."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_falinvoke.media_tab.roots import lies_within, place_of

ROOTS = ["s3://c@bucket/media/", "file:///shared/media", "gs://other"]


@pytest.mark.parametrize(
    "path",
    [
        "s3://c@bucket/media",
        "s3://c@bucket/media/a.png",
        "s3a://c@bucket/media/x/y/manifest.jsonl",
        "S3://c@bucket/media/a%20b.png",
        "s3://c@bucket/media/100%.png",
        "s3://c@bucket/media/...png",
        "/shared/media/a.png",
        "file:///shared/media/a.png",
        "local:///shared//media/a.png",
        "gcs://other/a.png",
    ],
)
def test_what_lies_in_a_root_may_be_read(path: str) -> None:
    assert lies_within(path, ROOTS)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "s3://c@bucket/media-of-others/a.png",
        "s3://c@bucket/a.png",
        "s3://c@bucket//media/a.png",
        "s3://c@bucket2/media/a.png",
        "s3://other@bucket/media/a.png",
        "s3://bucket/media/a.png",
        "s3://c@bucket/MEDIA/a.png",
        "gs://c@bucket/media/a.png",
        "s3://c@bucket/media/../a.png",
        "s3://c@bucket/media/./../a.png",
        "s3://c@bucket/media/%2e%2e/a.png",
        "s3://c@bucket/media/%252E%252e/a.png",
        "s3://c@bucket/media/%25252525252e%25252525252e/a.png",
        "s3://c@bucket/media/..%2fa.png",
        "s3://c@bucket/media/..%5ca.png",
        "s3://c@bucket/media/x\\..\\..\\a.png",
        "s3://c@bucket/media/a\x00.png",
        "s3://c@bucket/media/a\n.png",
        "s3://c@bucket/media::file:///etc/passwd",
        "s3:/c@bucket/media/a.png",
        "s3:c@bucket/media/a.png",
        "file:///shared/media/../secret/a.png",
        "file://shared/media/a.png",
        "file:/shared/media/a.png",
        "shared/media/a.png",
        "~/shared/media/a.png",
        "/shared/mediation/a.png",
        "/etc/passwd",
        "simplecache::file:///shared/media/a.png",
        "s3://c@bucket/media/" + "a" * 5000,
    ],
)
def test_what_lies_beside_a_root_or_hides_where_it_leads_may_not(path: str) -> None:
    assert not lies_within(path, ROOTS)


@pytest.mark.parametrize("root", ["", "media", "~/media", "file://media", "s3://c@bucket/../x", "s3://c@b::file:///"])
def test_a_root_that_is_none_lets_nothing_be_read(root: str) -> None:
    assert not lies_within("media/a.png", [root])
    assert not lies_within(f"{root}/a.png", [root])


def test_the_root_of_the_disk_is_all_of_it_and_of_nothing_else() -> None:
    assert lies_within("/a.png", ["/"])
    assert not lies_within("s3://c@b/a.png", ["/"])


@given(st.text(alphabet="./%25eE2fF5cC\\:@~s3a", max_size=60))
def test_no_spelling_leaves_a_root(tail: str) -> None:
    path = f"s3://c@bucket/media/{tail}"
    if lies_within(path, ROOTS):
        place = place_of(path)
        assert place is not None
        assert place.segments[:2] == ("c@bucket", "media")
        assert not {".", ".."} & set(place.segments)


def test_hostile_paths_are_read_in_no_time() -> None:
    before = time.process_time()
    for path in ("%25" * 1300, "/" * 4096, "%" * 4096, "%2" * 2000 + "5", "../" * 1300, "a" * 1_000_000, ":" * 4096):
        place_of(f"s3://{path}")
    assert time.process_time() - before < 0.2
