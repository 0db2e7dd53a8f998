"""Saving a file.

A WAV file of 1 GiB, made by a process of its own as it is sent, is saved by the package (guarded, hashed, recognised,
measured, whole or not at all) and, in turn with that, streamed plainly: `httpx.stream` into `open()`, and into
`boto3`'s `upload_fileobj`. Once to a local folder, once to moto's S3 server in a process of its own. Each run is a new
process, which has saved a small file before, so that all is imported; memory is the highest resident set (VmHWM) while
saving, less the resident set before. The ratio is the median of those of neighbouring runs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.support import file_host, s3_host
from benchmarks.support.report import Report, parser

SIZE, SMALL = 1 << 30, 1 << 20
_CODE = """
import json, sys
from benchmarks.support.savers import measure
print(json.dumps(measure(**json.loads(sys.argv[1]))))
"""


def main(argv: Sequence[str]) -> int:
    """Measure, and return 0 where the targets are met."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args(argv)
    report = Report(__name__, __doc__, save=not given.no_save, versions=["s3fs", "boto3", "moto"])
    with (
        tempfile.TemporaryDirectory() as home,
        file_host.serving(SIZE) as large,
        file_host.serving(SMALL) as small,
        s3_host.serving() as s3,
    ):
        places = {"a local folder": Path(home, "files").as_uri(), "S3": s3.path}
        found: dict[str, dict[str, list[dict[str, float]]]] = {place: {"ours": [], "plain": []} for place in places}
        for number in range(given.rounds):
            for place, path in places.items():
                for how in ("ours", "plain") if number % 2 else ("plain", "ours"):
                    task = {"how": how, "path": path, "small": small, "large": large}
                    found[place][how].append(_run(task, {**s3.environment, "AIRFLOW_HOME": home}))
                    s3.empty()
    rows: list[Sequence[Any]] = []
    for place, runs in found.items():
        added = max(run["added"] for run in runs["ours"])
        ratio = statistics.median(
            plain["seconds"] / ours["seconds"] for ours, plain in zip(runs["ours"], runs["plain"], strict=True)
        )
        report.check(f"memory added while saving 1 GiB to {place}, MB", added, at_most=50)
        report.check(f"speed of saving to {place} against plain streaming", ratio, at_least=0.8)
        for how, name in (("ours", "the package"), ("plain", "plain streaming")):
            speeds = [SIZE / 1e6 / run["seconds"] for run in runs[how]]
            rows.append(
                (
                    place,
                    name,
                    statistics.median(speeds),
                    f"{min(speeds):.0f} to {max(speeds):.0f}",
                    statistics.median(run["cpu"] for run in runs[how]),
                    max(run["added"] for run in runs[how]),
                )
            )
    head = ("to", "by", "median MB/s", "lowest to highest", "CPU s", "most memory added, MB")
    report.table(f"Saving 1 GiB, {given.rounds} runs each", head, rows)
    return report.finish()


def _run(task: dict[str, str], environment: dict[str, str]) -> dict[str, float]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AWS"))}
    done = subprocess.run(
        [sys.executable, "-c", _CODE, json.dumps(task)],
        env={**clean, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
