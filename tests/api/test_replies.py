from __future__ import annotations

import json
import sys
import time
from datetime import datetime, timezone
from typing import Any

import pytest

from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus
from airflow_provider_falinvoke.api.printable import printable
from airflow_provider_falinvoke.api.replies import (
    MEDIA_KEYS,
    read_error,
    read_error_body,
    read_invocation,
    read_model_ids,
    read_status,
    read_submitted,
    read_time,
)

QUEUED, IN_PROGRESS = InvocationStatus.QUEUED, InvocationStatus.IN_PROGRESS
COMPLETED, FAILED, UNKNOWN = InvocationStatus.COMPLETED, InvocationStatus.FAILED, InvocationStatus.UNKNOWN

SPELLINGS = {
    "QUEUED": QUEUED,
    "IN_QUEUE": QUEUED,
    "PENDING": QUEUED,
    "IN_PROGRESS": IN_PROGRESS,
    "PROCESSING": IN_PROGRESS,
    "RUNNING": IN_PROGRESS,
    "COMPLETED": COMPLETED,
    "COMPLETE": COMPLETED,
    "SUCCEEDED": COMPLETED,
    "SUCCESS": COMPLETED,
    "FAILED": FAILED,
    "ERROR": FAILED,
    "CANCELLED": FAILED,
    "CANCELED": FAILED,
}

UNREADABLE = {
    "nothing": b"",
    "a list of several": b'[{"status": "QUEUED"}, {"status": "QUEUED"}]',
    "an error": b'{"id": "too_many_requests", "message": "Slow down.", "request_id": "r1"}',
    "null": b"null",
    "a number": b"202",
    "a string": b'"QUEUED"',
    "true": b"true",
    "HTML": b"<html><body>502 Bad Gateway</body></html>",
    "cut off": b'{"request_id": "r1", "status": "COMPL',
    "binary": bytes(range(256)),
    "an empty object": b"{}",
    "an object of something else": b'{"hello": "world"}',
    "very deep": b'{"output":' * 200_000,
    "very deep lists": b"[" * 200_000 + b"]" * 200_000,
}


def read(data: Any, request_id: str | None = None) -> Invocation:
    invocation = read_invocation(json.dumps(data).encode(), request_id=request_id)
    assert invocation is not None
    return invocation


@pytest.mark.parametrize(("spelling", "status"), SPELLINGS.items())
def test_each_spelling_of_a_status_is_read_in_any_case(spelling: str, status: InvocationStatus) -> None:
    for word in (spelling, spelling.lower(), spelling.title(), f" {spelling}\n", spelling.replace("_", " ")):
        assert read_status(word) is status
        invocation = read({"request_id": "r1", "status": word})
        assert invocation.status is status
        assert invocation.raw_status == printable(word)
    assert read_status(spelling.replace("_", "-").lower()) is status


def test_only_completed_and_failed_are_ends() -> None:
    assert {status for status in InvocationStatus if status.ended} == {COMPLETED, FAILED}


@pytest.mark.parametrize("word", ["THROTTLED", "DONE?", "completedish", "未知"])
def test_an_unknown_status_is_unknown_and_kept_as_it_was_spelled(word: str) -> None:
    invocation = read({"request_id": "r1", "status": word})
    assert (invocation.status, invocation.raw_status) == (UNKNOWN, word)


@pytest.mark.parametrize("word", [None, "", "  ", 7, True, [], {}])
def test_a_status_that_is_no_word_is_unknown(word: object) -> None:
    assert read({"request_id": "r1", "status": word}).status is UNKNOWN


def test_the_documented_invocation_is_read_whole() -> None:
    invocation = read(
        {
            "request_id": "6590784a-ce47-4556-9ff4-53baff2693fb",
            "status": "COMPLETED",
            "model_id": "fal-ai/fast-sdxl",
            "created_at": "2026-01-22T19:19:19.112403432Z",
            "started_at": None,
            "completed_at": "2026-01-22T19:19:22.500000000Z",
            "output": {"images": [{"url": "https://v3.fal.media/a.png"}]},
            "error": None,
        }
    )
    assert invocation == Invocation(
        request_id="6590784a-ce47-4556-9ff4-53baff2693fb",
        status=COMPLETED,
        raw_status="COMPLETED",
        model_id="fal-ai/fast-sdxl",
        created_at=datetime(2026, 1, 22, 19, 19, 19, 112403, tzinfo=timezone.utc),
        completed_at=datetime(2026, 1, 22, 19, 19, 22, 500000, tzinfo=timezone.utc),
        output={"images": [{"url": "https://v3.fal.media/a.png"}]},
    )
    assert invocation.seconds == 3.388


