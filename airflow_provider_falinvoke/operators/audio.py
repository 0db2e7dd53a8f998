"""Make music and sounds: the fields of an audio model as typed parameters."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_falinvoke.api.inputs import AudioInput, input_type
from airflow_provider_falinvoke.api.pricing import DEFAULT_AUDIO_SECONDS
from airflow_provider_falinvoke.operators.typed import TypedInputOperator

if TYPE_CHECKING:
    from airflow.sdk import XComArg


class FalAudioOperator(TypedInputOperator):
    """Make music or a sound with a fal model.

    What is not given is left out of the request, so that the model's own default holds. The ranges are fal's, for
    ``fal-ai/stable-audio-25/text-to-audio``.

    :param prompt: what to play.
    :param seconds_total: the length in whole seconds, from 1 to 190. Left out, the model makes 190 s of it, and they
        are paid: a warning says so when the DAG is parsed, and in the task's log.
    :param seed: an integer; the same one with the same prompt makes the same sound again.
    :param num_inference_steps: from 4 to 8, 8 by default.
    :param guidance_scale: how closely to follow the prompt, from 1 to 25, 1 by default.
    :param sync_mode: have the file in the reply itself; it is saved to ``output_path``, which it needs.
    :param model_id: an audio model.
    :param further_input: further fields of the model, by name; they pass as they are.

    The other parameters are those of :class:`~airflow_provider_falinvoke.operators.falinvoke.FalInvokeOperator`
    without ``input``, and so is what it returns. All parameters here are templated.
    """

    family = AudioInput
    fields = ("prompt", "seconds_total", "seed", "num_inference_steps", "guidance_scale", "sync_mode")
    template_fields: Sequence[str] = (*fields, *TypedInputOperator.template_fields)

    def __init__(
        self,
        *,
        prompt: str | XComArg,
        seconds_total: int | str | XComArg | None = None,
        seed: int | str | XComArg | None = None,
        num_inference_steps: int | str | XComArg | None = None,
        guidance_scale: float | str | XComArg | None = None,
        sync_mode: bool | str | XComArg | None = None,
        model_id: str | XComArg = "fal-ai/stable-audio-25/text-to-audio",
        further_input: dict[str, Any] | str | XComArg | None = None,
        **kwargs: Any,
    ) -> None:
        self.prompt = prompt
        self.seconds_total = seconds_total
        self.seed = seed
        self.num_inference_steps = num_inference_steps
        self.guidance_scale = guidance_scale
        self.sync_mode = sync_mode
        super().__init__(model_id=model_id, further_input=further_input, **kwargs)

    def caution(self, model_id: str, given: Container[str]) -> str | None:
        """Warn of the length that nobody asked for."""
        if input_type(model_id) is not AudioInput or "seconds_total" in given:
            return None
        return (
            f"seconds_total is not given, so {model_id} makes {DEFAULT_AUDIO_SECONDS} seconds of audio, and they are "
            f"paid. Say how long it shall be; {DEFAULT_AUDIO_SECONDS} if that is what you want."
        )
