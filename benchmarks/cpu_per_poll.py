"""CPU per poll.

1,000 pending jobs, each asked for every 5 s by one client process, over TLS on loopback, replies 30 ms late as over a
network (so that requests overlap, which is what costs). The waits begin evenly over the first 5 s. Once each job has
been asked for (so imports, first handshakes and pools are behind) the CPU time of the client's process, all its
threads, is measured for 12 s and divided by the polls that the emulator counted in that time. The designs take turns;
the ratio of each round is taken against that round's HttpSensorTrigger, and the median of the rounds counts.

- *ours*: `FalInvokeTrigger.run()` as the triggerer runs it, with `poll_interval=5`, once with httpx alone (the extra is
  hidden from the process as if it were not installed) and once with the extra `aiohttp`. The connection's own quota is
  set so high that the gate holds nothing back.
- *HttpSensorTrigger*: the trigger of apache-airflow-providers-http as it is installed; the emulator answers it 404,
  which is what it waits on. *…, status read*: the same trigger, its hook reading our API's status from the body of a
  200. The cheaper of the two in a round is what we are compared with.
- *anthropic's trigger*: the trigger, hook and client of apache-airflow-providers-anthropic, its one call asking for our
  job: a thread and a client of its own for each wait.
- *bare aiohttp*: one session for all, a GET and `json()`: what a poll costs at the least.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.support.emulated import Emulated, client_environment, emulator
from benchmarks.support.report import Plot, Report, parser

DESIGNS = {
    "ours, httpx alone": ("ours", False),
    "ours, extra aiohttp": ("ours", True),
    "HttpSensorTrigger": ("http_sensor", True),
    "HttpSensorTrigger, status read": ("http_sensor_with_status", True),
    "anthropic's trigger": ("anthropic", True),
    "bare aiohttp": ("bare", True),
}
INTERVAL = 5.0
LATENCY = 0.03
FOREVER = 1e9


def main(argv: Sequence[str]) -> int:
    """Measure, and return 0 where the targets are met."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--ids", type=int, default=1000)
    options.add_argument("--only", nargs="*", default=list(DESIGNS), help="designs to measure")
    given = options.parse_args(argv)
    report = Report(__name__, __doc__, save=not given.no_save, versions=_PEERS)
    designs = {name: DESIGNS[name] for name in given.only}
    rounds: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        pair = _certificate(Path(folder))
        for number in range(given.rounds):
            found = {}
            for name in random.sample(list(designs), len(designs)):
                found[name] = _measure(*designs[name], given.ids, pair)
                shown = f"{found[name]['micros']:,.0f} µs a poll, {found[name]['a_second']:.0f} polls a second"
                print(f"round {number + 1}: {name}: {shown}", flush=True)
            rounds.append(found)
    _tell(report, rounds)
    return report.finish()


def _tell(report: Report, rounds: list[dict[str, dict[str, float]]]) -> None:
    names = list(rounds[0])
    reference = [name for name in names if name.startswith("HttpSensorTrigger")]

    def ratio(name: str) -> float:
        return statistics.median(
            each[name]["micros"] / min(each[other]["micros"] for other in reference) for each in rounds
        )

    def median(name: str, key: str) -> float:
        return statistics.median(each[name][key] for each in rounds)

    if reference:
        for name, limit in (("ours, httpx alone", 0.60), ("ours, extra aiohttp", 0.25)):
            if name in names:
                report.check(f"CPU per poll against HttpSensorTrigger, TLS: {name}", ratio(name), at_most=limit)
    ordered = [name for name in DESIGNS if name in names]
    report.table(
        "CPU of the client for one poll",
        ("design", "µs a poll", "against HttpSensorTrigger", "lowest to highest µs", "polls a second", "peak MiB"),
        [
            (
                name,
                median(name, "micros"),
                ratio(name) if reference else None,
                f"{min(r[name]['micros'] for r in rounds):,.0f} to {max(r[name]['micros'] for r in rounds):,.0f}",
                median(name, "a_second"),
                round(median(name, "peak_mib")),
            )
            for name in ordered
        ],
    )
    report.plot(
        Plot(
            "cpu-per-poll",
            "bars",
            "CPU for one poll over TLS, 1,000 jobs",
            "µs (median)",
            {name: median(name, "micros") for name in ordered},
        )
    )


def _measure(design: str, extra: bool, count: int, pair: tuple[Path, Path]) -> dict[str, float]:
    with emulator("--quota-per-minute", "0", "--quota-per-hour", "0", tls=pair) as api:
        if design == "http_sensor":
            api.fault(kind="not_yet", on="post", seconds=FOREVER, times=None)
        ids = [api.submit(FOREVER) for _ in range(count)]
        api.fault(kind="slow", on="poll", seconds=LATENCY, times=None)
        answer = _poll(api, {"design": design, "extra": extra, "ids": ids}, pair[0])
        requests = api.ask("requests")["requests"]
    polls = [each for each in requests if each["route"] == "get" and answer["since"] <= each["at"] < answer["until"]]
    assert polls, "nothing was asked"
    assert {each["status"] for each in polls} == {404 if design == "http_sensor" else 200}
    seconds = answer["until"] - answer["since"]
    return {
        "micros": answer["cpu"] / len(polls) * 1e6,
        "a_second": len(polls) / seconds,
        "peak_mib": answer["peak_mib"],
    }


def _poll(api: Emulated, task: dict[str, Any], certificate: Path) -> dict[str, float]:
    quota = {"requests_per_minute": 1_000_000, "requests_per_hour": 60_000_000}
    ours = {**api.connection, "extra": {**api.connection["extra"], **quota}}
    task = {"interval": INTERVAL, "seconds": 12.0, "url": api.url, "key": api.key, **task}
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.support.poller"],
        env={**client_environment(ours, certificate.parent), "SSL_CERT_FILE": str(certificate)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdin is not None and client.stdout is not None
        print(json.dumps(task), file=client.stdin, flush=True)
        while client.poll() is None and _asked(api) < len(task["ids"]):
            time.sleep(2)
        print("measure", file=client.stdin, flush=True)
        answer: dict[str, float] = json.loads(client.stdout.readlines()[-1])
    return answer


def _asked(api: Emulated) -> int:
    return sum(counts["gets"] > 0 for counts in api.ask("requests")["counters"].values())


def _certificate(folder: Path) -> tuple[Path, Path]:
    from airflow_provider_falinvoke.emulator.certificate import make_certificate

    certificate, key = make_certificate(folder)
    return Path(certificate), Path(key)


_PEERS = ("apache-airflow-providers-http", "apache-airflow-providers-anthropic", "anthropic")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