@pytest.mark.parametrize("missing", ["created_at", "completed_at"])
def test_without_both_times_the_seconds_are_not_known(missing: str) -> None:
    times = {"created_at": "2026-01-22T19:19:19Z", "completed_at": "2026-01-22T19:19:22Z"}
    assert read({"request_id": "r1", "status": "COMPLETED", **times, missing: None}).seconds is None


def test_state_is_read_for_status_and_id_for_request_id() -> None:
    invocation = read({"id": "r1", "state": "complete"})
    assert (invocation.request_id, invocation.status, invocation.raw_status) == ("r1", COMPLETED, "complete")


def test_a_null_status_beside_a_state_leaves_the_state_to_count() -> None:
    assert read({"request_id": "r1", "status": None, "state": "COMPLETED"}).status is COMPLETED


def test_status_wins_over_state_and_request_id_over_id() -> None:
    invocation = read({"request_id": "r1", "id": "db-7", "status": "QUEUED", "state": "COMPLETED"})
    assert (invocation.request_id, invocation.status) == ("r1", QUEUED)


def test_a_status_alone_belongs_to_the_id_that_was_asked_for() -> None:
    assert read({"status": "IN_PROGRESS"}, "r1").request_id == "r1"
    assert read({"status": "IN_PROGRESS"}).request_id is None


def test_the_id_that_was_asked_for_wins_over_an_id_that_may_mean_something_else() -> None:
    assert read({"id": "db-7", "status": "FAILED"}, "r1").request_id == "r1"


def test_an_id_that_is_a_number_becomes_text() -> None:
    assert read({"request_id": 17, "status": "QUEUED"}).request_id == "17"


@pytest.mark.parametrize(
    "result",
    [
        {"images": [{"url": "https://v3.fal.media/a.png"}], "seed": 7},
        {"audio": {"url": "https://v3.fal.media/a.mp3"}},
        {"audio_file": {"url": "https://v3.fal.media/a.wav"}},
        {"video": {"url": "https://v3.fal.media/a.mp4"}},
        {"url": "https://v3.fal.media/a.png"},
        {"b64_json": "iVBORw0KGgo="},
        {"images": [], "id": "img-7"},
    ],
)
def test_a_result_without_its_envelope_is_completed_and_is_the_output(result: dict[str, Any]) -> None:
    invocation = read(result, "r1")
    assert (invocation.status, invocation.output, invocation.request_id) == (COMPLETED, result, "r1")
    assert read(result).request_id is None


def test_an_output_without_a_status_is_completed() -> None:
    assert read({"request_id": "r1", "output": "data:image/png;base64,AAAA"}).status is COMPLETED


def test_an_error_without_a_status_is_failed() -> None:
    invocation = read({"request_id": "r1", "error": "NSFW"})
    assert (invocation.status, invocation.error) == (FAILED, "NSFW")


def test_an_id_alone_is_an_unknown_state_and_so_pending() -> None:
    assert read({"request_id": "r1"}).status is UNKNOWN
    assert read({"id": "r1"}).request_id == "r1"


def test_a_failed_status_wins_over_an_output() -> None:
    assert read({"request_id": "r1", "status": "FAILED", "output": {"images": []}}).status is FAILED


def test_fields_of_a_wrong_type_are_left_out_and_spoil_nothing() -> None:
    invocation = read(
        {"request_id": "r1", "status": "QUEUED", "model_id": 7, "created_at": 1769109559, "started_at": {}, "error": 0}
    )
    assert invocation == Invocation(request_id="r1", status=QUEUED, raw_status="QUEUED")


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_holds_no_invocation_reads_as_none_and_never_raises(body: bytes) -> None:
    assert read_invocation(body) is None
    assert read_invocation(body, request_id="r1") is None


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_any_error_body_becomes_one_short_line(body: bytes) -> None:
    line = read_error_body(body)
    assert line
    assert "\n" not in line
    assert len(line) <= 300


