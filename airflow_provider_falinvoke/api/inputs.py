"""The documented fields of ``input``, with their types and bounds; further fields pass as they are.

Source: the vendor's OpenAPI description and fal's schemas of the four models in the vendor's documentation.
A rendered template is a string, so ``"4"`` becomes 4 for a documented integer. ``None`` means "not given": a
templated parameter that nobody set is left out of the request.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from airflow_provider_falinvoke.api.portable import sendable


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("Input should be a number, not a boolean")
    return value


def _as_text(value: Any) -> Any:
    # Of a prompt "1984" a DAG with render_template_as_native_obj makes the number.
    return str(value) if isinstance(value, (bool, int, float)) else value


def _no_blank(text: str) -> str:
    if text.isspace():
        raise ValueError("Input should have more than blanks in it")
    return text


Whole = Annotated[int, BeforeValidator(_no_boolean)]
Count = Annotated[Whole, Field(ge=1)]
Number = Annotated[float, BeforeValidator(_no_boolean)]
Share = Annotated[Number, Field(ge=0, le=1)]
Words = Annotated[str, BeforeValidator(_as_text)]
Text = Annotated[str, Field(min_length=1), BeforeValidator(_as_text), AfterValidator(_no_blank)]

SizeName = Literal["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"]
#: fal's words for picture sizes; the vendor's samples put them into ``output_format``.
SIZE_NAMES: tuple[str, ...] = get_args(SizeName)


class Pixels(BaseModel):
    """A picture's size, each side in pixels."""

    model_config = ConfigDict(defer_build=True, extra="allow")

    width: Count
    height: Count


def _kind_of_size(value: Any) -> str:
    return "name" if isinstance(value, str) else "pixels"


_Pixels = Annotated[Pixels, Tag("pixels")]
AnySize = Annotated[_Pixels | Annotated[str, Tag("name")], Discriminator(_kind_of_size)]
KnownSize = Annotated[_Pixels | Annotated[SizeName, Tag("name")], Discriminator(_kind_of_size)]


class FalInput(BaseModel):
    """Any model's ``input``: what is documented is checked, nothing is required, further fields pass."""

    model_config = ConfigDict(defer_build=True, extra="allow", protected_namespaces=(), allow_inf_nan=False)

    prompt: Text | None = None
    text: Text | None = None
    seconds_total: Count | None = None
    num_images: Count | None = None
    num_inference_steps: Count | None = None
    guidance_scale: Number | None = None
    enable_safety_checker: bool | None = None
    output_format: str | None = None
    sync_mode: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _none_is_not_given(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}


class ImageInput(FalInput):
    """``input`` of an image model.

    :param prompt: what to draw.
    :param negative_prompt: what not to draw, where the model takes it.
    :param image_size: a word such as ``landscape_4_3``, or ``{"width": …, "height": …}`` in pixels.
    :param num_images: how many pictures, at least 1; each is paid.
    :param seed: the same one makes the same picture again.
    :param num_inference_steps: at least 1.
    :param guidance_scale: how closely to follow the prompt.
    :param enable_safety_checker: whether flagged pictures are reported.
    :param output_format: the vendor's samples put an aspect ratio here, fal's schema ``jpeg`` or ``png``; both pass.
    :param sync_mode: have the file itself in the reply.
    """

    prompt: Text
    negative_prompt: Words | None = None
    image_size: AnySize | None = None
    seed: Whole | None = None


class NamedSizeInput(ImageInput):
    """``input`` of an image model for which fal documents the words of ``image_size``.

    :param image_size: ``square_hd``, ``square``, ``portrait_4_3``, ``portrait_16_9``, ``landscape_4_3``,
        ``landscape_16_9``, or ``{"width": …, "height": …}`` in pixels.
    """

    image_size: KnownSize | None = None


class FluxSchnellInput(NamedSizeInput):
    """``input`` of ``fal-ai/flux/schnell``.

    :param num_inference_steps: 1 to 12, default 4.
    """

    num_inference_steps: Annotated[Count, Field(le=12)] | None = None


