"""The emulator's contract as an OpenAPI document, written from the API's facts. Pure data; what is bounded says so."""

from collections.abc import Mapping
from typing import Any

from airflow_provider_falinvoke.emulator.catalog import MODELS, Family, family_of
from airflow_provider_falinvoke.emulator.validation import (
    DURATION_TAG,
    FLUX_SCHNELL,
    MAX_IMAGES,
    MAX_SECONDS,
    MAX_STEPS,
    MAX_TEXT,
)

PATH = "/openapi.json"

_STRING: dict[str, Any] = {"type": "string"}
_TIME: dict[str, Any] = {"type": ["string", "null"], "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$"}
_INTEGER: dict[str, Any] = {"type": "integer"}
_EPOCH = "epoch seconds"


def contract(durations: Mapping[str, float], statuses: Mapping[str, str]) -> dict[str, Any]:
    """Return the OpenAPI document.

    :param durations: the models that the user configured.
    :param statuses: other spellings of statuses.
    """
    words = [statuses.get(word, word) for word in ("QUEUED", "IN_PROGRESS", "COMPLETED", "FAILED")]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Emulator of DigitalOcean's async-invoke API for fal models",
            "version": "1",
            "description": "What an emulator without faults answers. Bounds of its own: a request never asks for "
            f"more than {MAX_IMAGES} images, {MAX_SECONDS} seconds of audio or {MAX_TEXT} characters of text.",
        },
        "security": [{"key": []}],
        "paths": {
            "/v1/async-invoke": {"post": _post()},
            "/v1/async-invoke/{request_id}": {"get": _poll("getInvocation", "Invocation")},
            "/v1/async-invoke/{request_id}/status": {"get": _poll("getStatus", "Status")},
            "/v1/models": {
                "get": {
                    "operationId": "listModels",
                    "summary": "A free check of a key; it does not list the fal models.",
                    "responses": {"200": _reply("Models", "the models"), **_errors(401, 429)},
                }
            },
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "InvokeRequest": {"anyOf": _requests(durations)},
                "Tags": _tags(),
                "Invocation": _invocation(words),
                "Status": _object({"status": {"enum": words}}),
                "Models": _object({"object": {"const": "list"}, "data": {"type": "array", "items": _model()}}),
                "Error": _object({"id": _STRING, "message": _STRING}, request_id=_STRING),
            },
        },
    }


def _post() -> dict[str, Any]:
    link = {"operationId": "getInvocation", "parameters": {"request_id": "$response.body#/request_id"}}
    links = {"links": {"job": link, "status": {**link, "operationId": "getStatus"}}}
    return {
        "operationId": "submit",
        "summary": "Submit a job. There is no cancel and no idempotency key: each accepted POST is paid for.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/InvokeRequest"}}},
        },
        "responses": {
            "200": {**_reply("Invocation", "accepted; it may have ended already"), **links},
            "202": {**_reply("Invocation", "accepted"), **links},
            **_errors(400, 401, 404, 413, 415, 422, 429),
        },
    }


def _poll(operation_id: str, schema: str) -> dict[str, Any]:
    request_id = {"name": "request_id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
    return {
        "operationId": operation_id,
        "parameters": [request_id],
        "responses": {"200": _reply(schema, "as it is now"), **_errors(401, 404, 429)},
    }


def _requests(durations: Mapping[str, float]) -> list[dict[str, Any]]:
    named = {FLUX_SCHNELL: "image", **MODELS, **{name: family_of(name, durations) for name in durations}}
    by_family: dict[Family, list[str]] = {
        family: [name for name, its in named.items() if its == family and name != FLUX_SCHNELL]
        for family in ("image", "audio", "speech")
    }
    image = {
        "num_images": _integer(MAX_IMAGES),
        "num_inference_steps": _integer(),
        "guidance_scale": {"type": ["number", "null"]},
        "enable_safety_checker": {"type": ["boolean", "null"]},
    }
    return [
        _request([FLUX_SCHNELL], "prompt", {**image, "num_inference_steps": _integer(MAX_STEPS)}),
        _request(by_family["image"], "prompt", image),
        _request(by_family["audio"], "prompt", {}),
        _request(by_family["speech"], "text", {}),
    ]


def _request(model_ids: list[str], required: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    documented = {
        "prompt": _STRING,
        "text": {"type": "string", "maxLength": MAX_TEXT},
        "output_format": {"type": ["string", "null"]},
        "sync_mode": {"type": "boolean"},
        # Each documented field has its type, whatever the model.
        "seconds_total": _integer(MAX_SECONDS),
        "num_images": _integer(MAX_IMAGES),
        "num_inference_steps": _integer(),
        "guidance_scale": {"type": ["number", "null"]},
        "enable_safety_checker": {"type": ["boolean", "null"]},
        **fields,
    }
    given = {"type": "object", "required": [required], "properties": documented, "additionalProperties": True}
    model_id = {"enum": model_ids, "description": "these, and what lies below them, up to a slash"}
    return _object({"model_id": model_id, "input": given}, tags={"$ref": "#/components/schemas/Tags"})


def _integer(most: int | None = None) -> dict[str, Any]:
    return {"type": ["integer", "null"], "minimum": 1} | ({} if most is None else {"maximum": most})


def _tags() -> dict[str, Any]:
    # The emulator's own tag is left out of the schema: a generator would meet its name by design and never by chance.
    tag = _object({"key": _STRING, "value": _STRING})
    note = f"A tag may hold further keys. {DURATION_TAG} sets a job's duration in seconds; other values are refused."
    return {"type": ["array", "null"], "items": {**tag, "description": note}}


def _invocation(words: list[str]) -> dict[str, Any]:
    return _object(
        {
            "request_id": {"type": "string", "format": "uuid"},
            "status": {"enum": words},
            "model_id": _STRING,
            "created_at": {**_TIME, "type": "string"},
            "started_at": {**_TIME, "description": "may stay null, even when completed"},
            "completed_at": _TIME,
            "output": {"type": ["object", "null"]},
            "error": {"type": ["string", "null"]},
        }
    )


def _model() -> dict[str, Any]:
    return _object({"id": _STRING, "object": {"const": "model"}, "created": _INTEGER, "owned_by": _STRING})


def _object(required: Mapping[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "required": [*required], "properties": {**required, **optional}}


def _reply(schema: str, description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
        "headers": {
            "ratelimit-limit": {"schema": _INTEGER},
            "ratelimit-remaining": {"schema": _INTEGER},
            "ratelimit-reset": {"schema": _INTEGER, "description": _EPOCH},
        },
    }


def _errors(*statuses: int) -> dict[str, Any]:
    return {str(status): _reply("Error", _DESCRIPTIONS[status]) for status in statuses}


_DESCRIPTIONS: Mapping[int, str] = {
    400: "the body is not JSON",
    401: "no key, or an unknown one",
    404: "an unknown job or model",
    413: "a body that is too large",
    415: "another content type than application/json",
    422: "a field is missing, or of a wrong type",
    429: "over the quota",
}