def test_utf_8_with_a_byte_order_mark_is_read() -> None:
    assert read_invocation(b'\xef\xbb\xbf{"request_id": "r1", "status": "QUEUED"}') is not None


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("NSFW content", "NSFW content"),
        ("two\n  lines", "two lines"),
        ({"message": "NSFW content"}, "NSFW content"),
        ({"message": "", "detail": "no face found"}, "no face found"),
        ({"detail": "no face found"}, "no face found"),
        (
            {"detail": [{"loc": ["body", "prompt"], "msg": "field required", "type": "value_error.missing"}]},
            "body.prompt: field required",
        ),
        (
            {"detail": [{"loc": ["body", "images", 0], "msg": "too\nlarge"}, {"msg": "and so on"}]},
            "body.images.0: too large; and so on",
        ),
        ({"error": {"message": "quota"}}, "quota"),
        ([{"message": "a"}, "b"], "a; b"),
        ({"code": 7}, '{"code": 7}'),
        (7, "7"),
        (True, "true"),
    ],
)
def test_each_shape_of_an_error_becomes_one_line(error: object, line: str) -> None:
    assert read_error(error) == line
    assert read({"request_id": "r1", "status": "FAILED", "error": error}).error == line


@pytest.mark.parametrize("error", [None, "", {}, []])
def test_an_empty_error_is_none(error: object) -> None:
    assert read({"request_id": "r1", "status": "FAILED", "error": error}).error is None


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"error":', b"}"), (b'[{"detail":', b"}]")])
@pytest.mark.parametrize("depth", [100, 600, 900, 5_000])
def test_a_deeply_nested_error_is_read_without_a_recursion_error(depth: int, opening: bytes, closing: bytes) -> None:
    body = b'{"status": "FAILED", "error": ' + opening * depth + b'"deep"' + closing * depth + b"}"
    read_invocation(body, request_id="r1")
    assert len(read_error_body(body)) <= 300


def test_a_long_error_is_cut() -> None:
    assert len(read_error("x" * 10_000)) == 200
    assert read_error("x" * 10_000).endswith("…")


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b'{"id": "unauthorized", "message": "Unable to authenticate you."}', "Unable to authenticate you."),
        (b'{"error": {"message": "Too many requests"}}', "Too many requests"),
        (b'{"detail": [{"loc": ["body"], "msg": "bad"}]}', "body: bad"),
        (b"upstream connect\nerror", "upstream connect error"),
        (b"", "an empty body"),
        (b" \n ", "an empty body"),
        (b"\xf0\xf1", "\ufffd\ufffd"),
        (
            b"<!DOCTYPE html><html><head><style>p {}</style><script>x()</script></head><h1>502</h1> Bad Gateway</html>",
            "an HTML page: 502 Bad Gateway",
        ),
    ],
)
def test_an_error_body_is_said_in_one_line(body: bytes, line: str) -> None:
    assert read_error_body(body) == line


def test_a_page_of_megabytes_does_not_hold_up_the_event_loop() -> None:
    started = time.thread_time()
    assert read_error_body(b"<html>" + b"<script" * 20_000)
    assert time.thread_time() - started < 0.5


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-22T19:19:19.112403432Z", datetime(2026, 1, 22, 19, 19, 19, 112403)),
        ("2026-01-22T19:19:19.5z", datetime(2026, 1, 22, 19, 19, 19, 500000)),
        ("2026-01-22T19:19:19Z", datetime(2026, 1, 22, 19, 19, 19)),
        ("2026-01-22 19:19:19", datetime(2026, 1, 22, 19, 19, 19)),
        ("2026-01-22T19:19:19.999999999+02:00", datetime(2026, 1, 22, 17, 19, 19, 999999)),
        (" 2026-01-22T19:19:19-0530 ", datetime(2026, 1, 23, 0, 49, 19)),
    ],
)
def test_a_time_is_read_in_utc_with_any_number_of_digits(text: str, moment: datetime) -> None:
    assert read_time(text) == moment.replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "value",
    [
        None,
        1769109559,
        "",
        "yesterday",
        "2026-02-30T00:00:00Z",
        "2026-01-22",
        "2026-01-22T19:19:19+99:00",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
        {},
    ],
)
def test_a_time_that_cannot_be_read_is_none(value: object) -> None:
    assert read_time(value) is None


def test_model_ids_are_read() -> None:
    body = b'{"object": "list", "data": [{"id": "a"}, {"id": 7}, {"name": "x"}, "y", null]}'
    assert read_model_ids(body) == ["a", "7"]
    assert read_model_ids(b'{"data": []}') == []


@pytest.mark.parametrize("body", [*UNREADABLE.values(), b'{"data": null}', b'{"data": {"id": "a"}}'])
def test_a_list_of_models_that_cannot_be_read_is_none(body: bytes) -> None:
    assert read_model_ids(body) is None


def test_the_recursion_limit_of_these_tests_is_pythons_own() -> None:
    assert sys.getrecursionlimit() <= 1_000


