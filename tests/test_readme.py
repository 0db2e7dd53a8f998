"""Every code block of the README does what the README says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_falinvoke.emulator import Emulator

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def block(language: str, containing: str) -> str:
    (found,) = [text for kind, text in BLOCKS if kind == language and containing in text]
    return str(found)


def test_each_block_has_a_test_here() -> None:
    assert [(kind, text.split("\n")[0]) for kind, text in BLOCKS] == [
        ("python", "from datetime import datetime"),
        ("sh", "make demo"),
        ("sh", 'airflow connections add falinvoke_default --conn-type falinvoke --conn-password "$MODEL_ACCESS_KEY"'),
        ("python", "import dags_examples.daily_image"),
        ("sh", "make test"),
    ]


@pytest.mark.usefixtures("airflow_db")
def test_the_hero_draws_a_picture(emulator: Emulator, tmp_path: Path) -> None:
    from tests.support.dags import run_dag, store

    code = block("python", "city_of_the_day").replace("/tmp/cities", str(tmp_path))
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    dag = names["dag"]
    store(dag)  # type: ignore[arg-type]  # what a script leaves behind has no type
    ran = run_dag(dag)  # type: ignore[arg-type]  # as above
    assert ran.state == "success"
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".png"]
    (shown,) = re.findall(r"The task returns a small dict: (.*?)\n`output_path`", README, flags=re.DOTALL)
    named = set(re.findall(r"`(\w+)`", shown))
    assert named == set(ran.results["draw"])


def test_a_user_tests_a_dag_with_the_fixture(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(block("python", "falinvoke_emulator"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    home = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags_examples"),
        "AIRFLOW_VAR_FALINVOKE_OUTPUT": str(tmp_path / "out"),
        "PYTHONPATH": str(ROOT),
    }
    for command in (["airflow", "db", "migrate"], ["pytest", "-q", str(tmp_path)]):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            env=environment | home,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_connection_can_be_added_and_read_back(tmp_path: Path) -> None:
    command = block("sh", "airflow connections add").strip()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    home = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "MODEL_ACCESS_KEY": "key-of-the-readme",
    }
    airflow = f"{shlex.quote(sys.executable)} -m airflow"
    script = (
        f'set -e\nairflow() {{ {airflow} "$@"; }}\nairflow db migrate\n{command}\n'
        "airflow connections get falinvoke_default -o json\nairflow providers list -o plain\n"
    )
    done = subprocess.run(["bash", "-c", script], env=environment | home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"conn_type": "falinvoke"' in done.stdout
    assert "key-of-the-readme" in done.stdout, "airflow connections get shows the password on purpose"
    assert "airflow-provider-falinvoke" in done.stdout


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_make_targets_exist(target: str) -> None:
    assert block("sh", f"make {target}").strip() == f"make {target}"
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


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
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    files = sorted(path.suffix for path in (tmp_path / "demo-output").rglob("*") if path.is_file())
    assert files == [".png"] * 4 + [".wav"] * 2
    table = done.stdout.split("\ntask ")[1]
    rows = [line.split() for line in table.splitlines()[2:8]]
    assert all(int(row[4]) >= 2 and row[5].startswith(row[2]) for row in rows), table


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", README):
        assert (ROOT / target).exists(), target
