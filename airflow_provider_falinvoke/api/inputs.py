"""The documented fields of ``input``, with their types and bounds; further fields pass as they are.

Source: the vendor's OpenAPI description and fal's schemas of the four models in the vendor's documentation.
A rendered template is a string, so ``"4"`` becomes 4 for a documented integer. ``None`` means "not given": a
templated parameter that nobody set is left out of the request.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("Input should be a number, not a boolean")
    return value


Count = Annotated[int, BeforeValidator(_no_boolean), Field(ge=1)]
Number = Annotated[float, BeforeValidator(_no_boolean)]
Text = Annotated[str, Field(min_length=1)]


class FalInput(BaseModel):
    """Any model's ``input``: what is documented is checked, nothing is required, further fields pass."""

    model_config = ConfigDict(extra="allow", protected_namespaces=(), allow_inf_nan=False)

    prompt: Text | None = None
    text: Text | None = None
    seconds_total: Count | None = None
    num_images: Count | None = None
    num_inference_steps: Count | None = None
    guidance_scale: Number | None = None
    enable_safety_checker: bool | None = None
    output_format: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _none_is_not_given(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in FalInput.model_fields}


class ImageInput(FalInput):
    """``input`` of an image model.

    :param prompt: what to draw.
    :param num_images: how many pictures, at least 1; each is paid.
    :param num_inference_steps: at least 1 (``fal-ai/flux/schnell``: 1 to 12, default 4).
    :param guidance_scale: how closely to follow the prompt.
    :param enable_safety_checker: whether flagged pictures are reported.
    :param output_format: the vendor's samples put an aspect ratio here, fal's schema ``jpeg`` or ``png``; both pass.
    """

    prompt: Text


class AudioInput(FalInput):
    """``input`` of an audio model.

    :param prompt: what to play.
    :param seconds_total: length in seconds, at least 1. Left out, the model makes, and bills, 190 seconds.
    """

    prompt: Text


class SpeechInput(FalInput):
    """``input`` of a speech model.

    :param text: what to say.
    """

    text: Text


DOCUMENTED_MODELS: dict[str, type[FalInput]] = {
    "fal-ai/flux/schnell": ImageInput,
    "fal-ai/fast-sdxl": ImageInput,
    "fal-ai/stable-audio-25/text-to-audio": AudioInput,
    "fal-ai/elevenlabs/tts/multilingual-v2": SpeechInput,
}


def input_type(model_id: str) -> type[FalInput]:
    """Return the checks that apply to ``model_id``; an undocumented model requires nothing."""
    return DOCUMENTED_MODELS.get(model_id, FalInput)
