"""What is sent to the API and what comes back, as plain models. Lenient reading is the matter of ``replies.py``."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Container, Mapping
from datetime import datetime
from enum import Enum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, field_validator
from pydantic_core import PydanticSerializationError, to_jsonable_python

from airflow_provider_falinvoke.api.inputs import FalInput, SpeechInput, input_type
from airflow_provider_falinvoke.api.portable import NotPortableError, sendable
from airflow_provider_falinvoke.exceptions import FalInvokeInputError

log = logging.getLogger(__name__)

#: So many places are named in a warning.
_SHOWN = 5

ModelId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class InvocationStatus(str, Enum):
    """The state of an invocation, whatever its spelling on the wire."""

    QUEUED = "QUEUED"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    #: A word that this client does not know; taken as pending, so that a paid job is not given up.
    UNKNOWN = "UNKNOWN"

    @property
    def ended(self) -> bool:
        """Whether the API will not change this state any more."""
        return self in (InvocationStatus.COMPLETED, InvocationStatus.FAILED)


class Tag(BaseModel):
    """One ``{key, value}`` pair of a request's ``tags``; the API lets it hold further keys."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="allow", coerce_numbers_to_str=True)

    key: str
    value: str


class InvokeRequest(BaseModel):
    """The body of ``POST /v1/async-invoke``, checked before anything is sent.

    :param model_id: the fal model, such as ``fal-ai/flux/schnell``. An unknown one is the API's to reject.
    :param input: the model's fields; see :mod:`~airflow_provider_falinvoke.api.inputs`.
    :param tags: a list of ``{key, value}``, or a plain dict.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", protected_namespaces=())

    model_id: ModelId
    input: dict[str, Any]
    tags: tuple[Tag, ...] | None = None

    @field_validator("tags", mode="before")
    @classmethod
    def _tags_from_dict(cls, value: Any) -> Any:
        if isinstance(value, dict) and set(value) != {"key", "value"}:
            return [{"key": key, "value": tag} for key, tag in value.items()]
        return [value] if isinstance(value, dict) else value

    @classmethod
    def build(cls, model_id: Any, input: Any, tags: Any = None, *, family: type[FalInput] = FalInput) -> InvokeRequest:
        """Return the checked request, as Airflow can carry it.

        Characters that it cannot carry, U+0000 and half a surrogate pair, are removed, with a WARNING.

        :param family: the checks of ``input`` for a model that is not documented.
        :raises FalInvokeInputError: if a field is missing, of a wrong type or out of its bounds; it names them all.
        """
        given = _sendable({"model_id": model_id, "input": object_of(input), "tags": object_of(tags, "tags")})
        try:
            request = cls(**given)
        except ValidationError as error:
            raise _wrong(problems_of(error)) from None
        checks = input_type(request.model_id, family)
        try:
            checked = checks.model_validate(request.input).model_dump(exclude_unset=True)
        except ValidationError as error:
            raise _wrong(problems_of(error, prefix="input.")) from None
        try:
            plain = to_jsonable_python(checked)
        except (PydanticSerializationError, ValueError) as error:
            raise _wrong(f"input is not JSON: {error}") from None
        # Once more, because what is JSON only now may hide anything, and "9e99" is a number only now.
        return request.model_copy(update=_sendable({"input": plain}))

    @classmethod
    def read(
        cls,
        value: Any,
        *,
        model_id: Any = None,
        tags: Any = None,
        shared: Mapping[str, Any] | None = None,
        family: type[FalInput] = FalInput,
    ) -> InvokeRequest:
        """Return the checked request of what a user gave, however much of one that is.

        :param value: a prompt (for a speech model: the text), a dict of the model's fields, or a whole request: a dict
            of ``input`` and, where they are not the defaults, ``model_id`` and ``tags``. Its ``input`` may be a prompt
            too, or the JSON of the fields, as a template yields it. A dict that has ``input`` beside fields of other
            names, or a text as ``input`` and no ``model_id``, is the fields of a model that has a field of that name.
        :param model_id: of a request that names none.
        :param tags: of a request that has none.
        :param shared: fields that the request has unless it has its own.
        :param family: the checks of ``input`` for a model that is not documented.
        :raises FalInvokeInputError: as :meth:`build` does.
        """
        if isinstance(value, Mapping) and _is_whole(value):
            model_id = value.get("model_id") or model_id
            tags = tags if value.get("tags") is None else value["tags"]
            value = value["input"]
            if isinstance(value, str) and value.lstrip().startswith("{"):
                value = object_of(value)
        if isinstance(value, str):
            speaks = issubclass(input_type(str(model_id).strip(), family), SpeechInput)
            value = {"text" if speaks else "prompt": value}
        if isinstance(value, Mapping):
            value = {**(shared or {}), **value}
        return cls.build(model_id, value, tags, family=family)

    def body(self) -> bytes:
        """Return the request's JSON."""
        data: dict[str, Any] = {"model_id": self.model_id, "input": self.input}
        if self.tags is not None:
            data["tags"] = [tag.model_dump() for tag in self.tags]
        return json.dumps(data, allow_nan=False).encode()