def test_an_error_that_cannot_even_be_written_is_still_said() -> None:
    error: list[Any] = []
    for _ in range(5_000):
        error = [error]
    said = read_error(error)
    assert said == "an error that is nested too deeply to be read" or said.startswith("[[")  # Python 3.12+ writes it
    assert len(said) <= 200


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (None, False),
        ("out of memory", False),
        ({"message": "worker died"}, False),
        ("Request refused: content_policy_violation", True),
        ({"message": "flagged by our moderation"}, True),
        ({"detail": [{"loc": ["prompt"], "msg": "field required", "type": "missing"}]}, True),
        ({"detail": [{"loc": ["num_images"], "msg": "too many", "type": "less_than_equal"}]}, True),
        ({"detail": [{"loc": ["body"], "msg": "no", "type": "content_policy_violation"}]}, True),
        ({"detail": [{"loc": ["body"], "msg": "took too long", "type": "generation_timeout"}]}, False),
        ({"detail": [{"loc": ["body"], "msg": "oops", "type": "internal_server_error"}]}, False),
        ({"detail": [{"loc": ["body", "prompt"], "msg": "field required", "type": "value_error.missing"}]}, True),
        ({"detail": ["text"]}, False),
    ],
)
def test_a_failure_that_the_same_request_will_meet_again_is_told_from_a_passing_one(error: Any, refused: bool) -> None:
    body = json.dumps({"request_id": "r1", "status": "FAILED", "error": error}).encode()
    invocation = read_invocation(body)
    assert invocation is not None
    assert invocation.refused is refused


@pytest.mark.parametrize("text", [r'{"status": "COMPLETED", "output": {"characters": ["\ud83d", "\ude00"]}}'])
def test_half_a_character_does_not_get_into_airflow(text: str) -> None:
    """One lone surrogate in an event would end the whole triggerer."""
    invocation = read_invocation(text.encode())
    assert invocation is not None
    json.dumps(invocation.output, ensure_ascii=False).encode()


def test_a_zero_character_does_not_get_into_airflow() -> None:
    r"""PostgreSQL takes no U+0000 into XCom. A text that only speaks of \u0000 keeps its backslashes."""
    invocation = read_invocation(
        rb'{"status": "COMPLETED", "output": {"prompt": "a\u0000\u0000b", "n": "\\u0000 \\\u0000"}}'
    )
    assert invocation is not None
    assert invocation.output == {"prompt": "a\ufffd\ufffdb", "n": "\\u0000 \\\ufffd"}


def test_a_whole_character_that_was_escaped_is_kept() -> None:
    invocation = read_invocation(rb'{"status": "COMPLETED", "output": {"text": "\ud83d\ude00 \u00e9"}}')
    assert invocation is not None
    assert invocation.output == {"text": "\U0001f600 é"}


def test_what_airflow_cannot_carry_is_made_portable_wherever_it_stands() -> None:
    """See test_portable.py for what else."""
    invocation = read_invocation(
        b'{"request_id": "r\\ud800", "status": "COMPLETED\xed\xa0\x80", "model_id": "m\\u0000", "output": '
        b'{"score": NaN, "far": -Infinity, "seed": 18446744073709551616, "__classname__": "x"}}'
    )
    assert invocation is not None
    assert (invocation.request_id, invocation.raw_status, invocation.model_id) == (
        "r\ufffd",
        "COMPLETED\ufffd",
        "m\ufffd",
    )
    assert invocation.output == {
        "score": "NaN",
        "far": "-Infinity",
        "seed": "18446744073709551616",
        "___classname__": "x",
    }


def test_an_error_of_many_items_is_an_excerpt() -> None:
    error = [{"loc": ["body", "prompt"], "msg": "m" * 50}] * 100_000
    invocation = read_invocation(json.dumps({"request_id": "r1", "status": "FAILED", "error": error}).encode())
    assert invocation is not None
    assert len(str(invocation.error)) < 3_000


@pytest.mark.parametrize("key", MEDIA_KEYS)
def test_a_result_beside_its_status_is_not_lost(key: str) -> None:
    data = {"request_id": "r1", "status": "COMPLETED", key: "https://fal.media/x"}
    invocation = read_invocation(json.dumps(data).encode())
    assert invocation is not None
    assert invocation.output == data
    bare = read_invocation(json.dumps({key: "https://fal.media/x"}).encode(), request_id="r1")
    assert bare is not None
    assert bare.status is InvocationStatus.COMPLETED


def test_a_location_that_echoes_the_key_is_no_jobs_id() -> None:
    key = "sk-secret-key-of-an-account"
    assert read_submitted(b"", {"location": f"/v1/async-invoke/{key}"}, key) == (None, "")
    assert read_submitted(b"", {"location": "/v1/async-invoke/job-1"}, key)[0] is not None
