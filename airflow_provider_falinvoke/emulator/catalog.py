"""The models that the emulator knows, and the family that decides what each one takes and makes."""

from collections.abc import Iterable, Mapping
from typing import Literal

Family = Literal["image", "audio", "speech"]

#: The models of the vendor's documentation, and near siblings at fal.
MODELS: Mapping[str, Family] = {
    "fal-ai/flux/schnell": "image",
    "fal-ai/flux/dev": "image",
    "fal-ai/fast-sdxl": "image",
    "fal-ai/stable-audio": "audio",
    "fal-ai/stable-audio-25/text-to-audio": "audio",
    "fal-ai/elevenlabs/tts/multilingual-v2": "speech",
    "fal-ai/elevenlabs/tts/eleven-v3": "speech",
    "fal-ai/elevenlabs/tts/turbo-v2.5": "speech",
}

DEFAULT_DURATIONS: Mapping[Family, float] = {"image": 2.0, "audio": 8.0, "speech": 4.0}

# GET /v1/models does not list the fal models: a client that looks for its model there must not find it.
LISTED_MODELS = ("llama3.3-70b-instruct", "openai-gpt-oss-120b", "anthropic-claude-4.5-sonnet")


def known_as(model_id: str, names: Iterable[str]) -> str | None:
    """Return the longest of some names that a model goes by: whole, or up to a slash. None if it goes by none.

    So ``fal-ai/flux/dev/image-to-image`` is known as ``fal-ai/flux/dev``, and the typo ``fal-ai/flux/schnel`` is not
    known.
    """
    return max((name for name in names if f"{model_id}/".startswith(f"{name}/")), key=len, default=None)


def family_of(model_id: str, durations: Mapping[str, float]) -> Family | None:
    """Return the family of a model, or None if the emulator does not know the model.

    :param durations: the models that the user configured; such a model is known whatever its name, and its family is
        read off the name (``tts`` or ``speech``, ``audio`` or ``music``, else image).
    """
    if name := known_as(model_id, MODELS):
        return MODELS[name]
    if known_as(model_id, durations) is None:
        return None
    if "tts" in model_id or "speech" in model_id:
        return "speech"
    return "audio" if "audio" in model_id or "music" in model_id else "image"
