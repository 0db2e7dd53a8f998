"""The line that tells how far a job is, and what a call looks like from outside."""

from __future__ import annotations

import pytest

from airflow_provider_falinvoke.api.outcomes import Call, Failure, Pause, Reply, Resumed, Send
from airflow_provider_falinvoke.cli.watch import Watch, observed


def reply(status: int, body: bytes, at: float) -> Reply:
    return Reply(status, {}, body, at)


def test_an_observed_call_is_the_same_call() -> None:
    """Its steps, its outcomes, what it returns and what it raises."""

    def call() -> Call[str]:
        first = yield Send("GET", "/x")
        second = yield Pause(5.0)
        if second.at > 5:
            raise LookupError
        return f"{first.at} {second.at}"

    seen: list[object] = []
    watched = observed(call(), seen.append)
    assert next(watched) == Send("GET", "/x")
    answer = reply(200, b"", 1.0)
    assert watched.send(answer) == Pause(5.0)
    with pytest.raises(StopIteration) as stop:
        watched.send(Resumed(5.0))
    assert stop.value.value == "1.0 5.0"
    assert seen == [Send("GET", "/x"), answer, Pause(5.0), Resumed(5.0)]

    failing = observed(call(), seen.append)
    next(failing)
    failing.send(answer)
    with pytest.raises(LookupError):
        failing.send(Resumed(6.0))


def test_a_line_is_written_for_each_new_state(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch("job-1") as watch:
        watch.see(Failure("ConnectError", arrived=False, at=9.0))
        watch.see(reply(202, b'{"status": "QUEUED", "request_id": "r"}', 10.0))
        watch.see(reply(200, b'{"status": "QUEUED"}', 11.0))
        watch.see(reply(503, b"busy", 12.0))
        watch.see(reply(200, b'{"state": "weird"}', 14.0))
    assert capsys.readouterr().err.splitlines() == [
        "job-1: ConnectError",
        "job-1: QUEUED, 0 s",
        "job-1: 503 busy, 2 s",
        "job-1: weird, 4 s",
    ]
    assert watch.request_id == "r"
    assert watch.document == {"state": "weird"}


def test_on_a_terminal_the_line_is_written_over(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Watch() as watch:
        watch.see(reply(202, b'{"status": "IN_PROGRESS"}', 10.0))
        watch.see(reply(200, b'{"status": "QUEUED"}', 12.0))
    assert capsys.readouterr().err == "\rIN_PROGRESS, 0 s\rQUEUED, 2 s     \n"


def test_a_reply_that_is_no_json_is_no_document() -> None:
    watch = Watch(quiet=True)
    assert watch.document is None
    watch.see(reply(502, b"<html>bad gateway</html>", 1.0))
    assert watch.document is None
