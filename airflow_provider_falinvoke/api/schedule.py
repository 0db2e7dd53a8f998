"""When to look at a job again: by its age alone, or by how long jobs of its model took lately. Pure.

Times are epoch seconds, durations are seconds.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Random = Callable[[], float]

#: So many durations of a model are remembered: enough for a median and its spread, few enough to follow a change.
REMEMBERED = 50
#: So many are needed before they decide; below, one odd job would.
ENOUGH = 20
#: Where fewer of them took longer than the job that is waited for, they say nothing about the rest of its life.
TAIL = 3
#: So many models are remembered, the latest used.
MODELS = 100
#: One request is worth a delay of this share of the job's duration and of what a deferral costs besides.
WORTH = 0.01
#: The same where requests are scarce: another job needs it more.
WORTH_SCARCE = 0.5
#: By how much a pause by age, and the longest pause, is longer then.
THRIFT = 5.0
DEFERRAL = 6.0
#: A job that fails does so early, whatever its kind takes: it is looked at once by this age in any case.
EARLY = 2.0
#: Models whose jobs take a few seconds, by the beginning of their names: a worker that waits is done before a deferral.
FAST_MODELS = ("fal-ai/flux/", "fal-ai/fast-sdxl")
#: The shortest learned pause.
_SHORTEST = 0.25


class Durations:
    """How long the last jobs took, by model; of bounded size."""

    def __init__(self) -> None:
        self._recent: dict[str, tuple[float, ...]] = {}
        self._sorted: dict[str, tuple[float, ...]] = {}

    def add(self, model_id: str | None, seconds: float) -> None:
        """Remember a completed job.

        :param seconds: from its submit to its end.
        """
        if model_id is None or seconds < 0:
            return
        recent = (*self._recent.pop(model_id, ()), seconds)[-REMEMBERED:]
        self._recent[model_id] = recent
        self._sorted[model_id] = tuple(sorted(recent))
        for oldest in list(self._recent)[:-MODELS]:
            self._recent.pop(oldest, None)
            self._sorted.pop(oldest, None)

    def of(self, model_id: str | None) -> Sequence[float]:
        """Return what is remembered of a model, the shortest first; nothing before there is enough of it."""
        known = self._sorted.get(model_id or "", ())
        return known if len(known) >= ENOUGH else ()


@dataclass(frozen=True, slots=True)
class PollSchedule:
    """When to look at a job again: ``min(maximum, initial + growth * elapsed)`` seconds later, with some jitter.

    It needs no state but the job's age, so it survives a restart; a job of T seconds is found done at the
    most ``0.2 * T + 0.5`` seconds late, and the number of polls grows with log T. Where it is known how long jobs of
    the model take, half the polls find it as soon.

    :param initial: seconds before the first look.
    :param growth: seconds added for each second of the job's age.
    :param maximum: the longest pause in seconds, where requests are not scarce.
    :param jitter: the share by which a pause may be shorter or longer, so that jobs of one moment drift apart.
    :param learns: whether known durations decide where there are enough.
    """

    initial: float = 0.5
    growth: float = 0.2
    maximum: float = 30.0
    jitter: float = 0.1
    learns: bool = True

    @classmethod
    def of(cls, poll_interval: float | None, max_poll_interval: float) -> PollSchedule:
        """Return the schedule of an operator's two parameters.

        :param poll_interval: a fixed pause in seconds, or None for the growing one.
        :param max_poll_interval: the longest growing pause in seconds.
        """
        if poll_interval is None:
            return cls(maximum=max_poll_interval)
        return cls(initial=poll_interval, growth=0.0, maximum=poll_interval, learns=False)

    def pause(
        self,
        elapsed: float,
        rng: Random = random.random,
        *,
        known: Sequence[float] = (),
        scarce: bool = False,
    ) -> float:
        """Return the seconds to wait at a job's age of ``elapsed`` seconds.

        :param known: how long jobs like it took, the shortest first.
        :param scarce: whether requests are to be saved.
        """
        elapsed = max(0.0, elapsed)
        longer = known[bisect_right(known, elapsed) :] if self.learns else ()
        thrift = THRIFT if scarce and self.learns else 1.0
        if len(longer) >= TAIL:
            # No jitter: the gate keeps jobs of one moment apart, and a look too early is one more.
            learned = _worth_a_look_at(longer, WORTH_SCARCE if scarce else WORTH) - elapsed
            if elapsed < EARLY and not scarce:
                learned = min(learned, EARLY - elapsed)
            return min(thrift * self.maximum, max(_SHORTEST, learned))
        plain = thrift * min(self.maximum, self.initial + self.growth * elapsed)
        return plain * (1 + self.jitter * (2 * rng() - 1))


#: A worker sees one job and cannot learn, so its looks are few: none finds a job of 0.65 s or more later than by 1 s
#: and a quarter of its duration.
FAST_SCHEDULE = PollSchedule(initial=1.0, growth=0.25, jitter=0.05)


class BriefWait(NamedTuple):
    """How long a worker waits for a job itself, in seconds from its submit.

    :param seconds: the last moment for a look.
    :param schedule: when to look again.
    :param first_look: the first moment for a look.
    :param started_by: a job that is still queued at a look after this is not awaited any longer.
    """

    seconds: float
    schedule: PollSchedule = PollSchedule()
    first_look: float = 0.0
    started_by: float = math.inf

    @classmethod
    def of(cls, model_id: str, defer_after: float | None, schedule: PollSchedule) -> BriefWait:
        """Return the wait for a job of a model.

        A deferral costs a fast job three times its duration, and a worker that waits costs a slot; so a worker sees a
        fast model through, unless the job does not even start, and no other.

        :param defer_after: how long the user wants it to be, in seconds.
        :param schedule: the operator's.
        """
        if defer_after is not None:
            return cls(defer_after, schedule)
        if not model_id.startswith(FAST_MODELS):
            return cls(0.0, schedule)
        if not schedule.learns:
            return cls(6.0, schedule, started_by=1.0)
        return cls(6.0, FAST_SCHEDULE, first_look=1.8, started_by=1.0)


def _worth_a_look_at(durations: Sequence[float], worth: float) -> float:
    """Return the age at which the delay that no look has caused so far, on average, is worth one.

    A job that ends at T and is found at t is late by t - T. As t grows, so does the average of that over jobs that take
    as long as these did; a look is due when it reaches what a look is worth. The delay counts by the job's own length.

    :param durations: what jobs that live as long as this one took, the shortest first.
    :param worth: what a look is worth, in shares of a duration.
    """
    due, weights, spent = 0.0, 0.0, 0.0
    for place, duration in enumerate(durations):
        if place and due <= duration:
            break
        weight = 1 / (duration + DEFERRAL)
        weights += weight
        spent += weight * duration
        due = (worth * len(durations) + spent) / weights
    return due
