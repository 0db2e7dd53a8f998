"""Draw pictures: the fields of an image model as typed parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_falinvoke.api.inputs import SIZE_NAMES, ImageInput
from airflow_provider_falinvoke.exceptions import FalInvokeInputError
from airflow_provider_falinvoke.operators.typed import TypedInputOperator

if TYPE_CHECKING:
    from airflow.sdk import XComArg


class FalImageOperator(TypedInputOperator):
    """Draw pictures with a fal model.

    What is not given is left out of the request, so that the model's own default holds. The ranges are fal's, for
    ``fal-ai/flux/schnell`` unless another model is named.

    :param prompt: what to draw.
    :param image_size: ``square_hd`` (1024 x 1024), ``square`` (512 x 512), ``portrait_4_3``, ``portrait_16_9``,
        ``landscape_4_3`` (the default), ``landscape_16_9``, or ``{"width": …, "height": …}`` in pixels.
    :param num_images: how many pictures, from 1 (the default) to 4; each is paid.
    :param seed: an integer; the same one with the same prompt makes the same picture again.
    :param num_inference_steps: from 1 to 12, 4 by default.
    :param guidance_scale: how closely to follow the prompt, from 1 to 20, 3.5 by default.
    :param negative_prompt: what not to draw; ``fal-ai/fast-sdxl`` takes it, ``fal-ai/flux/schnell`` does not.
    :param enable_safety_checker: whether flagged pictures are reported, True by default.
    :param output_format: ``jpeg`` or ``png``. A word for the size, which the vendor's samples put here, becomes
        ``image_size``, where the model looks for it.
    :param sync_mode: have the files in the reply itself; they are saved to ``output_path``, which it needs.
    :param model_id: an image model.
    :param further_input: further fields of the model, by name; they pass as they are.

    The other parameters are those of :class:`~airflow_provider_falinvoke.operators.falinvoke.FalInvokeOperator`
    without ``input``, and so is what it returns. All parameters here are templated.
    """

    family = ImageInput
    fields = (
        "prompt",
        "image_size",
        "num_images",
        "seed",
        "num_inference_steps",
        "guidance_scale",
        "negative_prompt",
        "enable_safety_checker",
        "output_format",
        "sync_mode",
    )
    template_fields: Sequence[str] = (*fields, *TypedInputOperator.template_fields)

    def __init__(
        self,
        *,
        prompt: str | XComArg,
        image_size: str | Mapping[str, int | str] | XComArg | None = None,
        num_images: int | str | XComArg | None = None,
        seed: int | str | XComArg | None = None,
        num_inference_steps: int | str | XComArg | None = None,
        guidance_scale: float | str | XComArg | None = None,
        negative_prompt: str | XComArg | None = None,
        enable_safety_checker: bool | str | XComArg | None = None,
        output_format: str | XComArg | None = None,
        sync_mode: bool | str | XComArg | None = None,
        model_id: str | XComArg = "fal-ai/flux/schnell",
        further_input: dict[str, Any] | str | XComArg | None = None,
        **kwargs: Any,
    ) -> None:
        self.prompt = prompt
        self.image_size = image_size
        self.num_images = num_images
        self.seed = seed
        self.num_inference_steps = num_inference_steps
        self.guidance_scale = guidance_scale
        self.negative_prompt = negative_prompt
        self.enable_safety_checker = enable_safety_checker
        self.output_format = output_format
        self.sync_mode = sync_mode
        super().__init__(model_id=model_id, further_input=further_input, **kwargs)

    def compose(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Move the picture's size to where fal's models take it."""
        if fields.get("output_format") not in SIZE_NAMES:
            return fields
        if "image_size" in fields:
            raise FalInvokeInputError(
                f"output_format: {fields['output_format']!r} is a picture's size, and image_size is given too"
            )
        return {"image_size" if name == "output_format" else name: value for name, value in fields.items()}
