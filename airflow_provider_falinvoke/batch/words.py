"""What the log and an error say of a batch."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from airflow_provider_falinvoke.batch.copies import UNSETTLED
from airflow_provider_falinvoke.batch.phases import PAID, TROUBLE, Item, Phase
from airflow_provider_falinvoke.batch.plan import Progress, Tally

log = logging.getLogger(__name__)

#: So many items or jobs are named in a log line or an error.
_SHOWN = 20
_MINUTE = 60


def say_what_changed(left: Mapping[int, Item], items: Sequence[Item]) -> None:
    """Say in the log what a new try makes of what earlier ones left, the paid jobs above all."""
    if not left:
        log.info("Batch of %d items", len(items))
        return
    tally = Tally.of(items)
    log.info("Taking up an earlier try: %d of %d done, %d in flight", tally.done, tally.items, tally.in_flight)
    now = {item.index: item for item in items}
    say_what_is_doubtful(left, items)
    abandoned = [
        old.request_id
        for index, old in left.items()
        if old.request_id and old.phase in PAID and (index not in now or now[index].phase is Phase.WAITING)
    ]
    if abandoned:
        log.warning(
            "The inputs changed since these were submitted: they go on and are paid, and nobody waits for them: %s",
            _some(abandoned),
        )


def say_what_is_doubtful(left: Mapping[int, Item], items: Sequence[Item]) -> None:
    """Say in the log what becomes of items whose submits may have been paid, though no request_id is known."""
    now = {item.index: item for item in items}
    again: list[str] = []
    kept: list[str] = []
    for index, old in left.items():
        if old.phase not in UNSETTLED:
            continue
        new = now.get(index)
        if new is not None and new.phase is Phase.WAITING:
            again.append(f"{index} ({_time(old.intended_at or old.submitted_at)})")
        elif old.phase is Phase.INTENT:
            kept.append(f"{index} ({_time(old.intended_at or old.submitted_at)})")
    if again:
        log.warning("Submitted again, though an earlier submit of theirs may have been paid: items %s", _some(again))
    if kept:
        log.warning(
            "An earlier process ended while it submitted these, so they may be running and paid, and no request_id is "
            "known to fetch them by; they are not submitted again: items %s",
            _some(kept),
        )


def standing(tally: Tally, speed: Progress) -> str:
    """Say how a batch stands."""
    left = "unknown" if speed.left is None else _duration(speed.left)
    return (
        f"Batch: {tally.done} of {tally.items} done, {tally.trouble} failed, {tally.in_flight} in flight, "
        f"{tally.waiting} waiting; {speed.an_hour:.0f} an hour, time left: {left}"
    )


def not_home(tally: Tally, items: Sequence[Item], *, stopped: str | None, manifest: str) -> str:
    """Say which items are not home, where to read why, and what to do next."""
    reason = f" ({stopped})" if stopped else ""
    named = _some([str(item.index) for item in items if item.phase in TROUBLE]) or "none"
    phases = ", ".join(
        f"{tally.phases[phase]} {phase.value}" for phase in Phase if phase is not Phase.DONE and tally.phases[phase]
    )
    return (
        f"{tally.items - tally.done} of {tally.items} items are not home: {phases}{reason}. Items that failed: "
        f"{named}; why is in {manifest}. The others are home. A retry of the task does only what is missing."
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%d %H:%M:%S} UTC" if at else "no time is known"


def _duration(seconds: float) -> str:
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / _MINUTE), _MINUTE)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
