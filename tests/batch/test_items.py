"""Inputs: read in bounded memory, and all of them checked before anything is paid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke.batch import items
from airflow_provider_falinvoke.batch.items import Checked, Inputs
from airflow_provider_falinvoke.exceptions import FalInvokeError, FalInvokeInputError

IMAGE, SPEECH = "fal-ai/fast-sdxl", "fal-ai/elevenlabs/tts/multilingual-v2"


def inputs(source: Any, **changes: Any) -> Inputs:
    return Inputs(source, **{"conn_id": "c", "model_id": IMAGE, **changes})


def bodies(source: Any, **changes: Any) -> list[dict[str, Any]]:
    return [json.loads(checked.request.body()) for checked in inputs(source, **changes).check()]


def jsonl(folder: Path, *lines: str) -> str:
    path = folder / "inputs.jsonl"
    path.write_text("\n".join(lines))
    return path.as_uri()


def test_an_item_is_a_prompt_an_input_or_a_request(tmp_path: Path) -> None:
    given: list[Any] = [
        "a fox",
        {"prompt": "a hen", "seed": 4},
        {"input": {"prompt": "a cow"}},
        {"model_id": SPEECH, "input": {"text": "moo"}, "tags": {"k": "v"}},
        {"model_id": SPEECH, "input": '{"text": "moo"}'},
        {"model_id": SPEECH, "input": "moo"},
    ]
    expected = [
        {"model_id": IMAGE, "input": {"prompt": "a fox"}},
        {"model_id": IMAGE, "input": {"prompt": "a hen", "seed": 4}},
        {"model_id": IMAGE, "input": {"prompt": "a cow"}},
        {"model_id": SPEECH, "input": {"text": "moo"}, "tags": [{"key": "k", "value": "v"}]},
        {"model_id": SPEECH, "input": {"text": "moo"}},
        {"model_id": SPEECH, "input": {"text": "moo"}},
    ]
    assert bodies(given) == expected
    assert bodies(tuple(given)) == expected
    assert bodies(json.dumps(given)) == expected, "a list that a template rendered to its text"
    assert bodies(jsonl(tmp_path, *map(json.dumps, given))) == expected


def test_a_text_is_spoken_by_a_speech_model() -> None:
    assert bodies(["hello"], model_id=SPEECH) == [{"model_id": SPEECH, "input": {"text": "hello"}}]


def test_shared_fields_and_tags_are_those_of_items_that_have_none() -> None:
    made = bodies(
        [{"prompt": "a", "num_images": 2}, "b", {"input": {"prompt": "c"}, "tags": {"own": "1"}}],
        shared={"num_images": 1, "image_size": "square"},
        tags={"all": "1"},
    )
    assert [body["input"]["num_images"] for body in made] == [2, 1, 1]
    assert all(body["input"]["image_size"] == "square" for body in made)
    assert [body["tags"][0]["key"] for body in made] == ["all", "all", "own"]


def test_an_input_that_has_a_field_input_beside_others_is_no_request() -> None:
    assert bodies([{"prompt": "x", "input": {"a": 1}}])[0]["input"] == {"prompt": "x", "input": {"a": 1}}


def test_empty_lines_are_passed_over_and_a_byte_order_mark_too(tmp_path: Path) -> None:
    path = tmp_path / "windows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf"a"\r\n\r\n   \r\n"b"\r\n')
    assert [body["input"]["prompt"] for body in bodies(path.as_uri())] == ["a", "b"]


def test_no_inputs_are_none_and_no_error(tmp_path: Path) -> None:
    assert bodies([]) == bodies(jsonl(tmp_path, "", " ")) == []


def test_every_wrong_item_is_found_before_anything_is_paid_and_named_by_its_line(tmp_path: Path) -> None:
    source = jsonl(
        tmp_path,
        '"fine"',
        "{not json",
        "",
        '{"num_images": 1}',
        "7",
        '{"prompt": "x", "num_images": 0}',
        '{"prompt": "x", "seed": NaN}',
        "null",
    )
    found: list[Checked] = []
    with pytest.raises(FalInvokeInputError) as caught:
        found.extend(inputs(source).check())
    text = str(caught.value)
    assert "6 of the inputs are wrong; nothing was sent." in text
    for line in ("line 2: not JSON", "line 4: input.prompt", "line 5: input", "line 6: input.num_images", "line 7:"):
        assert line in text
    assert "line 8: input" in text
    assert "line 1:" not in text


def test_a_file_that_is_no_jsonl_at_all_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(FalInvokeInputError, match=r"must be JSONL: a JSON value in each line"):
        list(inputs(jsonl(tmp_path, "prompt,seed", "a fox,1")).check())
    with pytest.raises(FalInvokeInputError) as caught:
        list(inputs(jsonl(tmp_path, '"a fox"', "7", "{")).check())
    assert "JSONL" not in str(caught.value).replace(".jsonl", "")


def test_wrong_items_of_a_list_are_named_by_their_index() -> None:
    with pytest.raises(FalInvokeInputError, match="item 1: input: "):
        list(inputs(["fine", None]).check())


def test_a_number_in_a_list_is_the_prompt_that_native_rendering_took_for_one() -> None:
    assert [body["input"] for body in bodies(["fine", 1984])] == [{"prompt": "fine"}, {"prompt": "1984"}]


def test_an_error_stays_short_however_many_items_are_wrong() -> None:
    with pytest.raises(FalInvokeInputError) as caught:
        list(inputs([{}] * 5000).check())
    assert "5000 of the inputs are wrong" in str(caught.value)
    assert "and 4980 more" in str(caught.value)
    assert len(str(caught.value)) < 4000


def test_bytes_that_are_no_text_are_an_error_of_their_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes('"ok"\n"caf\xe9"\n'.encode("latin-1"))
    with pytest.raises(FalInvokeInputError, match="line 2: not UTF-8"):
        list(inputs(path.as_uri()).check())


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "LONGEST_LINE", 100)
    with pytest.raises(FalInvokeInputError, match="line 1: longer than 100 bytes"):
        list(inputs(jsonl(tmp_path, json.dumps("x" * 500))).check())


def test_deep_nesting_is_an_error_of_its_line(tmp_path: Path) -> None:
    with pytest.raises(FalInvokeInputError, match="line 1: not JSON"):
        list(inputs(jsonl(tmp_path, "[" * 200_000)).check())


@pytest.mark.parametrize("source", [None, 5, "", "  ", {"prompt": "x"}, b"x"])
def test_what_is_neither_a_list_nor_a_path_is_an_error(source: Any) -> None:
    with pytest.raises(FalInvokeInputError, match="inputs must be a list"):
        inputs(source)


def test_a_file_that_cannot_be_read_is_an_error_that_may_pass(tmp_path: Path) -> None:
    with pytest.raises(FalInvokeError, match=r"none\.jsonl cannot be read") as caught:
        list(inputs((tmp_path / "none.jsonl").as_uri()).check())
    assert caught.value.may_pass
    with pytest.raises(FalInvokeError, match="cannot be read"):
        list(inputs("nothing://at/all").check())


@pytest.mark.parametrize("missing", [float("nan"), float("inf")])
def test_what_pandas_has_in_place_of_a_missing_prompt_is_none(missing: float) -> None:
    with pytest.raises(FalInvokeInputError, match=r"nothing was sent\.\s+item 1: input: a number"):
        bodies(["fine", missing])


def test_a_number_of_ten_thousand_digits_is_an_error_of_its_line(tmp_path: Path) -> None:
    with pytest.raises(FalInvokeInputError, match="line 1: not JSON"):
        list(inputs(jsonl(tmp_path, "9" * 10_000)).check())


def test_shared_fields_must_be_a_dict() -> None:
    assert bodies(["a"], shared='{"seed": 1}')[0]["input"] == {"seed": 1, "prompt": "a"}
    with pytest.raises(FalInvokeInputError, match="input must be a dict"):
        inputs(["a"], shared=["seed"])


def test_picked_items_are_those_that_were_checked(tmp_path: Path) -> None:
    source = jsonl(tmp_path, *(json.dumps(f"p{number}") for number in range(50)))
    checked = list(inputs(source).check())
    for again in (inputs(source), inputs([f"p{number}" for number in range(50)])):
        assert list(again.pick({3, 17, 40})) == [(index, checked[index]) for index in (3, 17, 40)]
        assert list(again.pick(set())) == []


def test_picking_reads_no_further_than_the_last_item_and_parses_no_other(tmp_path: Path) -> None:
    source = jsonl(tmp_path, '"a"', "{broken", '"c"', "{broken")
    (index, checked), *rest = inputs(source).pick({2})
    assert (index, checked.request.input) == (2, {"prompt": "c"})  # type: ignore[union-attr]  # an error would fail here
    assert rest == []


def test_an_item_that_broke_since_it_was_checked_is_an_error_in_its_place(tmp_path: Path) -> None:
    picked = list(inputs(jsonl(tmp_path, '"a"', "{broken", '"c"')).pick({1, 2}))
    assert [index for index, _ in picked] == [1, 2]
    assert isinstance(picked[0][1], FalInvokeInputError)


def test_items_that_are_not_there_any_more_are_errors_too(tmp_path: Path) -> None:
    for source in (jsonl(tmp_path, '"a"', '"b"'), ["a", "b"]):
        picked = dict(inputs(source).pick({1, 2, 5}))
        assert list(picked) == [1, 2, 5]
        assert [isinstance(one, FalInvokeInputError) for one in picked.values()] == [False, True, True]


def test_the_fingerprint_tells_model_input_tags_and_connection_apart() -> None:
    prints = [
        next(inputs(["a"], **changes).check()).fingerprint
        for changes in ({}, {"model_id": "m"}, {"tags": {"a": "b"}}, {"conn_id": "d"}, {"shared": {"seed": 1}})
    ]
    assert len(set(prints)) == 5
    assert next(inputs([{"prompt": "a"}]).check()).fingerprint == prints[0]
