"""Finding the files of an output in every shape of the contract, and keeping inline ones out of XCom."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_falinvoke.media import Media, find_media, flagged_numbers, without_inline
from airflow_provider_falinvoke.media.find import contents_of

A, B = "https://v3.fal.media/files/a.png", "https://v3.fal.media/files/b.wav"


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ({"images": [{"url": A, "content_type": "image/png", "width": 1}]}, [Media(A, "image/png")]),
        ({"images": [{"url": A}, {"url": B}], "seed": 1}, [Media(A), Media(B)]),
        ({"images": [A, B]}, [Media(A), Media(B)]),
        ({"images": [{"url": A}, {"url": A}]}, [Media(A)]),
        ({"image": {"url": A}}, [Media(A)]),
        ({"audio": {"url": B, "content_type": "audio/wav", "file_name": "x.wav"}}, [Media(B, "audio/wav")]),
        ({"audio": B}, [Media(B)]),
        ({"audio": {"url": B}, "timestamps": [{"url": A}]}, [Media(B)]),
        ({"audio_file": {"url": B}}, [Media(B)]),
        ({"audio_url": B}, [Media(B)]),
        ({"url": A}, [Media(A)]),
        ({"file_url": A}, [Media(A)]),
        ({"download_url": A}, [Media(A)]),
        ({"video": {"url": A}}, [Media(A)]),
        ({"images": [{"b64_json": "QQ=="}]}, [Media("data:application/octet-stream;base64,QQ==")]),
        (
            {"images": [{"b64_json": "QQ==", "content_type": "image/png"}]},
            [Media("data:image/png;base64,QQ==", "image/png")],
        ),
        ({"images": [{"url": A, "b64_json": ""}, {"url": "", "b64_json": " "}]}, [Media(A)]),
        ({"images": [{"url": A, "b64_json": None}]}, [Media(A)]),
        ({"images": [{"url": "data:image/png;base64,QQ=="}]}, [Media("data:image/png;base64,QQ==")]),
        ({"images": [{"b64_json": "data:image/png;base64,QQ=="}]}, [Media("data:image/png;base64,QQ==")]),
        ({"images": ["DATA:image/png;base64,QQ=="]}, [Media("DATA:image/png;base64,QQ==")]),
        ({"url": f"  {A}\n"}, [Media(A)]),
        ({"url": "HTTPS://host/a.png"}, [Media("HTTPS://host/a.png")]),
        ({"images": [None]}, []),
        (A, [Media(A)]),
        ([A, {"url": B}], [Media(A), Media(B)]),
        ({"images": []}, []),
        ({"images": None, "audio": 5, "url": ""}, []),
        ({"prompt": A, "seed": 1}, []),
        ({"url": "/etc/passwd"}, []),
        ({"url": "file:///etc/passwd"}, []),
        ({"url": A, "content_type": 5}, [Media(A)]),
        (
            {"audio": {"url": A}, "vocals": {"url": B, "file_size": 7}, "mask_image": {"url": f"{A}2"}},
            [Media(A), Media(B), Media(f"{A}2")],
        ),
        ({"model_mesh": {"url": A, "file_name": "a.glb", "content_type": "model/x"}}, [Media(A, "model/x")]),
        ({"model_glb": {"url": A}, "pbr": {"base": {"url": B, "content_type": "x/y"}}}, [Media(A), Media(B, "x/y")]),
        ({"audio_files": [{"url": A}, B]}, [Media(A), Media(B)]),
        ({"audioFile": A, "imageUrls": [B]}, [Media(A), Media(B)]),
        ({"data": [{"b64_json": "QQ=="}]}, [Media("data:application/octet-stream;base64,QQ==")]),
        ({"data": [{"url": A}]}, [Media(A)]),
        ({"result": {"images": [{"url": A}]}}, [Media(A)]),
        ({"timestamps": [{"images": [A]}]}, [Media(A)]),
        ({"output": A}, [Media(A)]),
        ({"audio": {"url": A, "file_name": B}}, [Media(A)]),
        ({"status_url": A, "logs": A}, []),
        (None, []),
        ({}, []),
        ("words", []),
        (7, []),
    ],
    ids=str,
)
def test_files_are_found_in_every_shape_of_an_output(output: Any, found: list[Media]) -> None:
    assert find_media(output) == found


@pytest.mark.parametrize(
    ("output", "flags"),
    [
        ({"images": [A, B], "has_nsfw_concepts": [False, True]}, [False, True]),
        ({"images": [{"url": A}, {"url": B}], "has_nsfw_concepts": [True]}, [True, None]),
        ({"images": [None, {"url": B}], "has_nsfw_concepts": [True, False]}, [False]),
        ({"images": [A, A], "has_nsfw_concepts": [False, True]}, [True]),
        ({"images": [A, B]}, [None, None]),
        ({"images": [A], "has_nsfw_concepts": None}, [None]),
        ({"images": [A], "has_nsfw_concepts": ["yes"]}, [True]),
        ({"images": [A, B], "has_nsfw_concepts": ["true", " FALSE "]}, [True, False]),
        ({"images": [A, B], "has_nsfw_concepts": [1, 0.0]}, [True, False]),
        ({"images": [A, B], "has_nsfw_concepts": [[True], [False]]}, [True, False]),
        ({"images": [A, B], "has_nsfw_concepts": [{"nsfw": True}, {"nsfw": "no"}]}, [True, False]),
        ({"images": [A], "has_nsfw_concepts": "true"}, [True]),
        ({"images": [A], "has_nsfw_concepts": []}, [None]),
        ({"image": {"url": A}, "has_nsfw_concepts": [False, True]}, [True]),
        ({"result": {"images": [A, B]}, "has_nsfw_concepts": [False, True]}, [False, True]),
        ({"data": [{"b64_json": "QQ=="}, {"url": A}], "has_nsfw_concepts": [False, True]}, [False, True]),
        ({"images": [A, B], "has_nsfw_concepts": True}, [True, True]),
        ({"image": {"url": A}, "has_nsfw_concepts": [True]}, [True]),
        ({"images": [{"url": A, "has_nsfw_concepts": [True]}, {"url": B}]}, [True, None]),
    ],
    ids=str,
)
def test_a_flag_belongs_to_the_file_in_its_place(output: Any, flags: list[bool | None]) -> None:
    found = find_media(output)
    assert [media.flagged for media in found] == flags
    assert flagged_numbers(found) == [number for number, flag in enumerate(flags, start=1) if flag]


@pytest.mark.parametrize(
    "flag", ["maybe", 0.98, 2, -1, 10**400, float("nan"), {"score": 0.02}, [[["?"]]], {"nsfw": False, "score": 0.5}]
)
def test_a_flag_that_cannot_be_read_is_told_from_one_that_is_not_there(flag: Any) -> None:
    unreadable, silent = find_media({"images": [A, B], "has_nsfw_concepts": [flag, None]})
    assert (unreadable.flagged, unreadable.unreadable, unreadable.suspect) == (None, True, True)
    assert (silent.flagged, silent.unreadable, silent.suspect) == (None, False, False)


def test_a_flag_that_can_be_read_wins_over_one_that_cannot() -> None:
    for flags in (["?", True], [True, "?"]):
        (media,) = find_media({"images": [A, A], "has_nsfw_concepts": flags})
        assert media.flagged and media.suspect


def test_flags_that_are_nested_beyond_any_shape_cannot_be_read() -> None:
    nested: Any = True
    for _ in range(5000):
        nested = [nested]
    (media,) = find_media({"image": A, "has_nsfw_concepts": nested})
    assert media.unreadable


@pytest.mark.parametrize(
    ("output", "others"),
    [
        (
            {"audio": {"url": B}, "timestamps": [{"url": A}]},
            ["timestamps[0].url (a URL, and not in the shape of a file)"],
        ),
        ({"images": [A], "preview": B}, ["preview (a URL, and not in the shape of a file)"]),
        ({"images": [A], "preview": A}, []),
        ({"audio_base64": "AB+/" * 1024}, ["audio_base64 (inline data, 4096 characters)"]),
        ({"thumb": "data:image/png;base64,AAAA"}, ["thumb (inline image/png, 26 characters)"]),
        ({"prompt": f"{A} in oil", "note": "data: a, b", "n": [1, None]}, []),
    ],
    ids=str,
)
def test_what_may_be_a_file_and_is_not_taken_for_one_is_named(output: Any, others: list[str]) -> None:
    assert contents_of(output).others == others


def test_a_place_is_named_on_one_short_line_whatever_the_keys_are() -> None:
    (words,) = contents_of({"a\nb": {"x" * 500: A}}).others
    assert len(words) < 200 and "\n" not in words


def test_a_file_knows_its_place() -> None:
    output = {"result": {"images": [{"url": A}, B]}, "data": [{"b64_json": "QQ=="}]}
    places = [media.where for media in find_media(output)]
    assert places == ["result.images[0].url", "result.images[1]", "data[0].b64_json"]


def test_an_output_that_is_nested_beyond_any_shape_names_no_file() -> None:
    nested: Any = A
    for _ in range(5000):
        nested = {"url": [nested]}
    assert find_media(nested) == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (A, A),
        (A + "?X-Signature=secret", A),
        (A + "#secret", A),
        ("data:image/png;base64,QQ==", "inline"),
        ("DATA:image/png;base64,QQ==", "inline"),
    ],
)
def test_the_source_that_is_shown_has_no_credential_and_no_file_in_it(url: str, shown: str) -> None:
    assert Media(url).source == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"images": [{"url": A, "width": 1}]}, {"images": [{"url": A, "width": 1}]}),
        ({"url": "data:image/png;base64,AAAA"}, {"url": "<inline image/png, 26 characters>"}),
        ({"url": "data:,hello"}, {"url": "<inline data, 11 characters>"}),
        ({"images": [{"b64_json": "QUJD"}]}, {"images": [{"b64_json": "<inline, 4 characters>"}]}),
        ({"b64_json": None, "n": [1, None, True]}, {"b64_json": None, "n": [1, None, True]}),
        ({"prompt": "data: a, b and c"}, {"prompt": "data: a, b and c"}),
        ({"prompt": "An essay. " * 1000}, {"prompt": "An essay. " * 1000}),
        ({"text": "長い文" * 3000}, {"text": "長い文" * 3000}),
        ({"url": "DATA:image/png;base64,AAAA"}, {"url": "<inline image/png, 26 characters>"}),
        ({"url": " data:image/png; base64,AAAA"}, {"url": "<inline image/png, 28 characters>"}),
        ({"audio_base64": "AB+/" * 1024}, {"audio_base64": "<inline data, 4096 characters>"}),
        ({"audio": {"data": ["AB-_" * 2000]}}, {"audio": {"data": ["<inline data, 8000 characters>"]}}),
        ({"mime": "QUJD\r\n" * 1000}, {"mime": "<inline data, 6000 characters>"}),
        ({"page": f"![](data:image/png;base64,{'A' * 5000})"}, {"page": "<inline data, 5027 characters>"}),
        (None, None),
    ],
    ids=lambda value: str(value)[:60],
)
def test_inline_files_become_short_notes_and_all_else_stays(value: Any, shown: Any) -> None:
    assert without_inline(value) == shown
