"""Say texts: the fields of a speech model as typed parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_falinvoke.api.inputs import SpeechInput
from airflow_provider_falinvoke.operators.typed import TypedInputOperator

if TYPE_CHECKING:
    from airflow.sdk import XComArg


class FalSpeechOperator(TypedInputOperator):
    """Say a text with a fal model.

    What is not given is left out of the request, so that the model's own default holds. The ranges are fal's, for
    ``fal-ai/elevenlabs/tts/multilingual-v2``.

    :param text: what to say.
    :param voice: who says it, ``Rachel`` by default; also ``Aria``, ``Roger``, ``Sarah``, ``George`` and others.
    :param language_code: the language, as ISO 639-1 has it (``de``). A model that cannot be told the language refuses
        it; left out, the text tells.
    :param speed: from 0.7 to 1.2, 1 by default.
    :param stability: from 0 to 1, 0.5 by default; less is livelier.
    :param similarity_boost: how close to the voice's recordings, from 0 to 1, 0.75 by default.
    :param style: how much to exaggerate the voice's style, from 0 (the default) to 1.
    :param timestamps: whether the output tells when each word is said, False by default.
    :param previous_text: what was said before, so that the speech goes on from there.
    :param next_text: what will be said after it.
    :param model_id: a speech model.
    :param further_input: further fields of the model, by name; they pass as they are.

    The other parameters are those of :class:`~airflow_provider_falinvoke.operators.falinvoke.FalInvokeOperator`
    without ``input``, and so is what it returns. All parameters here are templated.
    """

    family = SpeechInput
    fields = (
        "text",
        "voice",
        "language_code",
        "speed",
        "stability",
        "similarity_boost",
        "style",
        "timestamps",
        "previous_text",
        "next_text",
    )
    template_fields: Sequence[str] = (*fields, *TypedInputOperator.template_fields)

    def __init__(
        self,
        *,
        text: str | XComArg,
        voice: str | XComArg | None = None,
        language_code: str | XComArg | None = None,
        speed: float | str | XComArg | None = None,
        stability: float | str | XComArg | None = None,
        similarity_boost: float | str | XComArg | None = None,
        style: float | str | XComArg | None = None,
        timestamps: bool | str | XComArg | None = None,
        previous_text: str | XComArg | None = None,
        next_text: str | XComArg | None = None,
        model_id: str | XComArg = "fal-ai/elevenlabs/tts/multilingual-v2",
        further_input: dict[str, Any] | str | XComArg | None = None,
        **kwargs: Any,
    ) -> None:
        self.text = text
        self.voice = voice
        self.language_code = language_code
        self.speed = speed
        self.stability = stability
        self.similarity_boost = similarity_boost
        self.style = style
        self.timestamps = timestamps
        self.previous_text = previous_text
        self.next_text = next_text
        super().__init__(model_id=model_id, further_input=further_input, **kwargs)
