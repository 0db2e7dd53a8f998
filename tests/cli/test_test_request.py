"""``test-request``: what it sends, what it asks, what it prints, and how it ends."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_provider_falinvoke.cli import test_request as module
from airflow_provider_falinvoke.cli.watch import Watch
from airflow_provider_falinvoke.emulator import Emulator, Fault
from tests.api.server import answer, serving
from tests.cli.conftest import Connect, Run

FAST, SHORT, SLOW = "fal-ai/flux/schnell", "fal-ai/fast-sdxl", "fal-ai/flux/slow"
SPEECH = "fal-ai/elevenlabs/tts/multilingual-v2"
REQUEST = {"model_id": SHORT, "input": {"prompt": "a füx", "seed": 7}, "tags": [{"key": "team", "value": "a"}]}


def test_what_is_shown_is_what_is_sent(cli: Run, connect: Connect) -> None:
    """Method, URL, headers and body; but for the key."""
    with serving(answer(200, {"request_id": "r-1", "status": "COMPLETED", "output": {}})) as server:
        connect(host=server.base_url, port=None)
        ended = cli(
            "test-request", FAST, "--prompt", "a füx", "--input", '{"num_images": 2}', "--tag", "a=b=c", "--yes"
        )
    assert ended.code == 0, ended.err
    (seen,) = server.requests
    head, shown_body, _ = ended.err.split("\n\n", 2)
    first, *headers = head.splitlines()
    assert first == f"POST {server.base_url}{seen.path}"
    assert seen.headers.pop("authorization") == "Bearer emulator-key"
    assert dict(line.split(": ", 1) for line in headers) == {**seen.headers, "authorization": "Bearer ***"}
    assert json.loads(shown_body) == json.loads(seen.body)
    assert json.loads(seen.body) == {
        "model_id": FAST,
        "input": {"num_images": 2, "prompt": "a füx"},
        "tags": [{"key": "a", "value": "b=c"}],
    }
    assert "a füx" in ended.err


def test_the_reply_is_printed_as_it_came(cli: Run, emulator: Emulator) -> None:
    """The fields that this package does not know, too; and nothing else is on stdout."""
    emulator.add_fault(Fault("merge", on="get", value={"new_field": [1.5, None]}, times=None))
    ended = cli("test-request", SHORT, "--prompt", "a fox", "--yes")
    assert ended.code == 0, ended.err
    assert ended.document["new_field"] == [1.5, None]
    assert ended.document["status"] == "COMPLETED"
    assert ended.document["request_id"] == next(iter(emulator.jobs))
    assert ended.document["output"]["images"][0]["url"].startswith(emulator.media_url)
    assert len(emulator.posts()) == 1


@pytest.mark.parametrize("output", ["yaml", "table", "plain"])
def test_the_reply_can_be_printed_otherwise(output: str, cli: Run, emulator: Emulator) -> None:
    ended = cli("test-request", FAST, "--prompt", "a [/fox]", "--yes", "--output", output)
    assert ended.code == 0, ended.err
    for word in ("request_id", next(iter(emulator.jobs)), "COMPLETED", "[/fox]"):
        assert word in ended.out


def test_the_job_is_followed_on_stderr(cli: Run, emulator: Emulator) -> None:
    ended = cli("test-request", SHORT, "--prompt", "a fox", "--yes")
    told = ended.err[ended.err.index("QUEUED, 0 s") :].splitlines()
    assert told[1] == f"Submitted as {next(iter(emulator.jobs))}."
    assert told[-1].startswith("COMPLETED, ")


def test_the_files_are_saved(cli: Run, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into a folder that may be relative, and is made before anything is paid."""
    monkeypatch.chdir(tmp_path)
    ended = cli("test-request", FAST, "--prompt", "a fox", "--yes", "--save-to", "some/where else")
    assert ended.code == 0, ended.err
    (saved,) = (tmp_path / "some" / "where else").iterdir()
    assert saved.suffix == ".png"
    assert f"Saved file://{saved}" in ended.err


