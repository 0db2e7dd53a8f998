"""Who asked for each paid job, and who knows of it. Pure: from what Airflow and the emulator noted, after the fact.

A second job is in order where a user gave the reason knowingly: they cleared a success, or cleared a task that had
failed *because* it said that a submit may be paid. A job that the API let fail is a reason too. A clear in the middle
of a submit is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

#: What a task says that does not know whether it paid.
DOUBT = re.compile(r"may (have been|be) (running and )?paid|\b\d+ ambiguous\b")
_TIME = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC"
#: How a task says so that found the intent of an earlier try, with the time of that; and a batch, with its items.
_LEFT_BEHIND = re.compile(rf"while it submitted this[^\n]*? at {_TIME}")
_ITEMS_LEFT_BEHIND = re.compile(rf"(\d+) \({_TIME}\)")
#: How both say that they pay in spite of it.
_AGAIN = re.compile(rf"Submitt(ing|ed) again[^\n]*{_TIME}")
#: So far apart may lie the times that two processes note of one thing, in seconds.
_BLUR = 3.0


@dataclass(frozen=True)
class Try:
    """One try of a task instance, as Airflow's history has it.

    :param state: how it ended; ``failed`` where it was cleared before its end.
    :param ended_at: in epoch seconds; infinite while it goes on.
    :param log: all that it logged, a JSON object a line.
    """

    number: int
    state: str
    ended_at: float
    log: str

    @property
    def succeeded(self) -> bool:
        """Whether Airflow had its result, even where a user marked it as failed after that."""
        levels = {entry.get("level") for entry in _entries(self.log)}
        has_returned = any(entry.get("event") == "Pushing xcom" for entry in _entries(self.log))
        return self.state == "success" or (has_returned and not levels & {"error", "critical"})

    @property
    def reported(self) -> bool:
        """Whether it failed by saying that a submit may be paid, which is what its user read before the next try."""
        return self.state == "failed" and any(DOUBT.search(error) for error in _failures(self.log))


@dataclass(frozen=True)
class Paid:
    """One job that the API accepted.

    :param at: when, in epoch seconds.
    :param failed: whether it ended as FAILED.
    """

    request_id: str
    at: float
    failed: bool = False


def unasked(paid: Sequence[Paid], tries: Sequence[Try]) -> list[str]:
    """Return the request_ids of jobs for which nobody gave a reason: each one after the first needs one of its own.

    :param paid: the jobs of one request.
    :param tries: of the task instance that made it.
    """
    ended = [one.ended_at for one in tries if one.succeeded or one.reported]
    asked = [*ended, *(job.at for job in paid if job.failed)]
    in_order = sorted(paid, key=lambda job: job.at)
    return [job.request_id for number, job in enumerate(in_order) if sum(at <= job.at + _BLUR for at in asked) < number]


def silent(paid: Sequence[Paid], named: Collection[str], tries: Sequence[Try]) -> list[str]:
    """Return the request_ids of jobs of which nobody knows: in no result, in no log, and no doubt was said.

    :param named: the request_ids in all results and logs.
    """
    unknown = [job.request_id for job in paid if job.request_id not in named]
    return [] if any(DOUBT.search(one.log) for one in tries) else unknown


def doubted_for_nothing(
    sent_at: Sequence[Sequence[float]], tries: Sequence[Try], struck: Sequence[tuple[float, float]]
) -> list[str]:
    """Return the times of intents that failed a task for good though nothing was sent then.

    :param sent_at: when the API saw the POSTs of each item, whatever it answered; a single job is one item.
    :param struck: from when to when the task's process may have been ended or stopped; between the intent and the send
        nobody can tell.
    """
    found = []
    for one in tries:
        for item, text in _left_behind(one):
            at = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc).timestamp()
            known = [(sent, sent) for sent in sent_at[item]] + list(struck)
            # The text is cut to whole seconds.
            if not any(first - _BLUR - 1 <= at <= last + _BLUR for first, last in known):
                found.append(f"{text} UTC, item {item}, in try {one.number}")
    return found


def _left_behind(one: Try) -> Iterator[tuple[int, str]]:
    """Yield of each intent that a try found, and did not dare to repeat, its item and its time."""
    for error in _failures(one.log):
        for text in _LEFT_BEHIND.findall(error):
            yield 0, text
    for warning in _warnings(one.log):
        if "while it submitted these" in warning:
            for item, text in _ITEMS_LEFT_BEHIND.findall(warning):
                yield int(item), text


def warned_of_the_intent(tries: Sequence[Try]) -> bool:
    """Whether a WARNING says that a job is submitted over an intent, and names its time."""
    return any(_AGAIN.match(warning) for one in tries for warning in _warnings(one.log))


def excerpt(tries: Sequence[Try], most: int = 300) -> str:
    """Return what a person would read first: each try's end, with its warnings and what it failed with.

    :param most: characters of each line.
    """
    lines = []
    for one in tries:
        lines.append(f"try {one.number} {one.state}:")
        lines += [
            f"  {entry.get('level')}: {entry.get('event')}"
            for entry in _entries(one.log)
            if entry.get("level") in ("warning", "error", "critical")
        ]
        lines += [f"  failed with: {error}" for error in _failures(one.log)]
    return "\n".join(line[:most] for line in lines)


def _failures(log: str) -> Iterator[str]:
    """Yield the messages of the errors that tasks failed with, by the records that Airflow makes of them."""
    for entry in _entries(log):
        if entry.get("event") == "Task failed with exception":
            for error in entry.get("error_detail") or ():
                yield str(error.get("exc_value"))


def _warnings(log: str) -> Iterator[str]:
    return (str(entry.get("event")) for entry in _entries(log) if entry.get("level") == "warning")


def _entries(log: str) -> Iterator[dict[str, Any]]:
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry
