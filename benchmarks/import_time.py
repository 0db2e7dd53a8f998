"""Import time.

What a DAG file pays each time it is parsed, on top of `from airflow.sdk import BaseOperator`, which it has to import in
any case: each module is imported in new interpreters, all modules in turn and in random order, and the median counts.
Everything has been compiled before; the time is the wall clock's, of the import statement alone.
"""

from __future__ import annotations

import importlib.util
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from benchmarks.support.report import Plot, Report, parser

OURS = "airflow_provider_falinvoke.operators.falinvoke"
PEERS = {
    "anthropic": "airflow.providers.anthropic.operators.batch",
    "openai": "airflow.providers.openai.operators.openai",
    "http": "airflow.providers.http.operators.http",
}
_CODE = (
    "import time; from airflow.sdk import BaseOperator; wall, cpu = time.perf_counter(), time.process_time(); "
    "import {}; print((time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000)"
)


def main(argv: Sequence[str]) -> int:
    """Measure, and return 0 where the targets are met."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=9)
    given = options.parse_args(argv)
    versions = [f"apache-airflow-providers-{name}" for name in PEERS] + ["anthropic", "openai"]
    report = Report(__name__, __doc__, save=not given.no_save, versions=versions)
    peers = [module for name, module in PEERS.items() if _installed(f"airflow.providers.{name}")]
    found: dict[str, list[tuple[float, float]]] = {module: [] for module in (OURS, *peers)}
    with tempfile.TemporaryDirectory() as home:
        for module in found:
            _import(module, home)
        for _ in range(given.rounds):
            for module in random.sample(list(found), len(found)):
                found[module].append(_import(module, home))
    wall = {module: statistics.median(each[0] for each in times) for module, times in found.items()}
    cpu = {module: statistics.median(each[1] for each in times) for module, times in found.items()}
    report.check("import time of our operators, ms", wall[OURS], at_most=60)
    for name, module in PEERS.items():
        if name == "http":
            continue
        if module in wall:
            report.check(f"import time against {name}'s operators", wall[OURS] / wall[module], at_most=1)
        else:
            report.note(f"{name}'s provider is not installed here, so it was not measured.")
    report.table(
        f"Import on top of `from airflow.sdk import BaseOperator`, {given.rounds} runs each",
        ("module", "median ms", "lowest to highest ms", "median CPU ms"),
        [
            (
                module,
                wall[module],
                f"{min(each[0] for each in times):.0f} to {max(each[0] for each in times):.0f}",
                cpu[module],
            )
            for module, times in found.items()
        ],
    )
    shown = {module.removeprefix("airflow.providers."): time for module, time in wall.items()}
    report.plot(Plot("import-time", "bars", "Import of the operators' module", "ms (median)", shown, limit=60))
    return report.finish()


def _import(module: str, home: str) -> tuple[float, float]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [sys.executable, "-c", _CODE.format(module)],
        env={**clean, "AIRFLOW_HOME": home},
        capture_output=True,
        text=True,
        check=True,
    )
    wall, cpu = done.stdout.split()[-2:]
    return float(wall), float(cpu)


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
