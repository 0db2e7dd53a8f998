"""What a request will cost, from prices that the user gives. Pure; without a price nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from airflow_provider_falinvoke.api.inputs import AudioInput, input_type
from airflow_provider_falinvoke.api.models import InvokeRequest
from airflow_provider_falinvoke.exceptions import FalInvokeInputError

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]

#: What the documented audio model makes where ``seconds_total`` is left out (the vendor's documentation).
DEFAULT_AUDIO_SECONDS = 190
#: fal's names for picture sizes, in pixels (fal's schema of ``image_size``).
_NAMED_SIZES = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}


class Price(BaseModel):
    """A model's price, in the user's currency; exactly one of the four.

    :param per_image: for each picture.
    :param per_megapixel: for each million pixels; needs ``image_size`` in the input.
    :param per_second: for each second of audio.
    :param per_1000_characters: for each thousand characters of text.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    per_image: Amount | None = None
    per_megapixel: Amount | None = None
    per_second: Amount | None = None
    per_1000_characters: Amount | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Price:
        if len(self.model_fields_set) != 1 or None in self.model_dump(exclude_unset=True).values():
            raise ValueError("give exactly one of per_image, per_megapixel, per_second, per_1000_characters")
        return self


_PRICES = TypeAdapter(dict[str, Price], config=ConfigDict(defer_build=True))


def read_prices(prices: Any) -> dict[str, Price]:
    """Return prices by model_id from plain data, or its JSON.

    :raises FalInvokeInputError: if one of them is no price.
    """
    try:
        read = _PRICES.validate_json if isinstance(prices, str) else _PRICES.validate_python
        return read(prices)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise FalInvokeInputError(f"prices.{where}: {problem['msg']}.") from None


def estimate(request: InvokeRequest, prices: Mapping[str, Price]) -> float | None:
    """Return what ``request`` will cost, or None where there is no price for its model, or its size is unknown.

    :param prices: by model_id.
    """
    price = prices.get(request.model_id)
    if price is None:
        return None
    fields = request.input
    images = int(fields.get("num_images", 1))
    if price.per_image is not None:
        return price.per_image * images
    if price.per_megapixel is not None:
        pixels = _pixels(fields.get("image_size", fields.get("output_format")))
        return None if pixels is None else price.per_megapixel * images * pixels / 1e6
    if price.per_second is not None:
        known = DEFAULT_AUDIO_SECONDS if input_type(request.model_id) is AudioInput else None
        seconds = fields.get("seconds_total", known)
        return None if seconds is None else price.per_second * float(seconds)
    assert price.per_1000_characters is not None, "a price has exactly one unit"
    return price.per_1000_characters * len(str(fields.get("text", fields.get("prompt", "")))) / 1000


def _pixels(size: Any) -> int | None:
    if isinstance(size, dict):
        size = (size.get("width"), size.get("height"))
    elif isinstance(size, str):
        size = _NAMED_SIZES.get(size)
    width, height = size if isinstance(size, tuple) else (None, None)
    try:
        pixels = int(width) * int(height)  # a rendered template is a text
    except (TypeError, ValueError):
        return None
    return pixels if pixels > 0 else None