def test_a_folder_that_cannot_be_made_is_found_before_anything_is_paid(
    cli: Run, emulator: Emulator, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    ended = cli("test-request", FAST, "--prompt", "a fox", "--yes", "--save-to", str(tmp_path / "file" / "folder"))
    assert (ended.code, emulator.posts()) == (1, [])
    assert "cannot be written to" in ended.err


@pytest.mark.parametrize(
    ("typed", "posts", "code"), [("y\n", 1, 0), ("Yes\n", 1, 0), ("n\n", 0, 1), ("\n", 0, 1), ("", 0, 1)]
)
def test_it_asks_before_it_spends(typed: str, posts: int, code: int, *, cli: Run, emulator: Emulator) -> None:
    ended = cli("test-request", FAST, "--prompt", "a fox", typed=typed)
    assert (ended.code, len(emulator.posts())) == (code, posts)
    assert "Submit this paid job? [y/N]" in ended.err
    assert ("nothing is paid" in ended.err) is not bool(posts)


def test_where_nobody_can_be_asked_it_refuses(cli: Run, emulator: Emulator) -> None:
    ended = cli("test-request", FAST, "--prompt", "a fox")
    assert (ended.code, ended.out, emulator.requests) == (2, "", [])
    assert "--yes" in ended.err


def test_it_says_what_the_job_is_estimated_to_cost(cli: Run, connect: Connect) -> None:
    connect(extra={"prices": {FAST: {"per_image": 0.003}}})
    ended = cli("test-request", FAST, "--prompt", "a fox", "--input", '{"num_images": 4}')
    assert "Estimated cost: 0.012" in ended.err
    assert "not known" in cli("test-request", SHORT, "--prompt", "a fox").err


def test_what_is_probably_misspelt_is_said_before_the_question(cli: Run, emulator: Emulator) -> None:
    ended = cli("test-request", FAST, "--prompt", "a fox", "--input", '{"num_image": 4}', typed="n\n")
    assert "slip of the pen" in ended.err.partition("[y/N]")[0]
    assert "'num_images' meant?" in ended.err
    assert emulator.posts() == []


def test_a_request_in_a_file_is_sent_as_it_stands(cli: Run, emulator: Emulator, tmp_path: Path) -> None:
    """As the vendor's own Test request button takes it."""
    file = tmp_path / "request.json"
    file.write_text(json.dumps(REQUEST))
    ended = cli("test-request", "--file", str(file), "--yes")
    assert ended.code == 0, ended.err
    (job,) = emulator.jobs.values()
    assert {"model_id": job.model_id, "input": job.input, "tags": job.tags} == REQUEST


def test_speech_is_typed_with_text(cli: Run, emulator: Emulator) -> None:
    assert cli("test-request", SPEECH, "--text", "Hello", "--yes").code == 0
    assert next(iter(emulator.jobs.values())).input == {"text": "Hello"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "which model"),
        ([FAST, "--input", "{"], "--input is not JSON"),
        ([FAST, "--input", "[1]"], "not a JSON object"),
        ([FAST, "--input", '{"prompt": "a"}', "--prompt", "b"], "holds 'prompt' already"),
        ([FAST, "--prompt", "a", "--tag", "team"], "KEY=VALUE"),
        ([FAST, "--prompt", "a", "--input", '{"num_images": 0}'], "num_images"),
        ([FAST], "input.prompt"),
        (["--file", "/no/such/file"], "cannot be read"),
        (["--file", "request.json", FAST], "leave out MODEL_ID"),
        (["--file", "unknown.json"], "no field extra"),
        (["--file", "list.json"], "not a JSON object"),
        ([FAST, "--prompt", "a", "--timeout", "-1"], "--timeout: -1 is no number of seconds"),
        ([FAST, "--prompt", "a", "--timeout", "soon"], "--timeout: soon is no number of seconds"),
        ([FAST, "--prompt", "a", "--no-such-option"], "--no-such-option"),
    ],
)
def test_a_wrong_request_is_a_usage_error_and_not_sent(
    arguments: list[str], words: str, *, cli: Run, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("request.json").write_text(json.dumps(REQUEST))
    Path("unknown.json").write_text(json.dumps({**REQUEST, "extra": 1}))
    Path("list.json").write_text("[]")
    ended = cli("test-request", *arguments, "--yes")
    assert (ended.code, ended.out, emulator.requests) == (2, "", [])
    assert words in ended.err


def test_a_failed_job_is_3_and_its_reply_is_printed(cli: Run, emulator: Emulator) -> None:
    emulator.add_fault(Fault("fail", body="out of memory"))
    ended = cli("test-request", SHORT, "--prompt", "a fox", "--yes")
    assert (ended.code, ended.document["status"]) == (3, "FAILED")
    assert "out of memory" in ended.err
    assert "collect" not in ended.err


def test_a_timeout_is_4_and_says_how_to_collect_the_job(cli: Run, emulator: Emulator) -> None:
    ended = cli("test-request", SLOW, "--prompt", "a fox", "--yes", "--timeout", "0.6", "--save-to", "/tmp")
    (request_id,) = emulator.jobs
    assert (ended.code, ended.document["request_id"]) == (4, request_id)
    assert f"airflow falinvoke collect {request_id} --to /tmp" in ended.err


def test_a_submit_that_may_have_been_paid_says_so(cli: Run, emulator: Emulator) -> None:
    emulator.add_fault(Fault("drop", on="post", accepted=True))
    ended = cli("test-request", FAST, "--prompt", "a fox", "--yes")
    assert (ended.code, ended.out, len(emulator.posts())) == (1, "", 1)
    assert "not known whether the job was submitted" in ended.err
    assert "pay twice" in ended.err


def test_a_refusal_is_1_and_its_reply_is_printed(cli: Run, emulator: Emulator, connect: Connect) -> None:
    connect(password="a-key-that-is-wrong")
    ended = cli("test-request", FAST, "--prompt", "a fox", "--yes")
    assert (ended.code, ended.document["id"]) == (1, "unauthorized")
    assert "nothing is paid" in ended.err


def test_files_that_cannot_be_saved_leave_a_job_that_can_be_collected(
    cli: Run, emulator: Emulator, tmp_path: Path
) -> None:
    emulator.add_fault(Fault("answer", on="media", status=410, times=None))
    ended = cli("test-request", FAST, "--prompt", "a fox", "--yes", "--save-to", str(tmp_path))
    assert (ended.code, ended.document["status"]) == (1, "COMPLETED")
    assert f"collect {next(iter(emulator.jobs))} --to {tmp_path}" in ended.err


@pytest.mark.parametrize("what", ["all is well", "wrong key", "failed", "verbose"])
def test_the_key_is_not_shown(what: str, cli: Run, emulator: Emulator, connect: Connect) -> None:
    if what == "wrong key":
        connect(password=emulator.api_key + "x")
    if what == "failed":
        emulator.add_fault(Fault("fail", body=f"the key {emulator.api_key} was refused"))
    flags = ["--verbose"] if what == "verbose" else []
    ended = cli("test-request", SHORT, "--prompt", "a fox", "--yes", *flags)
    assert "***" in ended.err
    assert emulator.api_key not in ended.out + ended.err


def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_wait_names_the_job_and_how_to_collect_it(
    cli: Run, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ended", interrupt)
    ended = cli("test-request", SLOW, "--prompt", "a fox", "--yes", "--save-to", "/tmp/o k")
    (request_id,) = emulator.jobs
    assert ended.code == 130
    assert f"airflow falinvoke collect {request_id} --to '/tmp/o k'" in ended.err


def test_an_interrupted_submit_says_that_it_may_be_paid(
    cli: Run, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpx.Client, "send", interrupt)
    ended = cli("test-request", SLOW, "--prompt", "a fox", "--yes")
    assert ended.code == 130
    assert "not known whether the job was submitted" in ended.err


def test_an_interruption_before_the_submit_costs_nothing() -> None:
    args = Namespace(conn_id="other", save_to=None)
    assert "nothing is paid" in module._left_behind(Watch(), args)


def test_an_interruption_at_the_question_costs_nothing(
    cli: Run, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.cli.conftest.Typed.readline", interrupt)
    ended = cli("test-request", SLOW, "--prompt", "a fox", typed="")
    assert (ended.code, emulator.posts()) == (130, [])
    assert ended.err.endswith("[y/N] \nNot submitted; nothing is paid.\n")


def test_the_end_of_the_input_is_a_no(cli: Run, emulator: Emulator) -> None:
    """Ctrl-D, which leaves the cursor behind the question."""
    ended = cli("test-request", SLOW, "--prompt", "a fox", typed="")
    assert (ended.code, emulator.posts()) == (1, [])
    assert ended.err.endswith("[y/N] \nNot submitted; nothing is paid.\n")
