"""10,000 jobs in one task, with a kill -9 in the middle.

One `FalInvokeBatchOperator` over a JSONL file of 10,000 prompts, against an emulator in a process of its own that
enforces the vendor's quota of 250 requests a minute and 5,000 an hour. The clock of both processes runs faster, so that
the hours that this quota takes pass in minutes. A job takes 5 to 15 s. The task's process, in which its triggers run
too, is killed with SIGKILL while its POSTs are in the air, half way through; then the next try runs to the end. What
was paid is counted by the emulator: the jobs that it made of each prompt.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.support import clock
from benchmarks.support.emulated import Emulated, emulator
from benchmarks.support.report import Report, parser

MODEL = "fal-ai/fast-sdxl"
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Found:
    """What came of a run.

    :param last: what the try that ended told of itself.
    :param killed_rss: the most memory of the process that was killed, in MiB.
    :param states: how many items are in each state by the manifest.
    :param jobs: how many jobs the emulator made of each prompt.
    :param ambiguous: the prompts of the items that are reported as ambiguous.
    :param requests: how many requests were answered with each status.
    :param sizes: bytes of the journal, the rows and the manifest.
    """

    last: dict[str, Any]
    killed_rss: float
    states: Counter[str]
    jobs: Counter[str]
    ambiguous: list[str]
    requests: Counter[str]
    sizes: dict[str, int]


def main(argv: Sequence[str]) -> int:
    """Measure, and return 0 where the targets are met."""
    options = parser(__doc__)
    options.add_argument("--jobs", type=int, default=10_000)
    options.add_argument("--factor", type=float, default=30.0, help="how many times faster the clock runs")
    options.add_argument("--max-in-flight", type=int, default=125)
    given = options.parse_args(argv)
    report = Report(__name__, __doc__, save=not given.no_save)
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), given.jobs, factor=given.factor, max_in_flight=given.max_in_flight)
    tell(report, found, given.jobs)
    return report.finish()


def run(folder: Path, jobs: int, *, factor: float, max_in_flight: int = 125, kill: bool = True) -> Found:
    """Run a batch of so many jobs, with a kill half way, and count.

    :param folder: for all that it writes.
    :param factor: how many times faster the clock runs.
    :param kill: whether the first try is killed.
    """
    inputs = folder / "inputs.jsonl"
    inputs.write_text("".join(json.dumps({"prompt": f"picture {number}"}) + "\n" for number in range(jobs)))
    parameters = {
        "model_id": MODEL,
        "inputs": inputs.as_uri(),
        "input": {"image_size": {"width": 16, "height": 16}},
        "output_path": (folder / "out").as_uri(),
        "max_in_flight": max_in_flight,
    }
    home = folder / "out" / "shop" / "manual__1" / "pictures"
    variables = clock.environment(time.time(), factor)
    with emulator("--duration", f"{MODEL}=10", "--jitter", "0.5", variables=variables) as emulated:
        environment = _environment(folder, emulated, variables)
        killed_rss = _kill_half_way(parameters, environment, home, jobs) if kill else 0.0
        last = _try(parameters, environment, folder / "told.json")
        made = emulated.ask("jobs")
        asked = emulated.ask("requests")["requests"]
    rows = [json.loads(line) for line in (home / "manifest.jsonl").read_text().splitlines()]
    return Found(
        last=last,
        killed_rss=killed_rss,
        states=Counter(row["state"] for row in rows),
        jobs=Counter(job["input"]["prompt"] for job in made.values()),
        ambiguous=[f"picture {row['index']}" for row in rows if row["state"] == "ambiguous"],
        requests=Counter(f"{one['route']} {one['status']}" for one in asked),
        sizes={name: sum(path.stat().st_size for path in home.glob(glob)) for name, glob in _GLOBS.items()},
    )


_GLOBS = {"journal": "_batch/items-*", "rows": "_batch/rows-*", "manifest": "manifest.jsonl"}


def tell(report: Report, found: Found, jobs: int) -> None:
    """Bring what was found into the report."""
    last = found.last
    paid = sum(found.jobs.values())
    sent = sum(count for name, count in found.requests.items() if name.startswith(("post", "get", "status")))
    unreported = sum(1 for count in found.jobs.values() if count > 1)
    lost = jobs - found.states["done"] - found.states["ambiguous"]
    report.check("items that are neither a result nor a reported ambiguous submit", lost, at_most=0)
    report.check("items with a second job", unreported, at_most=0)
    orphans = paid - found.states["done"] - sum(1 for prompt in found.ambiguous if found.jobs[prompt])
    report.check("paid jobs that no item knows of", orphans, at_most=0)
    report.check("ambiguous submits, of 4 POSTs in the air", found.states["ambiguous"], at_most=4)
    report.check("requests a job", sent / paid, at_most=2.6)
    peak = max(found.killed_rss, last["peak_rss"])
    report.check("memory beyond the imports, MiB", peak - last["base_rss"], at_most=100)
    report.table(
        f"{jobs:,} jobs, one kill -9",
        ("what", "figure"),
        (
            ("results", found.states["done"]),
            ("ambiguous submits reported", found.states["ambiguous"]),
            ("jobs made (paid)", paid),
            ("requests answered 429", sum(n for name, n in found.requests.items() if name.endswith(" 429"))),
            ("peak RSS of the process, MiB", round(peak)),
            ("… of which imports, MiB", round(last["base_rss"])),
            ("largest event, bytes", last["largest_event"]),
            ("journal, bytes an item", round(found.sizes["journal"] / jobs)),
            ("rows, bytes an item", round(found.sizes["rows"] / jobs)),
            ("manifest, bytes an item", round(found.sizes["manifest"] / jobs)),
            ("second try: waves", last["waves"]),
            ("second try: its hours", round(last["seconds"] / 3600, 2)),
            ("second try: worker seconds a job", last["on_the_worker"] / (jobs / 2)),
        ),
    )


def _environment(folder: Path, emulated: Emulated, variables: dict[str, str]) -> dict[str, str]:
    keep = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return {
        **keep,
        **variables,
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_FALINVOKE_DEFAULT": json.dumps(emulated.connection),
    }


def _start(parameters: dict[str, Any], environment: dict[str, str], told: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.support.batch_worker", str(told)],
        env=environment,
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,  # Airflow's log: a line for each job
        text=True,
    )
    assert process.stdin is not None
    json.dump(parameters, process.stdin)
    process.stdin.close()
    return process


def _kill_half_way(parameters: dict[str, Any], environment: dict[str, str], home: Path, jobs: int) -> float:
    """Start a try, kill it while its POSTs are in the air, and return the most memory it had, in MiB."""
    half = f"items-{jobs // 2 // 100:04}.*.json"
    process = _start(parameters, environment, Path(os.devnull))
    try:
        while not _holds_an_intent(home / "_batch", half):
            if process.poll() is not None:
                raise RuntimeError("the first try ended before half of the jobs were submitted")
            time.sleep(0.002)
    finally:
        process.kill()
    _, _, usage = os.wait4(process.pid, 0)
    print(f"killed, with {usage.ru_maxrss / 1024:.0f} MiB", flush=True)
    return usage.ru_maxrss / 1024


def _holds_an_intent(journal: Path, files: str) -> bool:
    with suppress(FileNotFoundError):  # a later process removes what it has superseded
        return any('"phase": "intent"' in path.read_text() for path in journal.glob(files))
    return False


def _try(parameters: dict[str, Any], environment: dict[str, str], told: Path) -> dict[str, Any]:
    process = _start(parameters, environment, told)
    if process.wait() != 0:
        raise RuntimeError(f"the try ended with status {process.returncode}")
    ended: dict[str, Any] = json.loads(told.read_text())
    return ended


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
