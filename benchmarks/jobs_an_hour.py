"""Jobs an hour under the published quota.

The emulator enforces 5,000 requests an hour and 250 a minute, polls and submits together, so that 2,500 jobs an hour
are the limit: one POST and one GET each. The jobs are images, speech and sound in turn, their durations log-normal
(medians 2, 15 and 45 s, sigma 0.5). They are offered all at once, as a mapped task or a backfill does.

Each job goes the way it goes in Airflow: `FalInvokeOperator.execute` in a process forked for it alone (16 at a time,
Airflow's `max_active_tasks_per_dag`), where it submits and waits for `defer_after`; then `FalInvokeTrigger.run` on one
event loop with all the others. Defaults throughout. What is not there is Airflow's own time between the two.

**Scaled**: `time.time`, `time.monotonic` and `time.sleep` of the client's processes, the timers of its event loop, and
the emulator's clock, all by one factor from one origin: 6 for the first part, 12 for the second, 15 for the third. Not
scaled: sockets and CPU, so a reply of 3 ms costs 36 ms of a clock that runs 12 times as fast, and a process that takes
80 ms to fork takes 1 s; that can only add delay. (At 30 the forking of two cores is the limit, and not the quota.)
[Requests a job](#requests-a-job) is measured by the true clock.

1. *1,000 jobs at once*, in a fresh hour.
2. *An hour in steady state*: a backlog that never ends, 100 jobs in flight at a time; counted are the jobs found done
   in the second hour, so that nothing is gained from the quota of an hour that is not yet used up.
3. *Side by side at a tenth* of the second part: 25 requests a minute, 500 an hour (so 250 jobs are the limit), a
   backlog that never ends, 10 jobs in flight, 2 worker slots; so all proportions are nearly as they are, and the peers,
   who send far more, run in minutes. All submit by our hook, which obeys a 429; they differ in how they wait. The hour
   is a fresh one. A peer is stopped after 30 minutes of the clock: by then it has used up the hour's requests, so that
   no job more can be found in that hour. HttpSensorTrigger (every 5 s, its default) and anthropic's trigger (every
   60 s, its default) are the installed ones, see [CPU per poll](#cpu-per-poll); the fixed 5 s loop takes a 429 for "not
   yet"; fal_client's loop is its `SyncRequestHandle.get()` (0.1 s) in a worker slot, as a PythonOperator waits.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.support.load import HOUR, MINUTE, Load, Run, mixed_jobs, run
from benchmarks.support.report import Plot, Report, parser

LIMIT = 2500
PEERS = {
    "ours": ("ours", None),
    "HttpSensorTrigger, 5 s": ("http_sensor", 5.0),
    "anthropic's trigger, 60 s": ("anthropic", 60.0),
    "fixed 5 s": ("fixed", 5.0),
    "fal_client, 0.1 s": ("fal_client", None),
}


def main(argv: Sequence[str]) -> int:
    """Measure, and return 0 where the targets are met."""
    options = parser(__doc__)
    options.add_argument("--parts", nargs="*", type=int, default=[1, 2, 3])
    options.add_argument("--only", nargs="*", default=list(PEERS), help="designs of the third part")
    given = options.parse_args(argv)
    report = Report(
        __name__,
        __doc__,
        save=not given.no_save,
        versions=("apache-airflow-providers-http", "apache-airflow-providers-anthropic", "anthropic", "fal-client"),
    )
    if 1 in given.parts:
        _thousand(report)
    if 2 in given.parts:
        _steady(report)
    if 3 in given.parts:
        _side_by_side(report, given.only)
    return report.finish()


def _thousand(report: Report) -> None:
    found = run("ours", Load(mixed_jobs(1000), in_flight=1000, factor=6.0))
    report.check("1,000 jobs under the published quota: found done", found.done, at_least=1000)
    report.check("1,000 jobs under the published quota: jobs an hour", found.jobs_an_hour, at_least=0.85 * LIMIT)
    report.check("requests a job in that run", found.requests_a_job, at_most=2.4)
    report.check("429 replies in that run, after the first minute", found.rejected(MINUTE), at_most=0)
    report.table("1,000 jobs at once", _HEAD, [_row("ours", found, found.jobs_an_hour)])
    report.plot(_over_time("jobs-done", "1,000 jobs at once: jobs found done", {"ours": found}, LIMIT))


def _steady(report: Report) -> None:
    # More than two hours can hold, so that the backlog is never empty.
    found = run("ours", Load(mixed_jobs(6000), in_flight=100, factor=12.0, stop_after=2 * HOUR + 30))
    second = [each for each in found.found if HOUR <= each.at < 2 * HOUR]
    sent = sum(HOUR <= at < 2 * HOUR for at, _ in found.requests)
    report.check("an hour in steady state: jobs found done", len(second), at_least=0.85 * LIMIT)
    report.check("an hour in steady state: requests a job", sent / max(1, len(second)), at_most=2.4)
    report.check("an hour in steady state: 429 replies", found.rejected(HOUR), at_most=0)
    minutes: dict[int, int] = {}
    for at, _ in found.requests:
        minutes[int(at // MINUTE)] = minutes.get(int(at // MINUTE), 0) + 1
    report.table("Steady state, both hours together", _HEAD, [_row("ours", found, len(second))])
    report.plot(
        Plot(
            "steady-requests",
            "lines",
            "Steady state: requests in each minute of two hours",
            "requests",
            {"ours": [(minute, minutes.get(minute, 0)) for minute in range(120)]},
            x="minute",
            limit=250,
        )
    )


def _side_by_side(report: Report, names: Sequence[str]) -> None:
    runs: dict[str, Run] = {}
    for name in names:
        design, interval = PEERS[name]
        extra = {"requests_per_minute": 25, "requests_per_hour": 500} if design == "ours" else None
        load = Load(
            mixed_jobs(300),
            in_flight=10,
            factor=15.0,
            per_minute=25,
            per_hour=500,
            slots=2,
            interval=interval,
            extra=extra,
            stop_after=HOUR if design == "ours" else 30 * MINUTE,
        )
        runs[name] = found = run(design, load)
        print(f"{name}: {found.done} done, {len(found.requests)} requests, {found.real_seconds:.0f} s", flush=True)
        if found.done + found.lost < 300 and found.accepted < 0.98 * 500 and design != "ours":
            report.note(f"{name} was stopped before it had used up the hour's requests ({found.accepted} of 500).")
    report.table(
        "Side by side, at a tenth of the quota: within the hour",
        _HEAD,
        [_row(name, found, found.done) for name, found in runs.items()],
    )
    bars = {name: found.done for name, found in runs.items()}
    report.plot(
        Plot("jobs-an-hour", "bars", "Jobs in an hour, at a tenth of the quota", "jobs", bars, limit=LIMIT / 10)
    )
    report.plot(_over_time("jobs-done-tenth", "At a tenth of the quota: jobs found done", runs, LIMIT / 10))


_HEAD = (
    "design",
    "jobs found done",
    "waits given up",
    "jobs an hour",
    "requests a job",
    "429 replies",
    "429 after the first minute",
    "delay: median s",
    "95 % s",
    "worst s",
)


def _row(name: str, found: Run, an_hour: float) -> tuple[str | float | int, ...]:
    return (
        name,
        found.done,
        found.lost,
        round(an_hour),
        found.requests_a_job,
        found.rejected(),
        found.rejected(MINUTE),
        found.delay(0.5),
        found.delay(0.95),
        found.delay(1.0),
    )


def _over_time(name: str, title: str, runs: dict[str, Run], limit: float) -> Plot:
    series: dict[str, Sequence[tuple[float, float]]] = {}
    for design, found in runs.items():
        moments = sorted(each.at / MINUTE for each in found.found)
        steps = max(1, len(moments) // 200)
        series[design] = [(round(moment, 2), count + 1) for count, moment in enumerate(moments)][::steps]
    most = max((pairs[-1][1] for pairs in series.values() if pairs), default=1)
    series[f"{limit:,.0f} an hour"] = [(0, 0), (round(most / limit * 60, 2), most)]
    return Plot(name, "lines", title, "jobs", series, x="minutes")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