class AudioInput(FalInput):
    """``input`` of an audio model.

    :param prompt: what to play.
    :param seconds_total: length in seconds, at least 1. Left out, the model makes, and bills, 190 seconds.
    :param seed: the same one makes the same sound again.
    :param sync_mode: have the file itself in the reply.
    """

    prompt: Text
    seed: Whole | None = None


class SpeechInput(FalInput):
    """``input`` of a speech model.

    :param text: what to say.
    :param voice: who says it, such as ``Rachel``.
    :param language_code: the language, as ISO 639-1 has it.
    :param speed: 1 is as usual; more than 0.
    :param stability: 0 to 1; less is livelier.
    :param similarity_boost: 0 to 1; how close to the voice's recordings.
    :param style: 0 to 1; how much to exaggerate it.
    :param timestamps: whether to tell when each word is said.
    :param previous_text: what was said before, so that the speech goes on from there.
    :param next_text: what will be said after it.
    """

    text: Text
    voice: Text | None = None
    language_code: Text | None = None
    speed: Annotated[Number, Field(gt=0)] | None = None
    stability: Share | None = None
    similarity_boost: Share | None = None
    style: Share | None = None
    timestamps: bool | None = None
    previous_text: Words | None = None
    next_text: Words | None = None


DOCUMENTED_MODELS: dict[str, type[FalInput]] = {
    "fal-ai/flux/schnell": FluxSchnellInput,
    "fal-ai/fast-sdxl": NamedSizeInput,
    "fal-ai/stable-audio-25/text-to-audio": AudioInput,
    "fal-ai/elevenlabs/tts/multilingual-v2": SpeechInput,
}


#: So much of a prompt is kept with a result, which is to stay small.
LONGEST_PROMPT = 500


def prompt_of(fields: Any) -> str | None:
    """Return what a model was told in words, as it was sent, cut where it is long; None where it was not.

    :param fields: its ``input``, or the JSON of it.
    """
    if isinstance(fields, str):
        try:
            fields = json.loads(fields)
        except (ValueError, RecursionError):
            return None
    told = (fields.get("prompt") or fields.get("text")) if isinstance(fields, dict) else None
    if not isinstance(told, str):
        return None
    told = sendable(told)[0]
    return told if len(told) <= LONGEST_PROMPT else f"{told[: LONGEST_PROMPT - 1]}…"


#: How alike a name must be to a documented one, from 0 to 1, to be taken for a slip of the pen.
_ALIKE_FIELD, _ALIKE_MODEL = 0.8, 0.93
_VERSION = re.compile(r"-?v?\d[\d.]*")


@functools.lru_cache(maxsize=256)  # of a batch's thousands of items most have the same fields
def likely_slips(model_id: str, fields: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is probably misspelt in a request, each as a sentence with the name that is meant.

    The API takes a field that a model does not know without a word, and the job is paid. A model of another version
    than a documented one is no slip.

    :param fields: the names of the fields of ``input``.
    """
    if model_id not in DOCUMENTED_MODELS:
        near = difflib.get_close_matches(model_id, DOCUMENTED_MODELS, 1, _ALIKE_MODEL)
        if not near or _VERSION.sub("", near[0]) == _VERSION.sub("", model_id):
            return ()
        return (f"The model {model_id!r} is not documented. Is {near[0]!r} meant?",)
    known = DOCUMENTED_MODELS[model_id].model_fields
    return tuple(
        f"{model_id} has no documented field {name!r}, and may ignore it. Is {near[0]!r} meant?"
        for name in fields
        if name not in known and (near := difflib.get_close_matches(name, known, 1, _ALIKE_FIELD))
    )


def input_type(model_id: str, family: type[FalInput] = FalInput) -> type[FalInput]:
    """Return the checks that apply to ``model_id``.

    :param family: those for a model that is not documented; by default nothing is required of it.
    """
    return DOCUMENTED_MODELS.get(model_id, family)