class Invocation(BaseModel):
    """An invocation as the API reported it.

    :param request_id: the job's id; None only where a reply held a finished result and no id.
    :param status: the state.
    :param raw_status: the word that the API used for it, if any.
    :param output: the model's result once completed.
    :param error: why it failed, as one line.
    :param refused: whether it failed for a reason that the same request will meet again.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, protected_namespaces=())

    request_id: str | None
    status: InvocationStatus
    raw_status: str | None = None
    model_id: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    output: Any = None
    error: str | None = None
    refused: bool = False

    @property
    def name(self) -> str:
        """What names its files: the request_id; without one, a digest of the output, which tells it from others."""
        if self.request_id is not None:
            return self.request_id
        output = json.dumps(self.output, sort_keys=True, default=str).encode()
        return f"result-{hashlib.sha256(output).hexdigest()[:16]}"

    @property
    def seconds(self) -> float | None:
        """Seconds from the job's creation to its end; None where the API gave no times."""
        if self.created_at is None or self.completed_at is None:
            return None
        return round((self.completed_at - self.created_at).total_seconds(), 3)


def _is_whole(value: Mapping[str, Any]) -> bool:
    if "input" not in value or not value.keys() <= InvokeRequest.model_fields.keys():
        return False
    return "model_id" in value or isinstance(value["input"], Mapping)


def is_longer(value: Any, limit: int) -> bool:
    """Whether a JSON value's text is longer than ``limit``; without making it, which would hold up the event loop."""
    waiting, length = [value], 0
    while waiting and length <= limit:
        node = waiting.pop()
        length += len(node) if isinstance(node, str) else 8
        if isinstance(node, dict):
            waiting += [*node.keys(), *node.values()]
        elif isinstance(node, list):
            waiting += node
    return length > limit


def object_of(value: Any, name: str = "input") -> Any:
    """Read a JSON object out of a string, because a template that yields a dict is rendered to its text.

    :param name: what it is, for the error.
    :raises FalInvokeInputError: if it is a string and no JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise _wrong(
            f"{name} must be a dict (or its JSON), but it is a text: {value[:80]!r}. A template that yields a dict "
            "needs render_template_as_native_obj=True on the DAG, or the filter tojson."
        ) from None


def _sendable(given: dict[str, Any]) -> dict[str, Any]:
    try:
        fit, removed = sendable(given)
    except NotPortableError as error:
        raise _wrong(str(error)) from None
    if removed:
        log.warning(
            "The request has characters that Airflow cannot store (U+0000, or half a surrogate pair); it is sent "
            "without them. They stood in %s",
            ", ".join(removed[:_SHOWN]) + (" and elsewhere" if len(removed) > _SHOWN else ""),
        )
    return dict(fit)


def problems_of(error: ValidationError, prefix: str = "", *, but: Container[str] = ()) -> str:
    """Return what pydantic found, each problem with its field and what was given, as one line.

    :param prefix: stands before each field's name.
    :param but: fields whose problems are left out.
    """
    return "; ".join(
        f"{prefix}{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
        + ("" if item["type"] == "missing" else f" (got {str(item['input'])[:80]!r})")
        for item in error.errors(include_url=False)
        if not (item["loc"] and item["loc"][0] in but)
    )


def _wrong(problems: str) -> FalInvokeInputError:
    return FalInvokeInputError(f"The request is wrong, nothing was sent: {problems}")
