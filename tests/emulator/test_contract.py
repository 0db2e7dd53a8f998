"""The emulator keeps to the contract that it publishes: schemathesis looks for where it does not."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from airflow_provider_falinvoke.emulator import Emulator, Fault
from tests.emulator.client import running

#: Set where it has to be there: without it these tests are skipped, and prove nothing.
REQUIRED = "FALINVOKE_REQUIRE_SCHEMATHESIS"

needs_schemathesis = pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None and not os.environ.get(REQUIRED),
    reason="schemathesis is not installed",
)


def schemathesis(emulator: Emulator, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Test the emulator against its contract, with the same examples each time."""
    command = [
        *(sys.executable, "-c", "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"),
        *("run", f"{emulator.url}/openapi.json", "--checks", "all", "--seed", "1", "--max-examples", "15"),
        *("--header", f"Authorization: Bearer {emulator.api_key}", "--no-color", *options),
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)


@needs_schemathesis
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    with Emulator(quota_per_minute=None, quota_per_hour=None, time_scale=1000) as emulator:
        done = schemathesis(emulator, tmp_path)
        accepted = [post for post in emulator.posts() if post.accepted]
        refused = {post.status for post in emulator.posts()} - {200, 202}
        found = [get for get in emulator.gets() if get.status == 200]
    assert done.returncode == 0, done.stdout
    assert "No issues found" in done.stdout
    assert len(accepted) > 20
    assert {400, 401, 415, 422} & refused >= {401, 422}, "it tried what is wrong too"
    assert len(found) > 20, "it followed the links from a submit to its job"
    assert all(str(post.status)[0] != "5" for post in emulator.requests)


@needs_schemathesis
@pytest.mark.parametrize("fault", [Fault("omit", value="created_at", times=None), Fault("answer", times=None)])
def test_it_finds_what_breaks_the_contract(fault: Fault, tmp_path: Path) -> None:
    with Emulator(quota_per_minute=None, quota_per_hour=None) as emulator:
        emulator.add_fault(fault)
        done = schemathesis(emulator, tmp_path, "--phases", "fuzzing", "--max-failures", "1", "--max-examples", "3")
    assert done.returncode == 1, done.stdout
    assert re.search("violates schema|missing|Server error", done.stdout)


def test_the_contract_needs_no_key_and_leaves_no_record() -> None:
    with running(durations={"acme/painter": 1, "acme/tts": 1}, statuses={"COMPLETED": "COMPLETE"}) as api:
        answer = httpx.get(f"{api.emulator.url}/openapi.json")
        assert not api.emulator.requests
    document = answer.json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/v1/async-invoke",
        "/v1/async-invoke/{request_id}",
        "/v1/async-invoke/{request_id}/status",
        "/v1/models",
    }
    schemas = document["components"]["schemas"]
    assert "COMPLETE" in schemas["Invocation"]["properties"]["status"]["enum"]
    families = [one["properties"]["model_id"]["enum"] for one in schemas["InvokeRequest"]["anyOf"]]
    assert families[0] == ["fal-ai/flux/schnell"]
    assert "acme/painter" in families[1]
    assert "acme/tts" in families[3]
