"""Each example DAG runs as it stands, against the emulator, with the connection in Airflow's database."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from airflow_provider_falinvoke.emulator import Emulator
from dags_examples.demo import run_for_its_assets
from tests.support.connections import stored
from tests.support.dags import run_dag, store
from tests.support.s3 import Bucket

if TYPE_CHECKING:
    from airflow.sdk import DAG

FOLDER = Path(__file__).resolve().parent.parent / "dags_examples"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "demo"))
#: It makes nothing, and runs only because of the events of another one.
FOLLOWS = "check_assets"
#: Without a logical date, as ``airflow dags trigger`` and the REST API start a run, each is run; with one, those that
#: have a date in them.
DATED = [name for name in EXAMPLES if "run_after" in (FOLDER / f"{name}.py").read_text()]
A_DAY = datetime(2026, 11, 27, tzinfo=timezone.utc)
DURATIONS = {
    "fal-ai/flux/schnell": 0.3,
    "fal-ai/fast-sdxl": 0.3,
    "fal-ai/stable-audio-25/text-to-audio": 0.6,
    "fal-ai/elevenlabs/tts/multilingual-v2": 0.4,
}


@pytest.fixture
def everyday(airflow_db: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Emulator]:
    monkeypatch.setenv("AIRFLOW_VAR_FALINVOKE_OUTPUT", tmp_path.as_uri())
    emulator = Emulator(durations=DURATIONS)
    emulator.start()
    with stored(emulator.connection):
        yield emulator


def jobs_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what became of each job of a task: of a batch, the lines of its manifest."""
    if "items" not in result:
        return [result]
    lines = Path(urlsplit(result["manifest"]).path).read_text().splitlines()
    assert len(lines) == result["items"] == result["done"]
    return [json.loads(line) for line in lines]


@pytest.mark.usefixtures("quick_deferral")
@pytest.mark.parametrize(
    ("name", "logical_date"),
    [(name, None) for name in EXAMPLES if name != FOLLOWS] + [(name, A_DAY) for name in DATED],
    ids=lambda value: value if isinstance(value, str) else "undated" if value is None else "dated",
)
def test_an_example_succeeds_with_one_post_a_job_and_no_get_too_many(
    name: str, logical_date: datetime | None, everyday: Emulator, tmp_path: Path
) -> None:
    module = importlib.import_module(f"dags_examples.{name}")
    assert module.__doc__, "one idea a file, and the first line says it"
    dag: DAG = module.dag
    store(dag)
    try:
        ran = run_dag(dag, lambda dag: dag.test(logical_date=logical_date))
    finally:
        everyday.stop()
    assert ran.state == "success", ran
    assert len(everyday.posts()) == len(everyday.jobs) >= 1
    for request_id, job in everyday.jobs.items():
        after_the_end = [poll for poll in everyday.gets(request_id) if poll.at >= job.ends_at]
        assert len(after_the_end) == 1
    results = [job for result in ran.results.values() if isinstance(result, dict) for job in jobs_of(result)]
    assert {result["request_id"] for result in results} == set(everyday.jobs)
    for result in results:
        assert result["files"]
        for file in result["files"]:
            path = Path(urlsplit(file["path"]).path)
            assert path.is_relative_to(tmp_path)
            assert path.stat().st_size == file["size"] > 1000
    assert everyday.leaks == []


@pytest.mark.usefixtures("quick_deferral")
@pytest.mark.parametrize("tampered", [False, True], ids=["as announced", "another's bytes"])
def test_the_dag_on_the_assets_checks_what_lies_on_s3_by_the_events_that_started_it(
    tampered: bool,
    everyday: Emulator,
    s3_server: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_FALINVOKE_OUTPUT", s3_server.path("made"))
    make, check = (importlib.import_module(f"dags_examples.{name}").dag for name in ("make_assets", FOLLOWS))
    for dag in (make, check):
        store(dag)
    made = run_dag(make)
    files = [file for result in made.results.values() for file in result["files"]]
    there = s3_server.objects()
    assert {key: hashlib.sha256(data).hexdigest() for key, data in there.items()} == {
        file["path"].split(f"{s3_server.bucket}/")[1]: file["sha256"] for file in files
    }
    assert len(there) == 3
    if tampered:
        s3_server.client.put_object(Bucket=s3_server.bucket, Key=next(iter(there)), Body=b"not what was made")
    ran = run_dag(check, run_for_its_assets)
    everyday.stop()
    assert ran.state == ("failed" if tampered else "success")
    if tampered:
        assert "is not what the job" in str(ran.errors["check"])
    else:
        assert ran.results["check"] == 3
        said = capsys.readouterr().out
        assert all(f"{file['size']} bytes, SHA-256 as announced, {file['path']}" in said for file in files)
    assert len(everyday.posts()) == 3
    with pytest.raises(LookupError, match="no asset event asks for a run of falinvoke_check_assets"):
        run_for_its_assets(check)


def test_the_demo_runs_every_example() -> None:
    demo = importlib.import_module("dags_examples.demo")
    assert set(demo.EXAMPLES) == set(EXAMPLES)


def test_the_page_of_the_examples_lists_each() -> None:
    page = (FOLDER.parent / "docs" / "examples.md").read_text()
    assert [name for name in EXAMPLES if f"(../dags_examples/{name}.py)" not in page] == []
