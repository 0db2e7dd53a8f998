"""The faults that a paid job must survive, each a row of a table: what is broken, and how the job has to end.

The rows stand in ``rows.py`` and ``submits.py``. ``FALINVOKE_CHAOS_ROWS`` names some by a regular expression.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from tests.airflow import audit
from tests.airflow.job import Job
from tests.airflow.lab import Lab

PATHS = ("deferrable", "sync")
#: How a job has to end: with its result and its files; with a submit that may be paid reported, and none repeated; by
#: the user's own hand; refused by the API; or in one of the first two ways.
Expected = Literal["result", "ambiguous", "user", "refused", "known"]
NOT_AT_ALL = "not at all"
#: Characters of an error that are shown.
_SHOWN = 1500


@dataclass(frozen=True)
class Row:
    """One fault.

    :param name: what goes wrong.
    :param act: starts the job, breaks things, and mends them.
    :param expected: how the job has to end.
    :param paid: how many jobs may be paid for; more than one only where somebody asked for it.
    :param paths: the operator's modes that it applies to.
    :param seconds: how long the job takes.
    :param timeout: the operator's.
    :param warned: whether a WARNING has to name the time of the submit that is repeated.
    """

    name: str
    act: Callable[[Job], None]
    expected: Expected = "result"
    paid: int = 1
    paths: tuple[str, ...] = PATHS
    seconds: float = 12.0
    timeout: float = 600.0
    warned: bool = False


@dataclass(frozen=True)
class SharedRow:
    """A fault of what all jobs share; its jobs are submitted and waiting when it strikes."""

    name: str
    act: Callable[[Lab], None]
    seconds: float = 60.0


@dataclass(frozen=True)
class Finding:
    """How a job of a row ended.

    :param posts: how many POSTs the API saw for it; of a batch, for the item that had the most.
    :param paid: how many of them it accepted.
    :param seconds: how long it took.
    """

    row: Row
    path: str
    posts: int
    paid: int
    ended: str
    seconds: float
    problem: str

    @classmethod
    def of(cls, row: Row, job: Job, ended: str, since: float, problem: str = "") -> Finding:
        """Return it as it stands now.

        :param since: when the row began, by the monotonic clock.
        """
        posts = max(sum(post.model_id == model for post in job.posts) for model in job.models)
        paid = max(len(job.lab.bills(model)) for model in job.models)
        return cls(row, job.path, posts, paid, ended, time.monotonic() - since, problem)

    @property
    def shown(self) -> str:
        """How it ended, in a line."""
        first, *_ = self.problem.splitlines() or [""]
        return f"{self.ended} PROBLEM: {first}" if first else self.ended


def judge(row: Row, job: Job, since: float) -> Finding:
    """Wait for the job's end, and compare it, and who was paid and is known, with what the row expects."""
    try:
        ended = ending(job, job.until_ended())
    except AssertionError as error:
        return Finding.of(row, job, NOT_AT_ALL, since, _explained(job, str(error)))
    finding = Finding.of(row, job, ended, since)
    problems = list(_problems(row, job, ended))
    return replace(finding, problem=_explained(job, "; ".join(problems))) if problems else finding


def _explained(job: Job, problem: str) -> str:
    return f"{problem[:_SHOWN]}\n{audit.excerpt(job.tries()) if job.run_id else 'it never began'}"


def _problems(row: Row, job: Job, ended: str) -> Iterator[str]:
    if ended != row.expected and not (row.expected == "known" and ended in ("result", "ambiguous")):
        yield f"it ended as {ended}, expected {row.expected}"
    tries, bills = job.tries(), [job.lab.bills(model) for model in job.models]
    named = job.lab.named(job.paid, job.log())
    for paid in bills:
        if unasked := audit.unasked(paid, tries):
            yield f"paid though nobody asked: {unasked}"
        if silent := audit.silent(paid, named, tries):
            yield f"paid and known to nobody: {silent}"
    most = max(map(len, bills))
    if ended == "ambiguous" and len(job.posts) > len(job.models):
        yield f"{len(job.posts)} POSTs, some after an ambiguous one"
    elif ended != "ambiguous" and (most != row.paid or not all(bills)):
        yield f"{most} jobs are paid, expected {row.paid}"
    if row.warned and not audit.warned_of_the_intent(tries):
        yield "no WARNING names the time of the submit that was repeated"


