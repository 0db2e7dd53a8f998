"""What the emulator remembers of each request. The key is never part of it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

#: The longest part of a line of the log, in characters.
_LONGEST_PART = 500
Route = Literal["post", "get", "status", "models", "media", "other"]


@dataclass(frozen=True)
class RecordedRequest:
    """One request to either origin.

    :param path: the path and the query as they were sent, with ``***`` where the key stood.
    :param route: what was asked for: ``post``, ``get``, ``status``, ``models``, ``media`` or ``other``.
    :param request_id: the job that was asked for, or that the POST made.
    :param status: the HTTP status, or None if the connection was dropped before a status.
    :param at: when, in epoch seconds of the emulator.
    :param accepted: whether this POST made a job.
    """

    method: str
    path: str
    route: Route
    request_id: str | None
    model_id: str | None
    status: int | None
    at: float
    accepted: bool = False

    def line(self) -> str:
        """Return it as one line of a log, in which nothing that a client sent acts on a terminal."""
        status = "dropped" if self.status is None else str(self.status)
        line = " ".join(part[:_LONGEST_PART] for part in (self.method, self.path, status, self.request_id) if part)
        return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)


def report(records: list[RecordedRequest]) -> dict[str, Any]:
    """Return the records as JSON, with the number of POSTs and GETs in all and for each request_id."""
    total = {"posts": 0, "gets": 0}
    counters: dict[str, dict[str, int]] = {}
    for record in records:
        kind = "posts" if record.route == "post" else "gets" if record.route in ("get", "status") else None
        if kind is None:
            continue
        total[kind] += 1
        if record.request_id is not None:
            counters.setdefault(record.request_id, {"posts": 0, "gets": 0})[kind] += 1
    return {**total, "counters": counters, "requests": [asdict(record) for record in records]}
