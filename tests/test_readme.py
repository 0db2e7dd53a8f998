"""What the README says of its first example and of the demo; its code blocks are run by tests/docs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_falinvoke.emulator import Emulator
from tests.docs.blocks import ROOT, blocks_of

README = ROOT / "README.md"


@pytest.mark.usefixtures("airflow_db")
def test_the_hero_draws_a_picture(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.connections import stored
    from tests.support.dags import run_dag, store

    monkeypatch.delenv("AIRFLOW_CONN_FALINVOKE_DEFAULT")
    code = blocks_of(README)[0].code.replace("/tmp/cities", str(tmp_path))
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    dag = names["dag"]
    store(dag)  # type: ignore[arg-type]  # what a script leaves behind has no type
    with stored(emulator.connection):
        ran = run_dag(dag)  # type: ignore[arg-type]  # as above
    assert ran.state == "success"
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".png"]
    (shown,) = re.findall(r"The task returns a small dict: (.*?)\n`output_path`", README.read_text(), flags=re.DOTALL)
    named = set(re.findall(r"`(\w+)`", shown))
    assert named == set(ran.results["draw"])


def test_the_demo_runs_and_shows_each_job_with_its_file(tmp_path: Path) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "MODEL_ACCESS"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "dags_examples.demo"],
        env=environment | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    files = sorted(path.suffix for path in (tmp_path / "demo-output").rglob("*") if path.suffix in (".png", ".wav"))
    assert files == [".png"] * 10 + [".wav"] * 2, "three made by make_assets lie on S3"
    checked = re.findall(r"falinvoke_(\w+): \d+ bytes, SHA-256 as announced, s3://", done.stdout)
    assert checked == ["picture", "sound", "speech"], "the DAG on the assets ran, and read them from S3"
    table = done.stdout.split("\ntask ")[1]
    rows = [re.split(r"  +", line) for line in table.splitlines()[2 : 2 + 15]]
    assert all(int(requests) >= 2 and file.startswith(job) for *_, job, _, requests, file in rows), table
