"""2,000 jobs in one triggerer.

A real `airflow triggerer` over PostgreSQL, its capacity raised to 2,500, and 2,000 deferred tasks in it: two DAGs of
1,000 mapped `FalInvokeOperator` tasks each, because mapping ends at 1,024. The connection lies in Airflow's database,
as users have it. Quota and `requests_per_minute` are set so high that they hold nothing back: the triggerer polls as
often as its jobs' age asks for, some 70 times a second, sixteen times what the published quota would let through.

What is shortened: the first halves of the tasks (submit, defer) are run by Airflow's in-process supervisor, the one of
`dag.test()`, in two processes and not in 2,000; they go through Airflow's own Execution API into the same rows. And the
second halves are not run: a task counts as resumed when the triggerer's event has made it `scheduled`. Everything
between is the real thing.

The course of it: all 2,000 tasks are waiting when the triggerer starts, so it takes them all up at once, as after a
restart. Then they wait (the measured time), then their jobs end, evenly over a minute. Beside ours run the same 2,000
tasks with *nothing* (Airflow's DateTimeTrigger, which asks nobody), to tell what a deferred task costs in any case, and
with *HttpSensorTrigger* every 30 s, our longest pause.

- *Loop lag*: a trigger in the same triggerer asks for its turn every 10 ms and notes how late it comes. While a turn is
  more than 50 ms late, a second thread writes down what the loop's thread is doing, every 10 ms. A block is *caused by
  us* where our code is in half of those call stacks or more. But what Python's garbage collector took of it, finalizers
  and all, is not counted as ours: it looks through the whole of Airflow's heap, at the cost of whoever makes the next
  object. It has a column of its own, and *nothing* shows what it takes without us.
- *CPU*: of the process with the event loop, user and system.
- *Memory*: resident memory of that process, its highest, against an idle triggerer of the same deployment. It includes
  the import of our package and its HTTP client.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.support.airflow_lab import MIB, Airflow, Triggerer, airflow, query
from benchmarks.support.emulated import Emulated, emulator
from benchmarks.support.report import Plot, Report, parser

SPREAD = 60.0
_STILL_DEFERRED = "select count(*) from task_instance where task_id = 'job' and state = 'deferred'"
PACKAGE = "airflow_provider_falinvoke/"


@dataclass(frozen=True)
class Scenario:
    """Who waits, in how many triggerers, and how many triggers each of them takes."""

    design: str
    triggerers: int = 1
    capacity: int = 2500


@dataclass(frozen=True)
class Plan:
    """How many wait, for how many seconds that is measured, when the first of them ends, in epoch seconds, and for how
    many seconds their first halves took."""

    count: int
    wait: float
    ends_at: float
    first_halves: float


SCENARIOS = {
    "ours": Scenario("ours"),
    "ours, two triggerers": Scenario("ours", triggerers=2, capacity=1010),
    "HttpSensorTrigger": Scenario("http_sensor"),
    "nothing": Scenario("nothing"),
}


@dataclass
class Found:
    """What was seen of a scenario; times in epoch seconds."""

    started_at: float
    first_halves: float
    waiting: tuple[float, float]
    ends: tuple[float, float]
    idle: float
    #: Of each triggerer: resident MiB over the idle one, and cores of the runner and of the supervisor while waiting.
    growth: list[float]
    cores: list[float]
    supervisor_cores: list[float]
    #: Cores of the runner in each ten seconds, from the start.
    course: list[tuple[float, float]]
    taken_up: float | None
    polls_a_second: float
    #: How many were still deferred, by seconds since the first job ended.
    deferred: list[tuple[float, int]]
    late: list[dict[str, Any]] = field(default_factory=list)
    worst_by_second: list[tuple[int, float]] = field(default_factory=list)
    airflow_said: int = 0

    def late_turns(self, least: float, since: float = 0.0, until: float = float("inf")) -> list[dict[str, Any]]:
        """Return the turns that came so late in a time."""
        return [each for each in self.late if each["lag"] >= least and since <= each["at"] <= until]

    def worst(self, since: float, until: float) -> float:
        """Return the worst lag of a time, in ms."""
        return 1000 * max((worst for second, worst in self.worst_by_second if since <= second <= until), default=0.0)


def main(argv: Sequence[str]) -> int:
    """Measure, and return 0 where the targets are met."""
    options = parser(__doc__)
    options.add_argument("--count", type=int, default=2000)
    options.add_argument("--wait", type=float, default=60.0, help="seconds that the waiting is measured")
    options.add_argument("--pace", type=float, default=0.3, help="seconds that a first half may take on this machine")
    options.add_argument("--only", nargs="*", default=list(SCENARIOS))
    given = options.parse_args(argv)
    report = Report(
        __name__,
        __doc__,
        save=not given.no_save,
        versions=("apache-airflow-providers-http", "apache-airflow-providers-standard", "psycopg2-binary"),
    )
    found: dict[str, Found] = {}
    pace = given.pace
    for name in given.only:
        print(f"{name} ...", flush=True)
        found[name] = _run(SCENARIOS[name], given.count, given.wait, pace)
        # Ours are the first, and the slowest: the jobs of the others need not wait for longer than that took.
        pace = min(given.pace, 1.3 * 2 * found[name].first_halves / given.count) if name == "ours" else pace
    _tell(report, found, given.count)
    return report.finish()


def _tell(report: Report, found: dict[str, Found], count: int) -> None:
    if (ours := found.get("ours")) is not None:
        blocks = list(filter(_is_ours, ours.late_turns(0.1)))
        # Else the others are figures of a triggerer that did nothing.
        taken_up = count if ours.taken_up is not None else 0
        report.check(f"{count:,} jobs in one triggerer: taken up before the measured time", taken_up, at_least=count)
        report.check(f"{count:,} jobs in one triggerer: loop blocks over 100 ms caused by us", len(blocks), at_most=0)
        report.check(f"{count:,} jobs in one triggerer: growth of memory, MiB", ours.growth[0], at_most=60)
        report.check(f"{count:,} jobs in one triggerer: cores of CPU while they wait", ours.cores[0], at_most=0.5)
        report.check(f"{count:,} jobs in one triggerer: still deferred at the end", ours.deferred[-1][1], at_most=0)
        for block in blocks[:5]:
            report.note(f"A block of {block['lag'] * 1000:.0f} ms: `{block['stacks'][-1]}`")
    report.table(
        f"{count:,} deferred tasks",
        (
            "scenario",
            "taken up after s",
            "polls a second",
            "cores while waiting",
            "and its supervisor's",
            "memory MiB",
            "worst lag ms: taking up",
            "waiting",
            "ending",
            "lags ≥ 100 ms",
            "of them ours",
            "the collector's",
            "its longest, ms",
            "Airflow's own warnings",
            "last resumed after its end, s",
        ),
        [
            (
                name,
                each.taken_up,
                each.polls_a_second,
                _joined(each.cores),
                _joined(each.supervisor_cores),
                _joined(each.growth, "{:.0f}"),
                each.worst(each.started_at, each.waiting[0]),
                each.worst(*each.waiting),
                each.worst(each.ends[0], each.ends[1] + 60),
                len(each.late_turns(0.1)),
                sum(map(_is_ours, each.late_turns(0.1))),
                sum(map(_is_the_collectors, each.late_turns(0.1))),
                round(1000 * max((late["collector"] for late in each.late), default=0.0)),
                each.airflow_said,
                each.deferred[-1][0] - SPREAD,
            )
            for name, each in found.items()
        ],
    )
    lags = {
        name: [(second - int(each.started_at), round(1000 * worst, 1)) for second, worst in each.worst_by_second]
        for name, each in found.items()
    }
    report.plot(
        Plot(
            "triggerer-lag",
            "lines",
            "The triggerer's event loop: worst lag of each second",
            "ms",
            lags,
            x="seconds since the triggerer was started",
            limit=100,
            log=True,
        )
    )
    courses = {name: [(round(at, 1), round(cores, 3)) for at, cores in each.course] for name, each in found.items()}
    report.plot(
        Plot(
            "triggerer-cpu",
            "lines",
            "The triggerer's CPU, in each ten seconds",
            "cores",
            courses,
            x="seconds since the triggerer was started",
            limit=0.5,
        )
    )


def _run(scenario: Scenario, count: int, wait: float, pace: float) -> Found:
    with ExitStack() as stack:
        api = stack.enter_context(emulator("--quota-per-minute", "0", "--quota-per-hour", "0"))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="falinvoke-plan-"))
        plan_path = Path(folder) / "plan.json"
        settings = {"AIRFLOW__TRIGGERER__CAPACITY": str(scenario.capacity), "FALINVOKE_BENCH_PLAN": str(plan_path)}
        deployed = stack.enter_context(airflow(settings))
        probes = deployed.home / "probes"
        probes.mkdir()
        plan: dict[str, Any] = {
            "spread": SPREAD,
            "count": count,
            "interval": 30.0,
            "poll_interval": None,
            "probes": str(probes),
            "probe_count": 1 if scenario.triggerers == 1 else 20,
        }
        extra = {"requests_per_minute": 60_000, "requests_per_hour": 3_600_000}
        deployed.add_connection("falinvoke_default", {**api.connection, "extra": extra})
        authorization = {"Authorization": f"Bearer {api.key}"}
        deployed.add_connection("http_default", {"conn_type": "http", "host": api.url, "extra": authorization})
        with Triggerer(deployed) as idle:
            idle.until_running()
            idle_bytes = statistics.median(each[1] for each in idle.samples[-5:])
        # The probe's, half of the first halves in each of two processes, the triggerer's start, the waiting.
        ends_at = time.time() + 30 + pace * count / 2 + 75 + wait
        plan_path.write_text(json.dumps({**plan, "ends_at": ends_at}))
        deployed.first_halves("probe")
        since = time.time()
        deployed.first_halves(f"waiting_{scenario.design}_0", f"waiting_{scenario.design}_1")
        first_halves = time.time() - since
        print(f"first halves: {first_halves:.0f} s", flush=True)
        late = time.time() + 30 + wait - ends_at
        if late > 0:
            raise RuntimeError(f"the first halves took {late:.0f} s too long for the plan: a higher --pace")
        running = [stack.enter_context(Triggerer(deployed, number + 2)) for number in range(scenario.triggerers)]
        asks = scenario.design != "nothing"
        plan_of_all = Plan(count, wait, ends_at, first_halves)
        return _watch(api if asks else None, deployed, running, idle_bytes, plan_of_all)


def _watch(api: Emulated | None, deployed: Airflow, running: list[Triggerer], idle_bytes: float, plan: Plan) -> Found:
    started_at = time.time()
    # The last seconds before the jobs end, when the triggerer has long settled.
    waiting = (plan.ends_at - plan.wait, plan.ends_at - 1)
    taken_up = None
    while api is not None and taken_up is None and time.time() < waiting[0]:
        time.sleep(2)
        if sum(each["gets"] > 0 for each in api.ask("requests")["counters"].values()) >= plan.count:
            taken_up = time.time() - started_at
    time.sleep(max(0.0, waiting[1] - time.time()))
    requests = api.ask("requests")["requests"] if api is not None else []
    polls = sum(each["route"] == "get" and waiting[0] <= each["at"] < waiting[1] for each in requests)
    deferred = []
    while True:
        left = query(deployed.name, _STILL_DEFERRED)[0][0]
        deferred.append((time.time() - plan.ends_at, left))
        if not left or time.time() > plan.ends_at + SPREAD + 300:
            break
        time.sleep(0.5)
    time.sleep(3)
    found = Found(
        started_at=started_at,
        first_halves=plan.first_halves,
        waiting=waiting,
        ends=(plan.ends_at, plan.ends_at + SPREAD),
        idle=idle_bytes / MIB,
        growth=[(max(each[1] for each in one.samples) - idle_bytes) / MIB for one in running],
        cores=[_rate(one, *waiting, 2) for one in running],
        supervisor_cores=[_rate(one, *waiting, 3) for one in running],
        course=_course(running[0], started_at),
        taken_up=taken_up,
        polls_a_second=polls / (waiting[1] - waiting[0]),
        deferred=deferred,
        airflow_said=sum(one.log.read_text(errors="replace").count("async thread was blocked") for one in running),
    )
    for path in (deployed.home / "probes").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            each = json.loads(line)
            if "lag" in each:
                found.late.append(each)
            else:
                found.worst_by_second.append((each["second"], each["worst"]))
    found.worst_by_second.sort()
    assert found.worst_by_second, "the probe did not run"
    return found


def _rate(one: Triggerer, since: float, until: float, column: int) -> float:
    samples = one.between(since, until)
    return float((samples[-1][column] - samples[0][column]) / (samples[-1][0] - samples[0][0]))


def _course(one: Triggerer, started_at: float) -> list[tuple[float, float]]:
    steps = one.samples[::20]
    return [
        (after[0] - started_at, (after[2] - before[2]) / (after[0] - before[0]))
        for before, after in itertools.pairwise(steps)
    ]


def _is_the_collectors(late: dict[str, Any]) -> bool:
    return bool(late["lag"] - late["collector"] < 0.1)


def _is_ours(late: dict[str, Any]) -> bool:
    if _is_the_collectors(late):
        return False
    ours = sum(any(PACKAGE in line for line in stack) for stack in late["stacks"])
    return bool(late["stacks"]) and 2 * ours >= len(late["stacks"])


def _joined(values: Sequence[float], shape: str = "{:.3g}") -> str:
    return ", ".join(shape.format(value) for value in values)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
