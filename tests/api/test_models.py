from __future__ import annotations

import copy
import json
import re
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from airflow_provider_falinvoke.api.inputs import DOCUMENTED_MODELS
from airflow_provider_falinvoke.api.models import InvokeRequest, Tag, _warn_once
from airflow_provider_falinvoke.durable import fingerprint
from airflow_provider_falinvoke.exceptions import FalInvokeInputError

IMAGE = "fal-ai/flux/schnell"


def build(input: Any, tags: Any = None, model_id: Any = "someone/else") -> InvokeRequest:
    return InvokeRequest.build(model_id, input, tags)


def sent(input: Any, tags: Any = None, model_id: Any = "someone/else") -> Any:
    return json.loads(build(input, tags, model_id).body())


def refusal(input: Any, tags: Any = None, model_id: Any = "someone/else") -> str:
    with pytest.raises(FalInvokeInputError) as caught:
        build(input, tags, model_id)
    assert "nothing was sent" in str(caught.value)
    return str(caught.value)


def test_the_body_is_exactly_the_json_of_the_contract() -> None:
    request = InvokeRequest.build(IMAGE, {"prompt": "A futuristic city at sunset"}, [{"key": "type", "value": "test"}])
    assert request.body() == (
        b'{"model_id": "fal-ai/flux/schnell", "input": {"prompt": "A futuristic city at sunset"}, '
        b'"tags": [{"key": "type", "value": "test"}]}'
    )


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"team": "art", "run": "7"}, [{"key": "team", "value": "art"}, {"key": "run", "value": "7"}]),
        ([{"key": "team", "value": "art"}], [{"key": "team", "value": "art"}]),
        ([Tag(key="team", value="art")], [{"key": "team", "value": "art"}]),
        (({"key": "a", "value": "b"}, {"key": "a", "value": "c"}), [{"key": "a", "value": v} for v in "bc"]),
        ({"key": "team", "value": "art"}, [{"key": "team", "value": "art"}]),
        ({"key": "team"}, [{"key": "key", "value": "team"}]),
        ({"value": "art"}, [{"key": "value", "value": "art"}]),
        ({"run": 7, "share": 1.5}, [{"key": "run", "value": "7"}, {"key": "share", "value": "1.5"}]),
        ({}, []),
        ([], []),
    ],
)
def test_tags_are_taken_as_a_list_or_as_a_plain_dict(given: object, taken: object) -> None:
    assert sent({}, given)["tags"] == taken


def test_a_tag_may_hold_further_keys_which_tell_requests_apart() -> None:
    tags = [{"key": "team", "value": "art", "note": ["x", None]}]
    assert sent({}, tags)["tags"] == tags
    plain, further = build({}, [{"key": "team", "value": "art"}]), build({}, tags)
    assert fingerprint(plain, "c") != fingerprint(further, "c")
    assert sent({}, {"key": "team", "value": "art", "note": "x"})["tags"][2] == {"key": "note", "value": "x"}


def test_no_tags_are_left_out() -> None:
    assert "tags" not in sent({}, None)


@pytest.mark.parametrize(
    "tags",
    [
        "team",
        7,
        [1],
        ["team"],
        [{"key": "team"}],
        [{"key": "team", "value": None}],
        {"team": None},
        {"team": ["art"]},
        {"team": True},
    ],
)
def test_wrong_tags_are_refused_by_name(tags: object) -> None:
    assert "tags" in refusal({}, tags)


@pytest.mark.parametrize("model_id", [None, "", "  ", 7, ["x"]])
def test_a_missing_model_is_refused_by_name(model_id: object) -> None:
    assert "model_id" in refusal({}, model_id=model_id)


def test_an_unknown_model_is_the_apis_to_reject() -> None:
    assert sent({}, model_id=" no/such/model ")["model_id"] == "no/such/model"


@pytest.mark.parametrize("given", [0, -1, "x", 1.5, True])
def test_a_wrong_field_is_refused_by_name_and_value(given: object) -> None:
    message = refusal({"prompt": "x", "num_images": given}, model_id=IMAGE)
    assert "input.num_images" in message
    assert repr(str(given)) in message


