"""The models that the emulator knows, and the family that decides what each one takes and makes."""

from collections.abc import Mapping
from typing import Literal

Family = Literal["image", "audio", "speech"]

# A prefix stands for a whole line of models, so that a sibling of a documented model works without configuration.
_PREFIXES: dict[str, Family] = {
    "fal-ai/flux": "image",
    "fal-ai/fast-sdxl": "image",
    "fal-ai/stable-audio": "audio",
    "fal-ai/elevenlabs/tts": "speech",
}

DEFAULT_DURATIONS: Mapping[Family, float] = {"image": 2.0, "audio": 8.0, "speech": 4.0}

# GET /v1/models does not list the fal models: a client that looks for its model there must not find it.
LISTED_MODELS = ("llama3.3-70b-instruct", "openai-gpt-oss-120b", "anthropic-claude-4.5-sonnet")


def family_of(model_id: str, durations: Mapping[str, float]) -> Family | None:
    """Return the family of a model, or None if the emulator does not know the model.

    :param durations: the models that the user configured; such a model is known whatever its name, and its family is
        read off the name (``tts`` or ``speech``, ``audio`` or ``music``, else image).
    """
    for prefix, family in _PREFIXES.items():
        if model_id.startswith(prefix):
            return family
    if model_id not in durations:
        return None
    if "tts" in model_id or "speech" in model_id:
        return "speech"
    return "audio" if "audio" in model_id or "music" in model_id else "image"
