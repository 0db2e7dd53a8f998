"""Each example DAG runs as it stands, against the emulator."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from airflow_provider_falinvoke.emulator import Emulator
from tests.support.dags import run_dag, store

if TYPE_CHECKING:
    from airflow.sdk import DAG

FOLDER = Path(__file__).resolve().parent.parent / "dags_examples"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "demo"))
DURATIONS = {
    "fal-ai/flux/schnell": 0.3,
    "fal-ai/fast-sdxl": 0.3,
    "fal-ai/stable-audio-25/text-to-audio": 0.6,
    "fal-ai/elevenlabs/tts/multilingual-v2": 0.4,
}


@pytest.fixture
def everyday(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Emulator:
    monkeypatch.setenv("AIRFLOW_VAR_FALINVOKE_OUTPUT", tmp_path.as_uri())
    emulator = Emulator(durations=DURATIONS)
    emulator.start()
    monkeypatch.setenv("AIRFLOW_CONN_FALINVOKE_DEFAULT", emulator.connection_json)
    return emulator


@pytest.mark.usefixtures("airflow_db", "quick_deferral")
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_succeeds_with_one_post_a_job_and_no_get_too_many(
    name: str, everyday: Emulator, tmp_path: Path
) -> None:
    module = importlib.import_module(f"dags_examples.{name}")
    assert module.__doc__, "one idea a file, and the first line says it"
    dag: DAG = module.dag
    store(dag)
    try:
        ran = run_dag(dag)
    finally:
        everyday.stop()
    assert ran.state == "success", ran
    assert len(everyday.posts()) == len(everyday.jobs) >= 1
    for request_id, job in everyday.jobs.items():
        after_the_end = [poll for poll in everyday.gets(request_id) if poll.at >= job.ends_at]
        assert len(after_the_end) == 1
    results = [result for result in ran.results.values() if isinstance(result, dict)]
    assert {result["request_id"] for result in results} == set(everyday.jobs)
    for result in results:
        assert result["files"]
        for file in result["files"]:
            path = Path(urlsplit(file["path"]).path)
            assert path.is_relative_to(tmp_path)
            assert path.stat().st_size == file["size"] > 1000
    assert everyday.leaks == []


def test_the_demo_runs_every_example() -> None:
    demo = importlib.import_module("dags_examples.demo")
    assert set(demo.EXAMPLES) == set(EXAMPLES)


def test_the_page_of_the_examples_lists_each() -> None:
    page = (FOLDER.parent / "docs" / "examples.md").read_text()
    assert [name for name in EXAMPLES if f"(../dags_examples/{name}.py)" not in page] == []
