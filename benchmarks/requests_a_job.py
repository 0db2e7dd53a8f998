"""Requests a job.

500 jobs, 50 at a time, and a quota that is not the bottleneck (60,000 requests a minute, enforced). The mix of jobs and
the way they go are those of [jobs an hour](#jobs-an-hour-under-the-published-quota), but the clock is the true one: 8
times as fast, the forking of 50 processes on two cores made a fifth of all jobs look late, and one in thirty was.
Counted is every request, the submit included; the delay is the time from a job's end to the moment its task knows,
whether that was on the worker or in the triggerer.

The target for the delay is `95 % of the jobs within 25 % of their duration + 1 s`, so the figure is the 95th
percentile of `(delay - 1 s) / duration`. Beside it stand fixed pauses in the same trigger.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence

from benchmarks.support.load import FAMILIES, Load, Run, mean, mixed_jobs, percentile, run, share_within
from benchmarks.support.report import Plot, Report, parser

EXTRA = {"requests_per_minute": 60_000, "requests_per_hour": 3_600_000}


def main(argv: Sequence[str]) -> int:
    """Measure, and return 0 where the targets are met."""
    options = parser(__doc__)
    options.add_argument("--jobs", type=int, default=500)
    options.add_argument("--parts", nargs="*", type=int, default=[1, 2])
    given = options.parse_args(argv)
    report = Report(__name__, __doc__, save=not given.no_save)
    runs = {"ours": _run(given.jobs)}
    if 2 in given.parts:
        runs |= {f"ours, fixed {pause:g} s": _run(given.jobs, pause) for pause in (2.0, 5.0)}
    _tell(report, runs)
    return report.finish()


def _run(count: int, interval: float | None = None) -> Run:
    load = Load(
        mixed_jobs(count),
        in_flight=50,
        slots=50,
        factor=1.0,
        per_minute=EXTRA["requests_per_minute"],
        per_hour=EXTRA["requests_per_hour"],
        interval=interval,
        extra=EXTRA,
    )
    found = run("ours", load)
    print(f"{count} jobs: {found.requests_a_job:.2f} requests, {found.real_seconds:.0f} s", flush=True)
    return found


def _tell(report: Report, runs: dict[str, Run]) -> None:
    ours = runs["ours"]
    report.check("50 jobs at a time: found done", ours.done, at_least=ours.submitted)
    report.check("requests a job, 50 jobs at a time", ours.requests_a_job, at_most=6.5)
    late = share_within(ours.found, 0.25, 1.0)
    report.check("detection delay beyond 1 s, 95th percentile, share of the job's duration", late, at_most=0.25)
    report.check("429 replies, 50 jobs at a time", ours.rejected(), at_most=0)
    report.table("50 jobs at a time", _HEAD, [_row(name, found) for name, found in runs.items()])
    rows = []
    for low, high in itertools.pairwise((0, 1, 2, 5, 10, 20, 40, 80, float("inf"))):
        part = [each for each in ours.found if low <= each.seconds < high]
        if part:
            name = f"{low:g} to {high:g} s" if high != float("inf") else f"over {low:g} s"
            delays = [each.delay for each in part]
            rows.append(
                (
                    name,
                    len(part),
                    mean([each.requests for each in part]),
                    percentile(delays, 0.5),
                    percentile(delays, 0.95),
                    sum(each.delay > 0.25 * each.seconds + 1 for each in part),
                )
            )
    head = ("jobs that took", "jobs", "requests a job", "delay: median s", "95 % s", "later than 25 % + 1 s")
    report.table("Ours, by the job's duration", head, rows)
    points = {
        name: [(round(each.seconds, 2), round(each.delay, 3)) for each in found.found] for name, found in runs.items()
    }
    series: dict[str, Sequence[tuple[float, float]]] = {"ours": points["ours"]}
    longest = max(each.seconds for each in ours.found)
    series["25 % + 1 s"] = [(x, 0.25 * x + 1) for x in (longest * step / 100 for step in range(101))]
    report.plot(
        Plot("detection-delay", "points", "From a job's end to its detection", "s", series, x="the job's duration, s")
    )


_HEAD = (
    "design",
    "jobs found done",
    "requests a job",
    *(f"delay of {name}: median s" for name in ("images", "speech", "sound")),
    "all: 95 % s",
    "worst s",
    "later than 25 % + 1 s",
)


def _row(name: str, found: Run) -> tuple[str | float | int, ...]:
    families = [[each.delay for each in found.found if each.model_id == model_id] for model_id, _, _ in FAMILIES]
    late = sum(each.delay > 0.25 * each.seconds + 1 for each in found.found)
    return (
        name,
        found.done,
        found.requests_a_job,
        *(percentile(delays, 0.5) for delays in families),
        found.delay(0.95),
        found.delay(1.0),
        f"{late / max(1, found.done):.1%}",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
