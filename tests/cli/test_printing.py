"""What the API says is shown, and does nothing to the terminal that it is shown on."""

from __future__ import annotations

import json

import pytest

from airflow_provider_falinvoke.api.outcomes import Reply
from airflow_provider_falinvoke.cli.printing import print_document, print_rows
from airflow_provider_falinvoke.cli.streams import say
from airflow_provider_falinvoke.cli.watch import Watch

ODD = "a\x1b[2J\x9b31m\u202e\u2028\u200b\ud800\r\nb [bold]é"


def is_harmless(text: str) -> bool:
    return text.replace("\n", "").isprintable()


@pytest.mark.parametrize("output", ["json", "yaml", "table", "plain"])
def test_nothing_that_is_printed_acts(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    odd = ODD if output != "yaml" else ODD.replace("\ud800", "")  # which what was read has not
    print_document({"request_id": odd, odd: [odd]}, output)
    print_rows([{"request_id": odd, "files": [odd, odd]}], output)
    out = capsys.readouterr().out
    assert is_harmless(out)
    assert "[bold]" in out


def test_json_for_a_program_is_the_same_data(capsys: pytest.CaptureFixture[str]) -> None:
    for document in ({"request_id": ODD, "face": "👩\u200d🚀\U000e0041"}, [ODD], None):
        print_document(document, "json")
        assert json.loads(capsys.readouterr().out) == document


def test_what_is_said_keeps_its_lines_and_nothing_in_it_acts(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"one\ntwo {ODD}")
    err = capsys.readouterr().err
    assert is_harmless(err)
    assert err.startswith("one\ntwo a\\x1b[2J")


def test_the_line_of_a_watch_is_one_line_whatever_the_state(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for is_terminal in (True, False):
        monkeypatch.setattr("sys.stderr.isatty", lambda is_terminal=is_terminal: is_terminal)
        watch = Watch(ODD)
        watch.see(Reply(200, {}, json.dumps({"request_id": ODD, "status": ODD}).encode(), 1.0))
        watch.see(Reply(503, {}, json.dumps({"message": ODD}).encode(), 2.0))
        err = capsys.readouterr().err
        assert err.count("\r") == 2 * is_terminal
        assert is_harmless(err.replace("\r", ""))
        assert watch.request_id == ODD.replace("\ud800", "\ufffd")


def test_the_id_of_the_submit_stays_whatever_a_poll_answers() -> None:
    watch = Watch(quiet=True)
    watch.see(Reply(202, {}, b'{"request_id": "r1", "status": "QUEUED"}', 1.0))
    watch.see(Reply(200, {}, b'{"request_id": "r2", "status": "QUEUED"}', 2.0))
    assert watch.request_id == "r1"


def test_the_document_is_what_was_read_without_the_key() -> None:
    key = "sk-do-v1/0123456789"
    watch = Watch(quiet=True)
    body = b'data: {"message": "' + key.replace("/", "\\/").encode() + b'"}\n\n'
    watch.see(Reply(200, {}, body, 1.0, key=key))
    assert watch.document == {"message": "***"}
