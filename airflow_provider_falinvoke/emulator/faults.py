"""Faults: what shall go wrong, for which request, and how often. Pure: which fault applies, not what it does."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from airflow_provider_falinvoke.emulator.outputs import SHAPES
from airflow_provider_falinvoke.emulator.records import Route

On = Literal["post", "get", "status", "poll", "models", "media", "any"]

# In place of the reply (after the job was made, if the fault says accepted).
INTERCEPTING = ("answer", "html", "text", "redirect", "drop")
# The real reply, delivered badly.
DELIVERING = ("cut", "slow", "slow_body")
# Sticks to the job that the POST makes.
OF_JOB = ("fail", "not_yet", "flag")
# The real reply with another invocation in it.
SHAPING = ("unknown_status", "spelling", "rename", "omit", "merge", "no_envelope", "output_shape")
KINDS = INTERCEPTING + DELIVERING + OF_JOB + SHAPING

FAILURES: Mapping[str, Any] = {
    "string": "The model could not process the input.",
    "object": {"message": "The model could not process the input.", "code": "model_error"},
    "detail": {"detail": "The model could not process the input."},
    "detail_list": {"detail": [{"loc": ["body", "prompt"], "msg": "field required", "type": "value_error.missing"}]},
    "null": None,
}

_ROUTES: Mapping[str, tuple[Route, ...]] = {
    "post": ("post",),
    "get": ("get",),
    "status": ("status",),
    "poll": ("get", "status"),
    "models": ("models",),
    "media": ("media",),
    "any": ("post", "get", "status", "models"),
}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong. docs/emulator.md has a table of the kinds and the fields that each one reads.

    :param kind: what happens, one of ``KINDS``.
    :param on: for which requests: ``post``, ``get``, ``status``, ``poll`` (get and status), ``models``, ``media``, or
        ``any`` (all of the API, not the media).
    :param times: for how many matching requests, None for always.
    :param after: how many matching requests to let pass first.
    :param request_id: only for this job.
    :param model_id: only for this model.
    :param match_prompt: only for jobs whose prompt (or text) holds this.
    :param status: the HTTP status of the answer.
    :param body: the body of the answer, a string as it is and anything else as JSON; for ``fail`` the ``error``.
    :param headers: headers of the answer, each replacing one of the same name, None to leave that one out.
    :param seconds: a time; which one depends on the kind.
    :param value: what the kind needs besides.
    :param accepted: whether a POST makes its job first, so that it exists and is paid for.
    :raises ValueError: if the fields do not fit together.
    """

    kind: str
    on: On = "any"
    times: int | None = 1
    after: int = 0
    request_id: str | None = None
    model_id: str | None = None
    match_prompt: str | None = None
    status: int | None = None
    body: Any = None
    headers: Mapping[str, str | None] | None = None
    seconds: float | None = None
    value: Any = None
    accepted: bool = False

    def __post_init__(self) -> None:
        for wrong, why in (
            (self.kind not in KINDS, f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}"),
            (self.on not in _ROUTES, f"on must be one of {', '.join(_ROUTES)}, not {self.on!r}"),
            (self.times is not None and self.times < 1, "times must be at least 1, or None for always"),
            (self.after < 0, "after must be at least 0"),
            (self.seconds is not None and self.seconds < 0, "seconds must be at least 0"),
            (self.status is not None and not 200 <= self.status <= 599, "status must be from 200 to 599"),  # noqa: PLR2004 - HTTP's own range of final statuses
            (self.kind in ("slow", "slow_body", "not_yet") and self.seconds is None, f"{self.kind} needs seconds"),
            (self.kind in OF_JOB and self.on not in ("post", "any"), f"{self.kind} is decided at the POST"),
            (self.kind in SHAPING and self.on in ("models", "media"), f"{self.kind} needs an invocation"),
            *_wrong_values(self.kind, self.value),
        ):
            if wrong:
                raise ValueError(why)

    def matches(self, route: Route, subject: "Subject") -> bool:
        """Tell whether it is meant for a request."""
        routes = ("post",) if self.kind in OF_JOB else _ROUTES[self.on]
        return (
            route in routes
            and self.request_id in (None, subject.request_id)
            and self.model_id in (None, subject.model_id)
            and (self.match_prompt is None or self.match_prompt in (subject.prompt or ""))
        )


