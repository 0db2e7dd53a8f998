"""Pictures that show what they were made from: the prompt, the model and the seed."""

import colorsys
import hashlib
import io
import random
import textwrap
from functools import lru_cache
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

Size = tuple[int, int]

SIZES: dict[str, Size] = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
SMALLEST, LARGEST = 64, 2048
_SHOWN_CHARACTERS = 500


def size_of(image_size: Any, output_format: Any) -> Size:
    """Return width and height in pixels for what a request says.

    :param image_size: a name such as ``landscape_4_3``, or an object with ``width`` and ``height``.
    :param output_format: may hold such a name too, as the vendor's samples have it.
    """
    if isinstance(image_size, dict):
        sides = (image_size.get("width"), image_size.get("height"))
        width, height = (side if isinstance(side, int) else 512 for side in sides)
        return min(max(width, SMALLEST), LARGEST), min(max(height, SMALLEST), LARGEST)
    for name in (image_size, output_format):
        if isinstance(name, str) and name in SIZES:
            return SIZES[name]
    return SIZES["landscape_4_3"]


@lru_cache(maxsize=32)
def picture(model_id: str, prompt: str, seed: int, index: int, *, size: Size, file_format: str) -> bytes:
    """Return a picture; the same arguments always give the same bytes.

    :param index: which picture of the job, from 0.
    :param size: width and height in pixels.
    :param file_format: ``PNG`` or ``JPEG``.
    """
    key = repr((model_id, prompt, seed, index)).encode("utf-8", "backslashreplace")
    dice = random.Random(hashlib.sha256(key).digest())  # noqa: S311 - colours, no secrets
    image = _background(dice, size)
    _write(image, _printable(prompt), f"{_printable(model_id)}   seed {seed}   #{index}")
    target = io.BytesIO()
    image.save(target, file_format)
    return target.getvalue()


def _background(dice: random.Random, size: Size) -> Image.Image:
    hue = dice.random()
    # Value below 0.75 throughout, so that white text is readable on every part of it.
    dark, middle, light = (
        _colour(hue + shift * dice.uniform(0.08, 0.3), saturation, value)
        for shift, saturation, value in ((0, 0.8, 0.25), (1, 0.65, 0.5), (2, 0.55, 0.72))
    )
    slope = Image.linear_gradient("L").rotate(dice.choice((0, 90, 180, 270))).resize(size)
    glow = ImageOps.invert(Image.radial_gradient("L")).resize(size)
    return ImageOps.colorize(Image.blend(slope, glow, dice.uniform(0.2, 0.6)), dark, light, middle)


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _write(image: Image.Image, prompt: str, caption: str) -> None:
    width, height = image.size
    draw = ImageDraw.Draw(image)
    margin = width // 16
    letter = max(10, min(width // 18, height // 12))
    lines = textwrap.wrap(prompt, max(8, (width - 2 * margin) * 2 // letter)) or ["(empty prompt)"]
    fitting = max(1, (height - 3 * margin) // (letter * 4 // 3))
    if len(lines) > fitting:
        lines = [*lines[: fitting - 1], lines[fitting - 1] + " ..."]
    draw.multiline_text((margin, margin), "\n".join(lines), font=_font(letter), fill="white", spacing=letter // 4)
    small = max(9, letter // 2)
    draw.text((margin, height - margin // 2 - 2 * small), caption, font=_font(small), fill="white")


@lru_cache(maxsize=16)
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _printable(text: str) -> str:
    # A lone surrogate has no glyph and no encoding, a control character moves the pen: neither may reach the font.
    shown = text[:_SHOWN_CHARACTERS].encode("utf-8", "replace").decode()
    return "".join(letter if letter.isprintable() else " " for letter in shown)
