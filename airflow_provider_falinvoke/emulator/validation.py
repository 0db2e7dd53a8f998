"""What the API refuses before it makes a job. Pure: a document in, a refusal or nothing out."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from airflow_provider_falinvoke.emulator.catalog import Family, family_of

DURATION_TAG = "emulator-duration"

# Bounds of the emulator, not of the API: they keep one request from asking for gigabytes of media.
MAX_IMAGES = 16
MAX_SECONDS = 600
MAX_TEXT = 10_000

#: The one model that the vendor documents a bound of steps for.
FLUX_SCHNELL, MAX_STEPS = "fal-ai/flux/schnell", 12


@dataclass
class Refusal(Exception):  # not frozen: Python sets __traceback__ on an exception that is raised
    """Why a request is refused.

    :param status: the HTTP status of the answer.
    :param error_id: the ``id`` of the error body.
    :param message: the ``message`` of the error body.
    """

    status: int
    error_id: str
    message: str


class _Rule(NamedTuple):
    holds: Callable[[Any], bool]
    must_be: str


def _integer(low: int, high: float = math.inf) -> _Rule:
    bounds = f"of at least {low}" if high == math.inf else f"from {low} to {high}"
    return _Rule(lambda value: _is_integer(value) and low <= value <= high, f"an integer {bounds}")


def _is_integer(value: Any) -> bool:
    # bool is a subclass of int in Python, but true is not an integer in JSON; 8.0 is one by JSON Schema, as is 8.
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())


_STRING = _Rule(lambda value: isinstance(value, str), "a string")
_BOOLEAN = _Rule(lambda value: isinstance(value, bool), "a boolean")
_NUMBER = _Rule(lambda value: isinstance(value, int | float) and not isinstance(value, bool), "a number")
_TEXT = _Rule(
    lambda value: isinstance(value, str) and len(value) <= MAX_TEXT, f"a string of at most {MAX_TEXT} characters"
)

_FIELDS: Mapping[str, _Rule] = {
    "prompt": _STRING,
    "text": _TEXT,
    "seconds_total": _integer(1),
    "num_images": _integer(1),
    "num_inference_steps": _integer(1),
    "guidance_scale": _NUMBER,
    "enable_safety_checker": _BOOLEAN,
    "output_format": _STRING,
    "sync_mode": _BOOLEAN,
}
#: The vendor's own clients send null for these, which is as if they were left out.
_NULLABLE = frozenset(
    (
        "output_format",
        "num_inference_steps",
        "guidance_scale",
        "num_images",
        "enable_safety_checker",
        "seconds_total",
    )
)
_BOUNDED = {"seconds_total": _integer(1, MAX_SECONDS), "num_images": _integer(1, MAX_IMAGES)}
_FLUX_SCHNELL_STEPS = _integer(1, MAX_STEPS)
_REQUIRED_FIELD: Mapping[Family, str] = {"image": "prompt", "audio": "prompt", "speech": "text"}


def _unprocessable(message: str) -> Refusal:
    return Refusal(422, "unprocessable_entity", message)


def parse(content_type: str, body: bytes) -> Any:
    """Return the JSON document of a POST.

    :param content_type: the value of the request's Content-Type header, empty when it has none.
    :raises Refusal: 415 for another content type, 400 for a body that is no JSON.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "unsupported_media_type", "Content-Type must be application/json")
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "bad_request", "the request body is not valid JSON") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def check(document: Any, durations: Mapping[str, float]) -> None:
    """Check the document of a POST against the API's facts.

    :param document: the parsed body.
    :param durations: the models that the user configured, known besides those of the catalog.
    :raises Refusal: 422 for a missing field or a wrong type, 404 for an unknown model.
    """
    if not isinstance(document, dict):
        raise _unprocessable("the request body must be an object")
    model_id, given = document.get("model_id"), document.get("input")
    if not isinstance(model_id, str) or not model_id:
        raise _unprocessable("model_id must be a string that is not empty")
    if not isinstance(given, dict):
        raise _unprocessable("input must be an object")
    _check_tags(document.get("tags"))
    family = family_of(model_id, durations)
    if family is None:
        raise Refusal(404, "not_found", f"model {model_id} not found")
    _check_input(model_id, family, given)


def _check_tags(tags: Any) -> None:
    if tags is None:
        return
    if not isinstance(tags, list):
        raise _unprocessable("tags must be a list or null")
    for index, tag in enumerate(tags):
        if not (isinstance(tag, dict) and tag.keys() >= {"key", "value"}):
            raise _unprocessable(f"tags[{index}] must be an object with key and value")
        if not (isinstance(tag["key"], str) and isinstance(tag["value"], str)):
            raise _unprocessable(f"tags[{index}] must have strings for key and value")
    try:
        tagged_duration(tags)
    except ValueError as error:
        raise _unprocessable(f"tag {DURATION_TAG} must be a number of seconds, at least 0") from error


def tagged_duration(tags: list[dict[str, str]] | None) -> float | None:
    """Return the duration in seconds that a tag asks for, or None.

    :raises ValueError: if the tag's value is no finite number of at least 0.
    """
    for tag in tags or ():
        if tag["key"] == DURATION_TAG:
            seconds = float(tag["value"])
            if not (math.isfinite(seconds) and seconds >= 0):
                raise ValueError(tag["value"])
            return seconds
    return None


def _check_input(model_id: str, family: Family, given: Mapping[str, Any]) -> None:
    required = _REQUIRED_FIELD[family]
    if required not in given:
        raise _unprocessable(f"input.{required} is required for {model_id}")
    for name, value in given.items():
        if value is None and name in _NULLABLE:
            continue
        # Two steps, so that a wrong type is told by the API's own rule and only excess by the emulator's bound.
        for rule in (_FIELDS.get(name), _BOUNDED.get(name)):
            if rule is not None and not rule.holds(value):
                raise _unprocessable(f"input.{name} must be {rule.must_be}")
    steps = given.get("num_inference_steps") or 1
    if model_id == FLUX_SCHNELL and not _FLUX_SCHNELL_STEPS.holds(steps):
        raise _unprocessable(f"input.num_inference_steps must be {_FLUX_SCHNELL_STEPS.must_be}")