def _wrong_values(kind: str, value: Any) -> Iterator[tuple[bool, str]]:
    mapping, text = isinstance(value, Mapping), isinstance(value, str)
    yield kind == "fail" and value is not None and value not in FAILURES, f"value must be one of {', '.join(FAILURES)}"
    yield kind == "output_shape" and value not in SHAPES, f"output_shape needs a value of {', '.join(SHAPES)}"
    yield kind == "spelling" and not (mapping or text), "spelling needs a value: a word, or {status: word}"
    yield kind in ("rename", "merge") and not mapping, f"{kind} needs a value: an object"
    yield kind == "omit" and not (text or isinstance(value, list | tuple)), "omit needs a value: one or more keys"
    numbers = isinstance(value, list | tuple) and value and all(type(number) is int and number > 0 for number in value)
    yield kind == "flag" and not (value is None or numbers), "value must be a list of numbers from 1 on, or None"
    yield kind == "drop" and value not in (None, "reset"), "value must be 'reset' or None"


@dataclass(frozen=True)
class Subject:
    """What a request is about, as far as is known."""

    request_id: str | None = None
    model_id: str | None = None
    prompt: str | None = None


def fault_of(document: Any) -> Fault:
    """Return the fault that a JSON object describes.

    :raises ValueError: if it is no object, has an unknown key, or its fields do not fit together.
    """
    names = [field.name for field in fields(Fault)]
    if not isinstance(document, dict) or "kind" not in document:
        raise ValueError("a fault is a JSON object with at least a kind")
    if unknown := document.keys() - set(names):
        raise ValueError(f"unknown field {sorted(unknown)[0]!r}; a fault has {', '.join(names)}")
    try:
        return Fault(**document)
    except TypeError as error:
        raise ValueError(f"a field has the wrong type: {error}") from error


@dataclass
class Entry:
    """A fault and how often it was met."""

    fault: Fault
    seen: int = 0
    applied: int = 0

    @property
    def spent(self) -> bool:
        """Whether it has been applied as often as it was to."""
        return self.fault.times is not None and self.applied >= self.fault.times

    def take(self) -> bool:
        """Count one matching request; return whether the fault applies to it."""
        if self.spent:
            return False
        self.seen += 1
        if self.seen <= self.fault.after:
            return False
        self.applied += 1
        return True


class FaultBook:
    """The faults that are set, in the order in which they were added."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def add(self, fault: Fault) -> None:
        """Add a fault behind the others."""
        self._entries.append(Entry(fault))

    def clear(self) -> None:
        """Forget all faults."""
        self._entries.clear()

    def matching(self, kinds: tuple[str, ...], route: Route, subject: Subject) -> Iterator[Entry]:
        """Yield the faults of these kinds that are meant for a request and are not spent; ``take`` applies one."""
        for entry in self._entries:
            if entry.fault.kind in kinds and not entry.spent and entry.fault.matches(route, subject):
                yield entry

    def first(self, kinds: tuple[str, ...], route: Route, subject: Subject) -> Fault | None:
        """Return the first fault of these kinds that applies to a request, counted as applied; None if none does."""
        return next((entry.fault for entry in self.matching(kinds, route, subject) if entry.take()), None)

    def report(self) -> list[dict[str, Any]]:
        """Return the faults as JSON, each with how many requests matched it and how often it was applied."""
        return [{**asdict(entry.fault), "seen": entry.seen, "applied": entry.applied} for entry in self._entries]
