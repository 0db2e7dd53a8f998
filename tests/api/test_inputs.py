from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from airflow_provider_falinvoke.api import pricing
from airflow_provider_falinvoke.api.inputs import (
    DOCUMENTED_MODELS,
    SIZE_NAMES,
    AudioInput,
    FalInput,
    FluxSchnellInput,
    ImageInput,
    NamedSizeInput,
    SpeechInput,
    input_type,
    prompt_of,
)

COUNTS = ["seconds_total", "num_images", "num_inference_steps"]


def checked(cls: type[FalInput], **fields: Any) -> dict[str, Any]:
    return cls.model_validate(fields).model_dump(exclude_unset=True)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize(("given", "taken"), [(1, 1), (12, 12), ("4", 4), (" 4 ", 4), (2.0, 2)])
def test_a_documented_integer_is_taken_as_a_number_or_its_text(name: str, given: object, taken: int) -> None:
    value = checked(FalInput, **{name: given})[name]
    assert value == taken
    assert type(value) is int


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("given", [0, -1, "x", "", 1.5, "1.5", True, False, [1], {}, float("nan"), float("inf")])
def test_a_count_below_one_or_not_an_integer_is_refused(name: str, given: object) -> None:
    """A boolean is no count: one picture for ``num_images=True`` would be a guess, and is paid."""
    with pytest.raises(ValidationError):
        checked(FalInput, **{name: given})


@pytest.mark.parametrize(("given", "taken"), [(3, 3.0), ("3.5", 3.5), (0, 0.0), (-1.5, -1.5)])
def test_the_guidance_scale_is_any_finite_number(given: object, taken: float) -> None:
    assert checked(FalInput, guidance_scale=given) == {"guidance_scale": taken}


@pytest.mark.parametrize("given", ["x", "nan", float("inf"), [], True, False])
def test_a_guidance_scale_that_is_no_finite_number_is_refused(given: object) -> None:
    with pytest.raises(ValidationError):
        checked(FalInput, guidance_scale=given)


@pytest.mark.parametrize(("given", "taken"), [(True, True), ("true", True), ("False", False), (0, False)])
def test_the_safety_checker_is_taken_as_a_boolean_or_its_text(given: object, taken: bool) -> None:
    assert checked(FalInput, enable_safety_checker=given) == {"enable_safety_checker": taken}


@pytest.mark.parametrize("given", ["landscape_4_3", "jpeg", "png", "anything"])
def test_the_output_format_passes_as_it_is(given: str) -> None:
    assert checked(FalInput, output_format=given) == {"output_format": given}


@pytest.mark.parametrize(
    ("cls", "required"), [(FalInput, None), (ImageInput, "prompt"), (AudioInput, "prompt"), (SpeechInput, "text")]
)
def test_each_family_requires_its_text(cls: type[FalInput], required: str | None) -> None:
    if required is None:
        assert checked(cls) == {}
        return
    assert checked(cls, **{required: "x"}) == {required: "x"}
    for fields in ({}, {required: None}, {required: ""}, {required: " \n\u3000"}, {required: [7]}):
        with pytest.raises(ValidationError, match=required):
            checked(cls, **fields)


@pytest.mark.parametrize("name", sorted(FalInput.model_fields))
def test_none_of_a_documented_field_means_not_given(name: str) -> None:
    assert checked(FalInput, **{name: None}) == {}


def test_further_fields_pass_as_they_are_even_none() -> None:
    further = {"seed": 0, "image_size": {"width": 1.5}, "voice": None, "loras": [{"path": "x"}], "sync_mode": True}
    assert checked(FalInput, **further) == further


def test_nothing_is_added_that_was_not_given() -> None:
    assert checked(ImageInput, prompt="x") == {"prompt": "x"}


@pytest.mark.parametrize("data", ["text", 7, None, ["prompt"]])
def test_what_is_no_object_is_refused(data: object) -> None:
    with pytest.raises(ValidationError):
        FalInput.model_validate(data)


def test_the_documented_models_have_their_family_and_others_require_nothing() -> None:
    assert {model: cls.__name__ for model, cls in DOCUMENTED_MODELS.items()} == {
        "fal-ai/flux/schnell": "FluxSchnellInput",
        "fal-ai/fast-sdxl": "NamedSizeInput",
        "fal-ai/stable-audio-25/text-to-audio": "AudioInput",
        "fal-ai/elevenlabs/tts/multilingual-v2": "SpeechInput",
    }
    assert input_type("fal-ai/stable-audio-25/text-to-audio") is AudioInput
    assert input_type("someone/else") is FalInput
    assert input_type("someone/else", ImageInput) is ImageInput


@pytest.mark.parametrize(("steps", "right"), [(1, True), (12, True), (13, False), (0, False)])
def test_flux_schnell_takes_1_to_12_steps(steps: int, right: bool) -> None:
    if right:
        assert checked(FluxSchnellInput, prompt="x", num_inference_steps=steps)["num_inference_steps"] == steps
        return
    with pytest.raises(ValidationError, match="num_inference_steps"):
        checked(FluxSchnellInput, prompt="x", num_inference_steps=steps)


@pytest.mark.parametrize("size", [*SIZE_NAMES, {"width": 8, "height": 9}])
def test_a_pictures_size_is_a_word_of_fal_or_pixels(size: object) -> None:
    assert checked(NamedSizeInput, prompt="x", image_size=size)["image_size"] == size


def test_pixels_may_be_texts_and_hold_more() -> None:
    given = {"width": "8", "height": 9, "unit": "px"}
    assert checked(NamedSizeInput, prompt="x", image_size=given)["image_size"] == {
        "width": 8,
        "height": 9,
        "unit": "px",
    }


@pytest.mark.parametrize("size", ["16:9", "", 5, [8, 9], {"width": 8}, {"width": 8, "height": 0}, {"width": True}])
def test_another_size_is_refused_where_fal_documents_the_words(size: object) -> None:
    with pytest.raises(ValidationError, match="image_size"):
        checked(NamedSizeInput, prompt="x", image_size=size)


def test_another_models_words_for_a_size_are_not_known_and_pass() -> None:
    assert checked(ImageInput, prompt="x", image_size="16:9") == {"prompt": "x", "image_size": "16:9"}


@pytest.mark.parametrize("name", ["stability", "similarity_boost", "style"])
def test_a_share_is_from_0_to_1(name: str) -> None:
    for right in (0, 1, 0.5, "0.5"):
        assert checked(SpeechInput, text="x", **{name: right})[name] == float(right)
    for wrong in (-0.1, 1.1, True, "loud"):
        with pytest.raises(ValidationError, match=name):
            checked(SpeechInput, text="x", **{name: wrong})


def test_the_prices_know_the_pixels_of_each_word() -> None:
    assert set(pricing._NAMED_SIZES) == set(SIZE_NAMES)


def test_what_a_result_says_of_the_prompt_is_what_was_sent() -> None:
    assert prompt_of({"prompt": "a\0 fo\ud800x"}) == "a fox"