def ending(job: Job, state: str) -> str:
    """Return how a job that is over ended, in the words of :data:`Expected`, or in others where it is none of them."""
    if state == "success":
        if not isinstance(job.result(), dict):
            return "user"
        files = list(job.files())
        latest = {job.lab.bills(model)[-1].request_id for model in job.models}
        complete = {request_id for request_id, _, _ in files} == latest and all(size for _, _, size in files)
        return "result" if complete else f"success without its files: {job.result()}"
    if job.tries()[-1].reported:
        return "ambiguous"
    return "refused" if "The same request will fail again" in job.log() else "failed"


AnyRow = TypeVar("AnyRow", Row, SharedRow)


def chosen(rows: Sequence[AnyRow]) -> list[AnyRow]:
    """Return the rows that ``FALINVOKE_CHAOS_ROWS`` names; all where it is not set."""
    return [row for row in rows if re.search(os.environ.get("FALINVOKE_CHAOS_ROWS", ""), row.name)]


def run_together(lab: Lab, rows: Sequence[Row], say: Callable[[str], None], at_once: int = 6) -> list[Finding]:
    """Run the rows that break one job alone, some at a time.

    :param say: takes a line for each job that ended.
    """

    lab.emulator.reset()  # jobs of other rows have the same names
    numbers = itertools.count()

    def one(row: Row, path: str) -> Finding:
        finding = tried(row, path)
        say(f"{row.name} ({path}): {finding.shown}, {finding.paid} paid, {finding.seconds:.0f} s")
        return finding

    def tried(row: Row, path: str) -> Finding:
        found = attempt(f"row{next(numbers)}-{path}", row, path)
        if found.ended != NOT_AT_ALL or found.paid > row.paid:
            return found
        # Airflow's own races (apache/airflow #71580) end a task in a state that no user would leave it in; that says
        # nothing of the package. Seen once in some 200 rows; twice in the same one would be ours.
        return attempt(f"row{next(numbers)}-{path}", row, path)

    def attempt(name: str, row: Row, path: str) -> Finding:
        job = lab.job(name, path, seconds=row.seconds, timeout=row.timeout)
        since = time.monotonic()
        try:
            row.act(job)
        except (AssertionError, OSError, subprocess.CalledProcessError) as error:
            return Finding.of(row, job, NOT_AT_ALL, since, _explained(job, str(error)))
        return judge(row, job, since)

    with ThreadPoolExecutor(at_once) as pool:
        pending = [pool.submit(one, row, path) for row in chosen(rows) for path in row.paths]
        return [each.result() for each in pending]


def run_alone(lab: Lab, rows: Sequence[SharedRow]) -> list[Finding]:
    """Run the rows that break what all jobs share, each with a job of both paths, and two of the deferrable one."""
    findings = []
    for number, shared in enumerate(chosen(rows)):
        row = Row(shared.name, lambda _: None)
        jobs = [
            lab.job(f"shared{number}-{count}-{path}", path, seconds=shared.seconds).start()
            for count, path in enumerate(("deferrable", "deferrable", "sync"))
        ]
        began = time.monotonic()
        try:
            for job in jobs:
                job.until_waiting()
            since = time.monotonic()
            shared.act(lab)
        except (AssertionError, OSError) as error:
            findings += [Finding.of(row, job, NOT_AT_ALL, began, _explained(job, str(error))) for job in jobs]
            continue
        findings += [judge(row, job, since) for job in jobs]
    return findings


def table(findings: Sequence[Finding]) -> str:
    """Return the findings as the table of docs/paid-work.md."""
    columns = list(dict.fromkeys(finding.path for finding in findings))
    head = ["fault", "ended as", "POSTs", "paid", *(f"seconds, {path}" for path in columns)]
    rows = [head, ["---"] * len(head)]
    for name in dict.fromkeys(finding.row.name for finding in findings):
        these = [finding for finding in findings if finding.row.name == name]
        times = [[f"{one.seconds:.0f}" for one in these if one.path == path] for path in columns]
        rows.append([name, *(_either(these, what) for what in ("shown", "posts", "paid")), *map(" and ".join, times)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _either(findings: Sequence[Finding], what: str) -> str:
    return " or ".join(dict.fromkeys(str(getattr(finding, what)) for finding in findings))
