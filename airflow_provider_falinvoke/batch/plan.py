"""What a batch does next, from the states of its items and the time. Pure: nothing here reads a clock, sends or stores.

Times are epoch seconds, durations are seconds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

from airflow_provider_falinvoke.batch.phases import IN_FLIGHT, MAY_PASS, TROUBLE, Item, Phase
from airflow_provider_falinvoke.durable import AmbiguousPolicy

FailurePolicy = Literal["fail", "ignore", "stop"]

#: An ended job waits at the most so long for others to be brought home with it: its files expire, and a wave costs a
#: worker some three seconds.
LINGER = 60.0
#: So many refused submits, or failed saves, in a row are no accident of single items.
STREAK = 10
#: How long a batch with nothing in flight waits for its quota: the vendor's longest window is an hour.
QUOTA_PATIENCE = 3900.0
#: How long it waits at a time before it tries again to submit.
QUOTA_PAUSE = 60.0
#: Jobs an hour are counted over so many seconds.
RATE_WINDOW = 900.0


class Tally(NamedTuple):
    """How a batch stands.

    :param phases: how many items are in each phase.
    """

    phases: Counter[Phase]

    @classmethod
    def of(cls, items: Iterable[Item]) -> Tally:
        """Count."""
        return cls(Counter(item.phase for item in items))

    @property
    def items(self) -> int:
        """All of them."""
        return self.phases.total()

    @property
    def waiting(self) -> int:
        """Items of which nothing was sent."""
        return self.phases[Phase.WAITING]

    @property
    def in_flight(self) -> int:
        """Jobs that run."""
        return sum(self.phases[phase] for phase in IN_FLIGHT)

    @property
    def done(self) -> int:
        """Items that are home."""
        return self.phases[Phase.DONE]

    @property
    def trouble(self) -> int:
        """Items that ended in another way than wanted."""
        return sum(self.phases[phase] for phase in TROUBLE)

    def may_pass(self, policy: AmbiguousPolicy) -> bool:
        """Whether a retry of the task may bring more home."""
        phases = MAY_PASS | ({Phase.AMBIGUOUS} if policy == "retry" else set())
        return any(self.phases[phase] for phase in phases)


def submits(tally: Tally, on_item_failure: FailurePolicy, stopped: str | None) -> bool:
    """Whether this try goes on submitting.

    :param stopped: why nothing more is submitted in this try, if so.
    """
    return not stopped and not (on_item_failure == "stop" and tally.trouble)


def room(tally: Tally, max_in_flight: int) -> int:
    """Return how many items can be submitted now."""
    return max(0, min(max_in_flight - tally.in_flight, tally.waiting))


class Next(NamedTuple):
    """What follows a wave.

    :param again: whether the next wave can come at once.
    :param wait: whether there is something to wait for: jobs in flight, or the quota.
    :param more: whether a job that ends makes room for another.
    :param until: when to try again to submit, though no job ended.
    """

    again: bool
    wait: bool
    more: bool
    until: float


def after_wave(
    tally: Tally,
    max_in_flight: int,
    *,
    submits: bool,
    blocked: bool,
    blocked_since: float | None,
    cut: bool,
    now: float,
) -> Next:
    """Return what follows a wave.

    :param submits: whether this try goes on submitting.
    :param blocked: whether the last wave could not submit what it had room for.
    :param blocked_since: since when the quota lets no submit pass; None where it does, or the API is out of reach.
    :param cut: whether the last wave ended because it had lasted long enough.
    """
    more = submits and tally.waiting > 0
    if more and not blocked and not (cut and tally.in_flight) and room(tally, max_in_flight):
        return Next(again=True, wait=False, more=more, until=now)
    waits_for_quota = more and blocked_since is not None and now < blocked_since + QUOTA_PATIENCE
    pause = QUOTA_PAUSE if blocked else 0.0
    return Next(
        again=False,
        wait=bool(tally.in_flight) or waits_for_quota,
        more=more,
        until=now + pause if more and (blocked or cut) else math.inf,
    )


def event_at(
    *, awaited: int, ended: int, first_ended_at: float, more: bool, not_before: float, until: float = math.inf
) -> float:
    """Return when the jobs that ended are worth a wave of the worker; infinity while they are not.

    A wave resumes the task on a worker, which takes some three seconds of a slot. So it comes when all jobs ended, or
    half of them while more wait to be submitted, or a minute after the first did.

    :param awaited: jobs that were in flight when the wait began.
    :param ended: how many of them ended since.
    :param first_ended_at: when the first of these was seen.
    :param more: whether more items wait to be submitted.
    :param not_before: the earliest time, see :func:`~airflow_provider_falinvoke.triggers.falinvoke.safe_first_look_at`.
    :param until: when to come in any case, because a new try to submit is due.
    """
    due = until
    if ended:
        enough = awaited if not more else math.ceil(awaited / 2)
        due = min(due, first_ended_at if ended >= enough else first_ended_at + LINGER)
    elif not awaited and math.isinf(until):
        due = not_before
    return max(due, not_before)


class Progress(NamedTuple):
    """How fast a batch goes.

    :param an_hour: items that end in an hour, by the last quarter of an hour.
    :param left: seconds until all will have ended; None where nothing ended lately.
    """

    an_hour: float
    left: float | None


def progress(items: Iterable[Item], now: float) -> Progress:
    """Return how fast a batch goes."""
    ended, unended, since = 0, 0, now
    for item in items:
        if item.phase in IN_FLIGHT or item.phase is Phase.WAITING:
            unended += 1
        elif item.ended_at > now - RATE_WINDOW:
            ended += 1
            since = min(since, max(item.submitted_at or item.ended_at, now - RATE_WINDOW))
    if not ended or since >= now:
        return Progress(0.0, None)
    rate = ended / (now - since)
    return Progress(3600 * rate, unended / rate)
