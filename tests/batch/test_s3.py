"""A batch whose inputs, files and journal lie on S3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke.emulator import Emulator
from tests.support.batches import Runner, posts_by_prompt
from tests.support.s3 import Bucket

pytestmark = pytest.mark.usefixtures("quick_deferral")


def test_inputs_and_files_may_lie_on_s3(emulator: Emulator, s3_server: Bucket, tmp_path: Path) -> None:
    from airflow.sdk import ObjectStoragePath

    s3 = s3_server.path("campaign")
    inputs: Any = ObjectStoragePath(f"{s3}/inputs.jsonl")
    with inputs.open("wb") as file:
        file.write(
            "\n".join(json.dumps({"prompt": prompt}) for prompt in [f"p{number}" for number in range(12)]).encode()
        )
    run = Runner(s3, inputs=f"{s3}/inputs.jsonl", max_in_flight=6)
    summary = run.try_()
    assert summary["done"] == 12
    manifest: Any = ObjectStoragePath(summary["manifest"])
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [row["output"]["prompt"] for row in rows] == [f"p{number}" for number in range(12)]
    picture: Any = ObjectStoragePath(rows[0]["files"][0]["path"])
    assert picture.stat().st_size == rows[0]["files"][0]["size"]
    assert posts_by_prompt(emulator) == dict.fromkeys(posts_by_prompt(emulator), 1)
