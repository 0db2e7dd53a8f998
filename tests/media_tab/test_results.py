"""What of a task's result, or of what somebody wrote in its place, is shown."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from airflow_provider_falinvoke.media_tab.page import measures_of, seconds_of, size_of
from airflow_provider_falinvoke.media_tab.results import MOST_FILES, Job, read_line, read_result

FILE = {
    "path": "s3://c@b/x-1.png",
    "size": 85402,
    "sha256": "a" * 64,
    "content_type": "image/png",
    "width": 1024,
    "height": 768,
    "number": 1,
    "seed": 7,
    "source_url": "https://v3.fal.media/x.png",
    "saved_at": "2026-01-01T00:00:00+00:00",
}
RESULT = {"request_id": "r", "model_id": "m", "seconds": 2.5, "files": [FILE], "prompt": "A fox", "manifest": None}
SUMMARY = {"items": 30, "done": 28, "failed": 2, "ambiguous": 0, "manifest": "s3://c@b/t/manifest.jsonl"}


@pytest.mark.parametrize("value", [RESULT, json.dumps(RESULT)], ids=["a dict", "its JSON"])
def test_a_result_shows_its_files(value: Any) -> None:
    result = read_result(value)
    assert result is not None
    assert result.manifest is None
    assert result.job is not None
    assert (result.job.prompt, result.job.request_id, result.job.seconds) == ("A fox", "r", 2.5)
    assert [file.path for file in result.job.files] == ["s3://c@b/x-1.png"]


def test_the_models_own_prompt_stands_in_for_one_that_is_not_known() -> None:
    assert Job.of({**RESULT, "prompt": None, "output": {"prompt": "A hare"}}).prompt == "A hare"


def test_a_batch_shows_its_manifest_and_how_it_stands() -> None:
    result = read_result(SUMMARY)
    assert result is not None
    assert result.job is None
    assert result.manifest == SUMMARY["manifest"]
    assert result.summary == {"items": 30, "done": 28, "failed": 2, "ambiguous": 0}


def test_a_long_speech_shows_the_whole_and_its_parts() -> None:
    result = read_result({**RESULT, "request_id": None, "manifest": SUMMARY["manifest"], "parts": 3})
    assert result is not None
    assert result.job is not None
    assert (len(result.job.files), result.manifest) == (1, SUMMARY["manifest"])


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "",
        "a text",
        "[" * 5000,
        [],
        {},
        {"files": "x", "request_id": "r"},
        {"items": 3, "manifest": "/etc/hosts"},
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_not_ours_is_not_shown(value: Any) -> None:
    assert read_result(value) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        None,
        {**FILE, "size": "many"},
        {**FILE, "sha256": 'a"\r\nX-Injected: 1'},
        {**FILE, "sha256": "\u20ac"},
        {name: FILE[name] for name in ("path", "size")},
    ],
    ids=["empty", "null", "size", "a header in the checksum", "no hex", "half"],
)
def test_a_file_of_another_shape_is_left_out(wrong: Any) -> None:
    assert Job.of({**RESULT, "files": [wrong, FILE]}).files == Job.of(RESULT).files


def test_values_of_another_type_are_left_out() -> None:
    job = Job.of({"files": {}, "prompt": ["x"], "seconds": "2", "error": 3, "index": True, "model_id": ""})
    assert job == Job()
    assert Job.of({"index": 0.5}).error == "This entry cannot be read."


def test_of_a_hundred_thousand_files_no_more_are_read_than_are_shown() -> None:
    before = time.process_time()
    result = read_result({**RESULT, "files": [FILE] * 100_000, "more": "7"})
    assert time.process_time() - before < 1
    assert result is not None
    assert result.job is not None
    assert (len(result.job.files), result.job.more) == (MOST_FILES, 100_000 - MOST_FILES)


@pytest.mark.parametrize("line", [b"", b"x", b"[]", b"{}", b"\xff", b'{"files": []}', b"[" * 5000])
def test_a_line_of_another_file_is_no_job(line: bytes) -> None:
    assert read_line(line) is None


def test_a_line_of_a_manifest_is_a_job() -> None:
    job = read_line(json.dumps({**RESULT, "index": 3, "state": "done", "error": None}).encode())
    assert job is not None
    assert (job.index, job.state, len(job.files)) == (3, "done", 1)


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (85402, "85.4 kB"), (3 * 10**12, "3000.0 GB")]
)
def test_sizes_in_words(size: int, words: str) -> None:
    assert size_of(size) == words


def test_measures_in_words() -> None:
    (file,) = Job.of(RESULT).files
    assert measures_of(file) == "1024 \u00d7 768, 85.4 kB"
    sound = file.model_copy(update={"width": None, "height": None, "duration": 75.04, "sample_rate": 44100})
    assert measures_of(sound) == "1 min 15 s, 44.1 kHz, 85.4 kB"
    assert measures_of(sound.model_copy(update={"duration": float("nan")})) == "44.1 kHz, 85.4 kB"
    assert [seconds_of(each) for each in (0.04, 2.0, 59.99, 119.9)] == ["0.0 s", "2.0 s", "60.0 s", "2 min 0 s"]