def test_all_wrong_fields_are_named_at_once() -> None:
    message = refusal({"num_images": 0, "seconds_total": -1}, model_id=IMAGE)
    for name in ("input.prompt", "input.num_images", "input.seconds_total"):
        assert name in message


def test_a_rendered_number_becomes_a_number_and_none_is_left_out() -> None:
    given = {"prompt": "x", "num_images": "4", "guidance_scale": None, "loras": None}
    assert sent(given, model_id=IMAGE)["input"] == {"prompt": "x", "num_images": 4, "loras": None}


def test_further_fields_pass_untouched_at_any_depth() -> None:
    given = {
        "seed": 2**63,
        "strength": 0.1,
        "voice": "Aria",
        "loras": [{"path": "https://x", "scale": 1.0, "more": [None, True, {"deep": [[]]}]}],
        "model_config": {"self": 1},
        "__class__": "x",
    }
    assert sent(given)["input"] == given


@pytest.mark.parametrize("prompt", ["Ein Dorf am Fluß 🌆", "東京の夜", 'quotes " and \\', "two\nlines"])
def test_a_unicode_prompt_arrives_as_it_was(prompt: str) -> None:
    assert sent({"prompt": prompt}, model_id=IMAGE)["input"] == {"prompt": prompt}


def test_plain_values_of_python_become_their_json() -> None:
    class Size(Enum):
        SQUARE = "square"

    given = {
        "at": datetime(2026, 1, 22, 19, 19, 19, tzinfo=timezone.utc),
        "size": Size.SQUARE,
        "path": Path("/a/b"),
        "pair": (1, 2),
        "price": Decimal("1.50"),
    }
    assert sent(given)["input"] == {
        "at": "2026-01-22T19:19:19Z",
        "size": "square",
        "path": "/a/b",
        "pair": [1, 2],
        "price": "1.50",
    }


class Lazy(Sequence[str]):
    """As Airflow's LazyXComSequence: the items of a mapped task, fetched one by one."""

    def __getitem__(self, index: Any) -> Any:
        return ["https://a.example/1.png", "https://a.example/2.png"][index]

    def __len__(self) -> int:
        return 2


@pytest.mark.parametrize("given", [Lazy(), deque(Lazy()), tuple(Lazy()), dict.fromkeys(Lazy()).keys()])
def test_any_sequence_is_a_list_and_any_mapping_a_dict(given: object) -> None:
    fields = MappingProxyType({"image_urls": given, "deep": MappingProxyType({"list": given})})
    sent = InvokeRequest.build("fal-ai/other", fields).input
    assert sent == {"image_urls": [*Lazy()], "deep": {"list": [*Lazy()]}}


@pytest.mark.parametrize(("given", "sent"), [(1984, "1984"), (19.5, "19.5"), (True, "True"), ("1984", "1984")])
@pytest.mark.parametrize("model_id", [*DOCUMENTED_MODELS, "fal-ai/other"])
def test_what_native_rendering_made_of_a_prompt_is_text_again(model_id: str, given: object, sent: str) -> None:
    name = "text" if "tts" in model_id else "prompt"
    assert InvokeRequest.build(model_id, {name: given}).input == {name: sent}


@pytest.mark.parametrize(
    ("model_id", "fields", "meant"),
    [
        ("fal-ai/flux/schnell", {"prompt": "x", "num_image": 4}, "num_images"),
        ("fal-ai/fast-sdxl", {"prompt": "x", "negativ_prompt": "y"}, "negative_prompt"),
        ("fal-ai/elevenlabs/tts/multilingual-v2", {"text": "x", "voise": "Aria"}, "voice"),
        ("fal-ai/flux/schnel", {"prompt": "x"}, "fal-ai/flux/schnell"),
        ("fal-ai/flux/shcnell", {"prompt": "x"}, "fal-ai/flux/schnell"),
        ("fal-ai/fast-sdx", {"prompt": "x"}, "fal-ai/fast-sdxl"),
    ],
)
def test_a_slip_of_the_pen_is_warned_of_once_with_the_name_that_is_meant(
    model_id: str, fields: dict[str, Any], meant: str, caplog: pytest.LogCaptureFixture
) -> None:
    _warn_once.cache_clear()
    for _ in range(3):
        InvokeRequest.build(model_id, fields)
    (said,) = caplog.messages
    assert f"Is {meant!r} meant?" in said


