"""The life of a job. Pure: what a job is at a moment follows from the job and the moment alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from airflow_provider_falinvoke.emulator.catalog import Family
from airflow_provider_falinvoke.emulator.clock import timestamp

Status = Literal["QUEUED", "IN_PROGRESS", "COMPLETED", "FAILED"]

# A job that is given no queue time of its own waits for a share of its duration, and each for another one: from a
# fixed share a client would learn when a job ends as soon as it begins.
_QUEUED_SHARES = (0.05, 0.6)
# The API leaves started_at null for some jobs; by order and not by chance, so that a test sees the same on each run.
NEVER_STARTED_EVERY = 8


@dataclass(frozen=True)
class Failure:
    """How a job ends that fails; ``error`` is the value of the invocation's ``error`` field."""

    error: Any


@dataclass(frozen=True)
class Job:
    """One accepted POST.

    :param number: 1 for the first job of the emulator, 2 for the next.
    :param created_at: when it was accepted, in epoch seconds of the emulator.
    :param duration: seconds from acceptance to the end.
    :param queued_for: seconds of them before it runs.
    :param hidden_for: seconds after acceptance in which a GET does not find it yet.
    :param failure: how it fails, or None when it completes.
    :param flagged: which of its pictures the safety checker flags, from 1; None for all.
    """

    request_id: str
    model_id: str
    family: Family
    input: Mapping[str, Any]
    tags: list[dict[str, str]] | None
    number: int
    created_at: float
    duration: float
    queued_for: float
    hidden_for: float = 0.0
    failure: Failure | None = None
    flagged: tuple[int, ...] | None = ()

    @property
    def starts_at(self) -> float:
        """When it runs, in epoch seconds of the emulator."""
        return self.created_at + self.queued_for

    @property
    def ends_at(self) -> float:
        """When it ends, in epoch seconds of the emulator."""
        return self.created_at + self.duration

    @property
    def prompt(self) -> str:
        """What the model was asked to make: the text for speech, else the prompt."""
        return str(self.input.get("text" if self.family == "speech" else "prompt", ""))

    @property
    def seed(self) -> int:
        """The seed given, or one that the request_id decides."""
        given = self.input.get("seed")
        is_integer = isinstance(given, int) and not isinstance(given, bool)
        return given if is_integer else UUID(self.request_id).int % 2**31  # type: ignore[return-value]  # checked above

    def status(self, now: float) -> Status:
        """Return the status at ``now``, in epoch seconds of the emulator."""
        if now >= self.ends_at:
            return "COMPLETED" if self.failure is None else "FAILED"
        return "QUEUED" if now < self.starts_at else "IN_PROGRESS"

    def completed(self, now: float) -> bool:
        """Tell whether it has an output at ``now``."""
        return self.status(now) == "COMPLETED"

    def invocation(self, now: float, output: Any = None) -> dict[str, Any]:
        """Return the invocation that the API shows at ``now``.

        :param output: the output, needed only for a job that has completed.
        """
        status = self.status(now)
        started = status != "QUEUED" and self.number % NEVER_STARTED_EVERY != 0
        ended = status in ("COMPLETED", "FAILED")
        return {
            "request_id": self.request_id,
            "status": status,
            "model_id": self.model_id,
            "created_at": timestamp(self.created_at),
            "started_at": timestamp(self.starts_at) if started else None,
            "completed_at": timestamp(self.ends_at) if ended else None,
            "output": output if status == "COMPLETED" else None,
            "error": self.failure.error if self.failure and ended else None,
        }


def jittered(duration: float, jitter: float, request_id: str) -> float:
    """Return a duration in seconds, changed by at most the share ``jitter`` (0 to 1) that the request_id decides."""
    share = UUID(request_id).int % 2_000_001 / 1_000_000 - 1
    return duration * (1 + jitter * share)


def drawn_queue_time(duration: float, request_id: str) -> float:
    """Return the seconds of a duration that a job waits before it runs; the request_id decides."""
    least, most = _QUEUED_SHARES
    drawn = UUID(request_id).int // 2_000_003 % 1_000_003 / 1_000_003  # other digits than those of the jitter
    return duration * (least + (most - least) * drawn)
