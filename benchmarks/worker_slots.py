"""Worker slots.

For how long a job of 60 s keeps a worker slot, in a real Airflow with default settings (LocalExecutor, PostgreSQL): a
job of an audio model with `FalInvokeOperator`, and the same job in a PythonOperator that waits as code around fal's
client does (its `SyncRequestHandle.get()`, every 0.1 s). Each is a DAG of its own; they are triggered in turn, 5 s
apart, so that no two processes begin at the same time on these two cores.

Beside them a job of an image model that is known to be fast and takes 60 s today: the worker looks at it before it
defers, because such a job takes 2 s otherwise. And a deferrable TimeDeltaSensor of 60 s, which asks nobody: what the
beginnings and ends of two processes take in any case.

A slot counts as taken for as long as a process of the executor carries the task instance's name: from the moment it
takes the task up to the moment it is free again, so a supervisor that lingers after its task deferred counts as well,
and the start of the task's process does. Looked at 20 times a second. It lingers for `[workers]
min_heartbeat_interval` (5 s) or not at all, by chance: whether it sees its task's process end before or after the last
of that process's sockets. So the mean counts, as slots add up.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.support.airflow_lab import ROOT, database, query, url_of
from benchmarks.support.emulated import emulator
from benchmarks.support.report import Plot, Report, parser
from tests.airflow.deployment import Deployment

NAMES = {
    "ours": "FalInvokeOperator",
    "ours_fast_model": "FalInvokeOperator, a model that is known to be fast",
    "fal_client": "PythonOperator, fal_client's loop",
    "nothing": "TimeDeltaSensor, deferrable",
}
DAGS = Path(__file__).resolve().parent / "support" / "dags_of_slots"
LOOK = 0.05


def main(argv: Sequence[str]) -> int:
    """Measure, and return 0 where the target is met."""
    options = parser(__doc__)
    options.add_argument("--runs", type=int, default=12, help="of each DAG")
    options.add_argument("--every", type=float, default=5.0, help="seconds between two runs")
    given = options.parse_args(argv)
    report = Report(
        __name__,
        __doc__,
        save=not given.no_save,
        versions=("fal-client", "apache-airflow-providers-standard", "psycopg2-binary"),
    )
    taken = _measure(given.runs, given.every)
    total = {name: statistics.fmean(sum(each) for each in taken[name]) for name in NAMES}
    share = {name: total[name] / total["fal_client"] for name in NAMES}
    report.check(
        "worker-slot seconds of a 60 s job, against a PythonOperator with fal_client's loop",
        share["ours"],
        at_most=0.05,
    )
    report.table(
        f"Slot seconds of a job of 60 s, {given.runs} runs",
        (
            "task",
            "mean s",
            "against the PythonOperator",
            "median s",
            "lowest to highest s",
            "median s of each stay in a slot",
        ),
        [
            (
                name,
                total[task_id],
                share[task_id],
                statistics.median(map(sum, taken[task_id])),
                f"{min(map(sum, taken[task_id])):.1f} to {max(map(sum, taken[task_id])):.1f}",
                " + ".join(f"{statistics.median(stay):.1f}" for stay in zip(*taken[task_id], strict=False)),
            )
            for task_id, name in NAMES.items()
        ],
    )
    bars = {name: total[task_id] for task_id, name in NAMES.items()}
    report.plot(Plot("worker-slots", "bars", "A job of 60 s: how long it keeps a worker slot", "s (mean)", bars))
    return report.finish()


def _measure(runs: int, every: float) -> dict[str, list[list[float]]]:
    """Return the stays in a slot of each run, in seconds, by task."""
    with (
        tempfile.TemporaryDirectory(prefix="falinvoke-bench-") as folder,
        database() as name,
        emulator("--quota-per-minute", "0", "--quota-per-hour", "0") as api,
        Deployment(
            Path(folder) / "airflow",
            DAGS,
            {"falinvoke_default": api.connection},
            database=url_of(name),
            settings={"PYTHONPATH": str(ROOT)},
        ) as airflow,
    ):

        def ended() -> bool:
            return not query(name, "select 1 from dag_run where state in ('queued', 'running')")

        # One run of each first, so that everything has been imported and compiled once.
        for dag_id in NAMES:
            airflow.trigger(dag_id)
        airflow.until("the first runs ended", ended, seconds=600)
        slots = _Slots(airflow.processes["scheduler"].pid)
        started = [_triggered(airflow, dag_id, every) for _ in range(runs) for dag_id in NAMES]
        airflow.until("all runs ended", ended, seconds=600)
        # A supervisor may linger.
        time.sleep(6)
        slots.stop()
        rows = query(name, "select dag_id, run_id, task_id, id, state from task_instance")
    ours = [(task_id, str(key), state) for dag_id, run_id, task_id, key, state in rows if (dag_id, run_id) in started]
    assert {state for _, _, state in ours} == {"success"}, ours
    return {task_id: [slots.stays(key) for name, key, _ in ours if name == task_id] for task_id in NAMES}


def _triggered(airflow: Deployment, dag_id: str, every: float) -> tuple[str, str]:
    run_id = airflow.trigger(dag_id)
    time.sleep(every)
    return dag_id, run_id


class _Slots:
    """Looks at the executor's processes, whose names say what they run.

    :param scheduler: the process id of the scheduler, whose children they are.
    """

    def __init__(self, scheduler: int) -> None:
        self._scheduler = psutil.Process(scheduler)
        self._seen: list[tuple[float, str]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._thread.join()

    def stays(self, task_instance: str) -> list[float]:
        """Return for how long, each time, a slot was taken by a task instance, in seconds."""
        moments = [at for at, name in self._seen if task_instance in name]
        assert moments, f"{task_instance} was never seen"
        stays, first, last = [], moments[0], moments[0]
        for at in moments[1:]:
            # A deferral takes seconds; a look that was missed does not.
            if at - last > 1.0:
                stays.append(last - first + LOOK)
                first = at
            last = at
        return [*stays, last - first + LOOK]

    def _run(self) -> None:
        looked_at, workers = 0.0, []
        while not self._stopped.wait(LOOK):
            now = time.monotonic()
            if now - looked_at > 1:
                looked_at, workers = now, self._scheduler.children()
            for worker in workers:
                try:
                    name = " ".join(worker.cmdline())
                except psutil.Error:
                    continue
                if "idle" not in name:
                    self._seen.append((now, name))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