def test_a_field_that_is_missing_because_of_a_slip_is_told_with_it() -> None:
    said = refusal({"promt": "x"}, model_id=IMAGE)
    assert "input.prompt: Field required; " in said
    assert "no documented field 'promt', and may ignore it. Is 'prompt' meant?" in said


@pytest.mark.parametrize(
    "model_id",
    [
        "fal-ai/flux/dev",
        "fal-ai/flux/krea",
        "fal-ai/fast-lightning-sdxl",
        "fal-ai/stable-audio",
        "fal-ai/stable-audio/text-to-audio",
        "fal-ai/stable-audio-25/audio-to-audio",
        "fal-ai/elevenlabs/tts/multilingual-v3",
        "fal-ai/elevenlabs/tts/turbo-v2.5",
        *DOCUMENTED_MODELS,
    ],
)
def test_another_model_and_a_further_field_are_no_slips(model_id: str, caplog: pytest.LogCaptureFixture) -> None:
    _warn_once.cache_clear()
    further = {"acceleration": "high", "loras": [], "expand_prompt": True, "format": "png", "safety_checker_version": 1}
    InvokeRequest.build(model_id, {"prompt": "x", "text": "x", **further})
    assert caplog.messages == []


def test_a_set_is_the_same_list_in_every_process() -> None:
    words = [f"word {number}" for number in range(10, 30)]
    nested = {"styles": set(words), "more": [{"pairs": frozenset({(2, "b"), (1, "a")})}]}
    assert sent(nested)["input"] == {"styles": words, "more": [{"pairs": [[1, "a"], [2, "b"]]}]}
    pairs = [[f"{number}", f"{99 - number}"] for number in range(10, 50)]
    groups = {frozenset(pair) for pair in pairs} | {(frozenset(pair), 1) for pair in pairs}
    assert sent({"groups": groups})["input"]["groups"] == [*pairs, *([pair, 1] for pair in pairs)]


def circle() -> dict[str, Any]:
    data: dict[str, Any] = {}
    data["again"] = data
    return data


def depth() -> list[Any]:
    data: list[Any] = []
    for _ in range(3000):
        data = [data]
    return data


@pytest.mark.parametrize("value", [object(), b"\xff", len])
def test_what_is_not_json_is_refused(value: object) -> None:
    assert "input is not JSON" in refusal({"further": value})


@pytest.mark.parametrize("value", [2**64, float("nan"), float("inf"), [{"x": float("-inf")}], circle(), depth()])
@pytest.mark.parametrize("read", [lambda value: value, lambda value: {"deeper": (value,)}])
def test_what_airflow_cannot_carry_is_refused_before_anything_is_sent(value: object, read: Any) -> None:
    assert re.search("input.*: (a number must lie between|it is nested more than)", refusal({"further": read(value)}))


def test_a_text_that_becomes_a_number_out_of_range_is_refused_too() -> None:
    assert "input.seed: a number must lie between" in refusal(
        {"prompt": "x", "seed": "99999999999999999999"}, model_id=IMAGE
    )


