"""Whoever reads the output may go away (``| head``); the job that was paid goes on, and its files come home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_falinvoke.emulator import Emulator

COMMAND = [
    sys.executable,
    "-m",
    "airflow_provider_falinvoke",
    "test-request",
    "fal-ai/flux/schnell",
    "--prompt",
    "a fox",
]


def nobody_reads() -> int:
    """Return the end to write to of a pipe that has no reader."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("output", ["json", "table"])
def test_a_result_that_nobody_reads_costs_no_file(output: str, emulator: Emulator, tmp_path: Path) -> None:
    writer = nobody_reads()
    ended = subprocess.run(
        [*COMMAND, "--yes", "--save-to", tmp_path, "--output", output],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=180,
    )
    os.close(writer)
    assert ended.returncode == 0, ended.stderr
    assert len(list(tmp_path.iterdir())) == 1
    assert "Saved " in ended.stderr
    assert "Broken pipe" not in ended.stderr


def test_a_job_whose_progress_nobody_reads_is_followed_to_its_end(emulator: Emulator, tmp_path: Path) -> None:
    writer = nobody_reads()
    ended = subprocess.run(
        [*COMMAND, "--yes", "--save-to", tmp_path],
        stdout=subprocess.PIPE,
        stderr=writer,
        text=True,
        check=False,
        timeout=180,
    )
    os.close(writer)
    assert ended.returncode == 0
    assert '"COMPLETED"' in ended.stdout
    assert len(list(tmp_path.iterdir())) == 1
