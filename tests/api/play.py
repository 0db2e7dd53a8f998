"""Plays a call of the protocol by hand: scripted answers, a stepped clock, nothing sent and nothing slept."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from airflow_provider_falinvoke.api.outcomes import Call, Failure, Outcome, Pause, Reply, Resumed, Say, Send
from airflow_provider_falinvoke.exceptions import FalInvokeError

log = logging.getLogger("airflow_provider_falinvoke.api")

T = TypeVar("T")
E = TypeVar("E", bound=FalInvokeError)

#: The scripted answer to one Send; it is told when it is given.
Answer = Callable[[float], Outcome]

T0 = 1_800_000_000.0


def reply(status: int, body: Any = b"", **headers: str) -> Answer:
    """Answer with this status, and this body: bytes as they are, anything else as its JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda now: Reply(status, names, content, now)


def failure(reason: str = "ConnectError: refused", *, arrived: bool = False, lasting: bool = False) -> Answer:
    """Fail in place of an answer."""
    return lambda now: Failure(reason, arrived, now, lasting=lasting)


def job(completed_at: float, pending: str = "IN_PROGRESS") -> Answer:
    """Answer as the API does for a job that is completed at this time."""

    def answer(now: float) -> Outcome:
        status = "COMPLETED" if now >= completed_at else pending
        output: dict[str, Any] | None = {"images": []} if now >= completed_at else None
        return reply(200, {"request_id": "r1", "status": status, "output": output})(now)

    return answer


@dataclass
class Played(Generic[T]):
    """What a call did: its sends with their times, its pauses, and how it ended."""

    now: float
    sends: list[tuple[float, Send]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    returned: list[T] = field(default_factory=list)
    raised: FalInvokeError | None = None

    @property
    def result(self) -> T:
        """What the call returned."""
        assert self.raised is None, f"raised {self.raised!r}"
        return self.returned[0]

    def error(self, cls: type[E]) -> E:
        """Return what the call raised, which is a ``cls`` and no subclass of it."""
        assert type(self.raised) is cls, f"raised {self.raised!r}, returned {self.returned!r}"
        return self.raised

    @property
    def methods(self) -> list[str]:
        """The methods of the requests, in order."""
        return [send.method for _, send in self.sends]

    @property
    def times(self) -> list[float]:
        """When the requests were sent, in seconds after T0."""
        return [at - T0 for at, _ in self.sends]


def play(call: Call[T], script: Iterable[Answer], *, now: float = T0, took: float = 0.0) -> Played[T]:
    """Answer each Send of ``call`` with the next answer of ``script``, and move the clock to the end of each Pause.

    :param took: seconds from each Send to its answer.
    """
    answers = iter(script)
    played = Played[T](now)
    try:
        step = next(call)
        while True:
            if isinstance(step, Say):
                log.log(step.level, step.message, *step.arguments)
                step = call.send(Resumed(played.now))
                continue
            if isinstance(step, Pause):
                if step.until > played.now:
                    played.pauses.append(step.until - played.now)
                    played.now = step.until
                step = call.send(Resumed(played.now))
                continue
            played.sends.append((played.now, step))
            answer = next(answers, None)
            assert answer is not None, f"sent more than was scripted: {played.sends}"
            played.now += took
            step = call.send(answer(played.now))
    except StopIteration as stop:
        played.returned.append(stop.value)
    except FalInvokeError as error:
        played.raised = error
    return played