@pytest.mark.parametrize("given", [{"prompt": "a\0 f\ud800ox"}, r'{"prompt": "a\u0000 f\ud800ox"}'])
def test_characters_that_airflow_cannot_store_are_left_out_and_named(
    given: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert sent(given, {"te\0am": "\udc00art"}, model_id=IMAGE) == {
        "model_id": IMAGE,
        "input": {"prompt": "a fox"},
        "tags": [{"key": "team", "value": "art"}],
    }
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert all(place in record.getMessage() for place in ("input.prompt", "tags."))


def test_an_input_that_is_json_text_is_read() -> None:
    """A template that yields an object through the filter tojson is rendered to its text."""
    assert sent('{"prompt": "x", "num_images": "2"}', model_id=IMAGE)["input"] == {"prompt": "x", "num_images": 2}


@pytest.mark.parametrize("text", ["{'prompt': 'x'}", "a castle", "", "{{ params.x }}", "[" * 100_000])
def test_an_input_that_is_other_text_is_refused_with_what_to_do(text: str) -> None:
    message = refusal(text)
    assert "render_template_as_native_obj" in message
    assert "tojson" in message
    assert len(message) < 400


@pytest.mark.parametrize("value", [None, 7, ["prompt"], '["prompt"]', '"prompt"', "null", "7", {1: "x"}])
def test_an_input_that_is_no_object_is_refused_by_name(value: object) -> None:
    assert "input" in refusal(value)


def test_the_callers_objects_are_never_changed() -> None:
    given = {"prompt": "x", "num_images": "2", "seed": None, "output_format": None, "loras": [{"when": (1, 2)}]}
    tags = {"team": "art"}
    before = copy.deepcopy((given, tags))
    request = build(given, tags, IMAGE)
    request.input["loras"].append("changed")
    assert (given, tags) == before


SPEECH = "fal-ai/elevenlabs/tts/multilingual-v2"


@pytest.mark.parametrize(
    ("value", "model_id", "fields"),
    [
        ("a fox", IMAGE, {"prompt": "a fox"}),
        ("{red|blue} fox", IMAGE, {"prompt": "{red|blue} fox"}),
        ("moo", f" {SPEECH} ", {"text": "moo"}),
        ({"prompt": "a fox", "seed": 4}, IMAGE, {"prompt": "a fox", "seed": 4}),
        ({"input": {"prompt": "a fox"}}, IMAGE, {"prompt": "a fox"}),
        ({"model_id": IMAGE, "input": "a fox"}, "other", {"prompt": "a fox"}),
        ({"model_id": SPEECH, "input": "moo"}, IMAGE, {"text": "moo"}),
        ({"model_id": IMAGE, "input": ' {"prompt": "a fox"}'}, "other", {"prompt": "a fox"}),
        ({"model_id": None, "input": '{"prompt": "a fox"}', "tags": None}, IMAGE, {"prompt": "a fox"}),
        ({"prompt": "a fox", "input": {"a": 1}}, IMAGE, {"prompt": "a fox", "input": {"a": 1}}),
        ({"input": "a text"}, "someone/else", {"input": "a text"}),
    ],
)
def test_a_request_is_read_however_much_of_one_is_given(value: Any, model_id: str, fields: dict[str, Any]) -> None:
    request = InvokeRequest.read(value, model_id=model_id, tags={"all": "1"})
    wanted = value.get("model_id") if isinstance(value, dict) else None
    assert (request.model_id, request.input) == (wanted or model_id.strip(), fields)
    assert request.tags == (Tag(key="all", value="1"),)


def test_what_a_request_has_itself_wins_over_the_defaults() -> None:
    given = {"input": '{"seed": 1}', "model_id": "m", "tags": {"own": "1"}}
    request = InvokeRequest.read(given, model_id="n", tags={"all": "1"}, shared={"seed": 0, "steps": 2})
    assert (request.model_id, request.input, request.tags) == (
        "m",
        {"seed": 1, "steps": 2},
        (Tag(key="own", value="1"),),
    )


@pytest.mark.parametrize("value", [None, 7, ["a fox"], {"model_id": "m", "input": "{'prompt': 'x'}"}, {"input": {}}])
def test_what_makes_no_request_is_refused(value: Any) -> None:
    with pytest.raises(FalInvokeInputError, match="nothing was sent"):
        InvokeRequest.read(value)
