"""Names of files: any template of the known fields, and nothing that leads out of the folder."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_falinvoke.exceptions import FalInvokeInputError
from airflow_provider_falinvoke.media import DEFAULT_FILE_NAME, FileName, Place
from airflow_provider_falinvoke.media.naming import sanitised

PLACE = Place("my_dag", "manual__2026-01-01T00:00:00+00:00", "group.draw", "7")


def render(template: str, place: Place = PLACE, *, request_id: str | None = "the-id", number: int | str = 2) -> str:
    return FileName(template).render(place, request_id=request_id, number=number, extension=".png")


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (DEFAULT_FILE_NAME, "my_dag/manual__2026-01-01T00_00_00_00_00/group.draw/7/the-id-2.png"),
        ("{task_id}-{number:03}{extension}", "group.draw-002.png"),
        ("/a//b/{number}{extension}", "a/b/2.png"),
        ("Ölbild {number}{extension}", "Ölbild 2.png"),
        ("{{{number}}}{extension}", "{2}.png"),
    ],
)
def test_a_template_makes_a_name(template: str, name: str) -> None:
    assert render(template) == name


def test_what_there_is_not_vanishes_from_the_default_name() -> None:
    assert render(DEFAULT_FILE_NAME, Place("d", "r", "t")) == "d/r/t/the-id-2.png"
    assert render(DEFAULT_FILE_NAME, Place()) == "the-id-2.png"
    assert render(DEFAULT_FILE_NAME, Place(), request_id=None) == "result-2.png"


def test_what_belongs_to_all_files_has_a_word_for_a_number() -> None:
    assert render("{number:03}{extension}", number="manifest") == "manifest.png"


def test_the_place_is_that_of_the_task_instance() -> None:
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1)
    assert Place.of(ti) == Place("d", "r", "t", "")
    ti.map_index = 0
    assert Place.of(ti).map_index == "0"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{nosuch}/{number}{extension}", "nosuch"),
        ("{}{number}{extension}", "not known"),
        ("{0}{number}{extension}", "not known"),
        ("{dag_id.__class__}{number}{extension}", "not known"),
        ("{dag_id[0]}{number}{extension}", "not known"),
        ("{dag_id!r}{number}{extension}", "not known"),
        ("{dag_id:>9999999999}{number}{extension}", "not known"),
        ("{number:.2f}{extension}", "not known"),
        ("{number:{dag_id}}{extension}", "not known"),
        ("{request_id}{extension}", "same name"),
        ("{number}.png", "end with {extension}"),
        ("{number}{extension}.exe", "end with {extension}"),
        ("{extension}{number}{extension}", "have it once"),
        ("{number}{extension", "cannot be used"),
        ("", "same name"),
        (None, "cannot be used"),
        (5, "cannot be used"),
    ],
)
def test_a_template_that_cannot_name_all_files_is_refused(template: str, words: str) -> None:
    with pytest.raises(FalInvokeInputError, match=words):
        FileName(template)


@pytest.mark.parametrize(
    "template",
    [
        "../{number}{extension}",
        "a/./{number}{extension}",
        "a\\b/{number}{extension}",
        "a\nb/{number}{extension}",
        "a\x00/{number}{extension}",
        "{number}/../{request_id}{extension}",
        "x" * 200 + "{number}{extension}",
    ],
)
def test_text_of_a_template_that_leads_astray_is_refused_before_anything_is_sent(template: str) -> None:
    """A template may be rendered from a parameter that somebody else gave."""
    with pytest.raises(FalInvokeInputError, match=r"is no name of|longer than"):
        FileName(template).check(PLACE)


def test_a_name_that_would_be_too_long_with_some_id_is_refused_before_there_is_an_id() -> None:
    FileName("{dag_id}{number}{extension}").check(Place("d" * 250))
    with pytest.raises(FalInvokeInputError, match="longer than"):
        FileName("{dag_id}{run_id}{request_id}{number}{extension}").check(Place("d" * 250, "r" * 250))


@pytest.mark.parametrize(
    ("value", "safe"),
    [
        ("../../etc/passwd", "_.__._etc_passwd"),
        ("a/b\\c", "a_b_c"),
        ("a\0b\nc\x7f", "a_b_c_"),
        ("..", "_."),
        (".hidden", "_hidden"),
        ("a..b...c", "a_.b__.c"),
        ("ü?*", "ü__"),
        ("%2e%2e%2f", "_2e_2e_2f"),
        ("", ""),
    ],
)
def test_a_value_stays_one_part_of_a_name(value: str, safe: str) -> None:
    assert sanitised(value) == safe


@pytest.mark.parametrize("value", ["../../etc/passwd", "..", ".", "a/../..", "\u202egnp.exe", "\ud800", "~root"])
def test_no_value_holds_a_separator_or_a_step_up(value: str) -> None:
    name = render("{request_id}/{number}{extension}", request_id=value)
    first, second = name.split("/")
    assert second == "2.png"
    assert ".." not in first and not first.startswith(".") and first.isprintable()
    name.encode()


def test_long_values_that_differ_stay_different() -> None:
    one, other = sanitised("x" * 500), sanitised("x" * 499)
    assert len(one) == len(other) == 80
    assert one != other
    assert len(sanitised("ü" * 500).encode()) <= 80


@pytest.mark.parametrize(
    ("ti", "place"),
    [
        ({"map_index": -1}, ""),
        ({"map_index": 4}, "4"),
        ({"map_index": -1, "region_id": None, "region_index": None}, ""),
        ({"map_index": -1, "region_id": "loop", "region_index": 0}, "loop-0"),
        ({"map_index": 4, "region_id": "loop", "region_index": 2}, "loop-2-4"),
    ],
)
def test_a_mapped_task_and_an_iteration_of_a_loop_have_places_of_their_own(ti: dict[str, Any], place: str) -> None:
    names = {"dag_id": "d", "run_id": "r", "task_id": "t"}
    assert Place.of(SimpleNamespace(**names, **ti)) == Place("d", "r", "t", place)
