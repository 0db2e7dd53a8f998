"""What OpenLineage's own listener is told, in real task runs, on the worker and after a deferral."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke.lineage import ReportsLineage, naming

ROOT = Path(__file__).parent.parent
FACETS = "https://openlineage.io/spec/facets/"


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("s3://aws_default@bucket/a/b.png", ("s3://bucket", "a/b.png")),
        ("s3://bucket/take #1?.png", ("s3://bucket", "take #1?.png")),
        ("gs://google@bucket/b.png", ("gs://bucket", "b.png")),
        ("gcs://bucket/b.png", ("gs://bucket", "b.png")),
        ("file:///tmp/a.png", ("file", "/tmp/a.png")),
        ("/tmp/a.png", ("file", "/tmp/a.png")),
        ("file://nas/share/a.png", ("file://nas", "/share/a.png")),
        ("abfs://azure@container/a.png", ("abfs://container", "a.png")),
        ("s3://bucket/künstler/100%25 é.png", ("s3://bucket", "künstler/100%25 é.png")),
    ],
)
def test_a_file_is_named_as_openlineage_names_it(path: str, named: tuple[str, str]) -> None:
    assert naming(path) == named


def test_openlineages_own_names_are_the_same() -> None:
    from openlineage.client.naming import dataset

    for path, own in (
        ("s3://conn@bucket/a/b.png", dataset.S3("bucket", "a/b.png")),
        ("gs://conn@bucket/a/b.png", dataset.GCS("bucket", "a/b.png")),
        ("file:///a/b.png", dataset.LocalFileSystem("/a/b.png")),
        ("s3://conn@bucket/é #1?.png", dataset.S3("bucket", "é #1?.png")),
        ("file://nas/a/b.png", dataset.RemoteFileSystem("nas", "/a/b.png")),
    ):
        assert naming(path) == (own.get_namespace(), own.get_name())


def test_the_checksum_is_the_datasets_version() -> None:
    task = ReportsLineage()
    file = {"path": "s3://bucket/a.png", "size": 7, "content_type": "image/png", "sha256": "c0ffee"}
    task.brought_home = {"request_id": "r-1", "model_id": "m", "files": [file]}
    (dataset,) = task.get_openlineage_facets_on_complete(None).outputs
    assert dataset.facets["version"].datasetVersion == "c0ffee"
    assert dataset.facets["documentation"].description == "image/png made by m in the job r-1"


def test_a_file_that_openlineage_cannot_be_told_of_is_said_and_the_others_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = ReportsLineage()
    whole = {"path": "s3://bucket/a.png", "size": 7, "content_type": "image/png"}
    task.brought_home = {"request_id": "r-1", "model_id": "m", "files": [{"path": "s3://bucket/b.png"}, whole]}
    (dataset,) = task.get_openlineage_facets_on_complete(None).outputs
    assert dataset.name == "a.png"
    assert "OpenLineage is not told of s3://bucket/b.png (KeyError: 'size')" in caplog.text
    assert "r-1" in caplog.text


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run the tasks of lineage_run.py; return what they left, and the events."""
    folder = tmp_path_factory.mktemp("lineage")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.lineage_run", str(folder)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return json.loads((folder / "left.json").read_text()), events


def told(events: list[dict[str, Any]], task_id: str, kind: str = "COMPLETE") -> dict[str, Any]:
    (event,) = [
        event for event in events if (event["job"]["name"].split(".")[-1], event["eventType"]) == (task_id, kind)
    ]
    return event


@pytest.mark.parametrize("task_id", ["on_the_worker", "deferred", "fetched"])
def test_each_saved_file_is_an_output_with_its_size_its_model_and_its_job(
    task_id: str, run: tuple[dict[str, Any], list[dict[str, Any]]]
) -> None:
    left, events = run
    assert left["deferred"] >= 1
    result, event = left["results"][task_id], told(events, task_id)
    assert len(event["outputs"]) == len(result["files"]) == 2
    for file, output in zip(result["files"], event["outputs"], strict=True):
        assert (output["namespace"], output["name"]) == ("file", file["path"].removeprefix("file://"))
        written = output["outputFacets"]["outputStatistics"]
        assert (written["size"], written["fileCount"]) == (file["size"], 1)
        assert written["_schemaURL"].startswith(FACETS)
        assert output["facets"]["version"]["datasetVersion"] == file["sha256"]
        assert result["request_id"] in output["facets"]["documentation"]["description"]
        assert result["model_id"] in output["facets"]["documentation"]["description"]
    job = event["run"]["facets"]["externalQuery"]
    assert (job["externalQueryId"], job["source"]) == (result["request_id"], result["model_id"])


def test_files_that_were_not_saved_are_no_outputs(run: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    left, events = run
    event = told(events, "left_there")
    assert event["outputs"] == []
    assert event["run"]["facets"]["externalQuery"]["externalQueryId"] == left["results"]["left_there"]["request_id"]


def test_a_failed_task_made_nothing(run: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    left, events = run
    assert [name for name, state in left["states"].items() if state != "success"] == ["failed"]
    assert told(events, "failed", "FAIL")["outputs"] == []
