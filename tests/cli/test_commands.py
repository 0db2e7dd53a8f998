"""The commands that spend nothing: models, get, collect, emulator."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke.cli import commands
from airflow_provider_falinvoke.cli.definition import EMULATOR_OPTIONS
from airflow_provider_falinvoke.emulator import Emulator, Fault
from airflow_provider_falinvoke.emulator.__main__ import _parser
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from tests.cli.conftest import Connect, Run

FAST, SHORT, SLOW = "fal-ai/flux/schnell", "fal-ai/fast-sdxl", "fal-ai/flux/slow"


def submit(model_id: str) -> str:
    """Return the request_id of a new job."""
    return FalInvokeHook().submit(model_id, {"prompt": "a fox"}).request_id or ""


def test_models_lists_what_the_host_names_and_says_what_it_does_not(cli: Run, emulator: Emulator) -> None:
    ended = cli("models", "--output", "json")
    assert ended.code == 0
    assert {"model_id": "openai-gpt-oss-120b"} in ended.document
    assert "does not list fal's models" in ended.err
    assert emulator.posts() == []


@pytest.mark.parametrize("output", ["table", "yaml", "plain"])
def test_models_prints_in_the_formats_of_airflow(output: str, cli: Run, emulator: Emulator) -> None:
    assert "openai-gpt-oss-120b" in cli("models", "--output", output).out


def test_get_prints_what_the_api_tells(cli: Run, emulator: Emulator) -> None:
    request_id = submit(SLOW)
    emulator.add_fault(Fault("merge", on="get", value={"new_field": 1}))
    ended = cli("get", request_id)
    assert (ended.code, ended.err) == (0, "")
    assert ended.document["request_id"] == request_id
    assert (ended.document["status"], ended.document["new_field"]) == ("QUEUED", 1)
    assert len(emulator.gets()) == 1


def test_an_id_that_nobody_knows_is_1(cli: Run, emulator: Emulator) -> None:
    ended = cli("get", "nobody")
    assert (ended.code, ended.out) == (1, "")
    assert "nobody" in ended.err
    assert "collect" not in ended.err


def test_collect_waits_for_a_job_and_saves_its_files(cli: Run, emulator: Emulator, tmp_path: Path) -> None:
    request_id = submit(SHORT)
    ended = cli("collect", request_id, "--to", str(tmp_path / "out"), "-o", "json")
    assert ended.code == 0, ended.err
    (saved,) = (tmp_path / "out").iterdir()
    assert ended.document == [
        {"request_id": request_id, "outcome": "saved", "files": [f"file://{saved}"], "error": None}
    ]
    assert f"{request_id}: COMPLETED" in ended.err
    assert len(emulator.posts()) == 1


def test_what_is_not_saved_is_said(cli: Run, emulator: Emulator, tmp_path: Path) -> None:
    request_id = submit(FAST)
    picture = {"url": f"{emulator.media_url}/files/{request_id}/0.png"}
    output = {"images": [picture], "preview": {"url": "https://media.invalid/a.png"}}
    emulator.add_fault(Fault("merge", on="get", value={"output": output}))
    ended = cli("collect", request_id, "--to", str(tmp_path), "-o", "json")
    assert ended.code == 0, ended.err
    assert f"{request_id}: not saved: preview.url (a URL, and not in the shape of a file)" in ended.err


def test_collect_goes_on_past_a_job_that_fails_and_the_exit_code_says_so(
    cli: Run, emulator: Emulator, tmp_path: Path
) -> None:
    """The code is that of the first one that is not home; an id given twice is collected once."""
    emulator.add_fault(Fault("fail", body="out of memory"))
    failed, good = submit(FAST), submit(FAST)
    ended = cli("collect", good, failed, "nobody", good, "--to", str(tmp_path), "-o", "json")
    assert ended.code == 3
    assert [(row["request_id"], row["outcome"]) for row in ended.document] == [
        (good, "saved"),
        (failed, "job failed"),
        ("nobody", "failed"),
    ]
    assert "out of memory" in ended.document[1]["error"]
    assert len(list(tmp_path.iterdir())) == 1


def test_collect_gives_up_when_its_time_is_up(cli: Run, emulator: Emulator, tmp_path: Path) -> None:
    slow, good = submit(SLOW), submit(FAST)
    ended = cli("collect", slow, good, "--to", str(tmp_path), "--timeout", "1.2", "-o", "json")
    assert ended.code == 4
    assert [row["outcome"] for row in ended.document] == ["still running", "saved"]
    assert f"collect {slow} --to {tmp_path}" in ended.err


def test_an_interrupted_collect_says_what_is_left(
    cli: Run, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_home = commands._bring_home

    def interrupted(request_id: str, *rest: Any) -> Any:
        if request_id == slow:
            raise KeyboardInterrupt
        return bring_home(request_id, *rest)

    monkeypatch.setattr(commands, "_bring_home", interrupted)
    good, slow, last = submit(FAST), submit(SLOW), submit(SLOW)
    ended = cli("collect", good, slow, last, "--to", str(tmp_path), "-o", "json")
    assert (ended.code, [row["outcome"] for row in ended.document]) == (130, ["saved"])
    assert f"collect {slow} {last} --to {tmp_path}" in ended.err


def test_a_collect_that_is_interrupted_at_its_first_job_prints_no_table(
    cli: Run, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "_bring_home", interrupted)
    ended = cli("collect", "a", "--to", str(tmp_path))
    assert (ended.code, ended.out) == (130, "")


@pytest.mark.usefixtures("airflow_db")
def test_a_connection_that_is_not_defined_is_a_sentence(cli: Run) -> None:
    ended = cli("models", "--conn-id", "not_there")
    assert (ended.code, ended.out) == (1, "")
    assert "not_there" in ended.err
    assert "airflow connections import FILE" in ended.err
    assert '{"not_there": {"conn_type": "falinvoke", "password": ' in ended.err
    assert "--conn-id" in ended.err


def test_an_api_out_of_reach_is_a_sentence(cli: Run, connect: Connect) -> None:
    connect(host="https://api.invalid")
    ended = cli("models")
    assert ended.code == 1
    assert "Check the connection's host" in ended.err


def test_an_api_that_speaks_plain_http_is_told_from_others(cli: Run, connect: Connect, emulator: Emulator) -> None:
    connect(schema="https")
    assert "for plain HTTP, the connection's schema is http" in cli("models").err
    connect(host="https://api.invalid")
    assert "plain HTTP" not in cli("models").err


def test_the_emulator_takes_the_place_of_the_command(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(os, "execv", lambda *words: started.append(words))
    given = ["--port", "8000", "--duration", "a/b=1", "--duration", "c/d=2", "--quiet"]
    assert cli("emulator", *given).code == 0
    ((program, words),) = started
    assert (program, words[:3]) == (sys.executable, [sys.executable, "-m", "airflow_provider_falinvoke.emulator"])
    assert _parser().parse_args(words[3:]) == _parser().parse_args(given)


def test_the_emulators_options_are_all_offered() -> None:
    """They are written down a second time, because Airflow reads them at each of its commands."""
    own = {
        action.option_strings[0]: (action.nargs != 0, isinstance(action.default, list), action.help)
        for action in _parser()._actions
        if action.dest != "help"
    }
    offered = {flag: (metavar is not None, repeated) for flag, metavar, repeated, _ in EMULATOR_OPTIONS}
    assert offered == {flag: kinds[:2] for flag, kinds in own.items()}


def test_without_pillow_the_emulator_says_what_to_install(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "find_spec", lambda name: None)
    ended = cli("emulator")
    assert ended.code == 1
    assert "install airflow-provider-falinvoke[emulator], with your Airflow's constraints" in ended.err
