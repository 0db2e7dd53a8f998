"""Replies as no strict reader takes them: damaged, wrapped, hostile. Nothing raises, nothing blocks, no id is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus
from airflow_provider_falinvoke.api.replies import (
    read_error_body,
    read_invocation,
    read_model_ids,
    read_submitted,
)

KEY = "sk-do-v1/abc+def-0123456789"
REPLY = {"request_id": "r1", "status": "COMPLETED", "output": {"images": [{"url": "https://v3.fal.media/é.png"}]}}
TEXT = json.dumps(REPLY, ensure_ascii=False)


def wrapped_in(name: str) -> bytes:
    return json.dumps({name: REPLY, "code": 0}).encode()


#: Each way in which a reply may hold what a strict reader does not find, in the order of the attempts.
DAMAGED = {
    "as it is": TEXT.encode(),
    "a byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "two byte order marks": b"\xef\xbb\xbf" * 2 + TEXT.encode(),
    "UTF-16": TEXT.encode("utf-16"),
    "UTF-16 without a mark": TEXT.encode("utf-16-le"),
    "UTF-32": TEXT.encode("utf-32"),
    "Latin-1": TEXT.encode("latin-1"),
    "one byte that is none of UTF-8": TEXT.encode().replace("é".encode(), b"\xc3\x28"),
    "a line feed in a string": TEXT.replace("é", "\n").encode(),
    "an integer of 5,000 digits": TEXT.replace("}]", '}], "seed": ' + "9" * 5_000).encode(),
    "NaN": TEXT.replace("}]", '}], "score": NaN').encode(),
    "a list of one": f"[{TEXT}]".encode(),
    "JSON in a string": json.dumps(TEXT).encode(),
    "JSON in a string in a string": json.dumps(json.dumps(TEXT)).encode(),
    "an envelope": wrapped_in("data"),
    "a text in an envelope": json.dumps({"statusCode": 200, "body": TEXT}).encode(),
    "a list in an envelope": json.dumps({"data": [REPLY]}).encode(),
    "an envelope with an id of its own": json.dumps({"id": "evt-7", "data": REPLY}).encode(),
    "an event": f"event: message\ndata: {TEXT}\n\n".encode(),
    "the last of several events": f'data: {{"status": "QUEUED"}}\r\n\r\ndata: {TEXT}\r\n\r\ndata: [DONE]\n\n'.encode(),
    "an event of several lines": b"data: " + TEXT.replace(', "', ',\ndata: "').encode() + b"\n\n",
    "an event at the end of the stream": f"id: 7\ndata: {TEXT}".encode(),
    "something after it": TEXT.encode() + b"\n<!-- proxy 7 -->",
    "an object after it": TEXT.encode() + b'{"debug": 1}',
    "something before it": b")]}',\n" + TEXT.encode(),
    "a NUL before it": b"\0" * 5 + TEXT.encode(),
}


@pytest.mark.parametrize("body", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_result_is_read_however_it_is_damaged_or_wrapped(body: bytes) -> None:
    for invocation in (read_invocation(body, request_id="r1"), *read_submitted(body, {})[:1]):
        assert invocation is not None
        assert (invocation.request_id, invocation.status) == ("r1", InvocationStatus.COMPLETED)
        assert invocation.output["images"][0]["url"].startswith("https://v3.fal.media/")


def test_a_bare_result_in_an_envelope_is_the_output() -> None:
    invocation = read_invocation(b'{"result": {"images": []}}', request_id="r1")
    assert invocation is not None
    assert (invocation.request_id, invocation.output) == ("r1", {"images": []})


def test_what_goes_on_with_garbage_is_still_the_first_reply() -> None:
    invocation = read_invocation(TEXT.encode() + b'{"status": "FAILED", "error": "of a log"}')
    assert invocation is not None
    assert invocation.status is InvocationStatus.COMPLETED


@pytest.mark.parametrize("length", range(10, len(TEXT) - 1, 7))
def test_a_part_of_a_result_that_breaks_off_is_not_taken_for_all_of_it(length: int) -> None:
    for rest in ("", " GARBAGE", ' GARBAGE {"images": []}'):
        assert read_invocation((TEXT[:length] + rest).encode(), request_id="r1") is None


# ---- the id of a submitted job --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "request_id"),
    [
        (b'{"request_id": "r1", "sta', "r1"),
        (b'{"status": "QUEUED", "request_id": "r1"', "r1"),
        (b'{"status": "QUEUED", "request_id": 17, "mod', "17"),
        (b'"{\\"request_id\\": \\"r1\\", \\"sta', "r1"),
        (b'{"job": {"ref": {"request_id": "r1"}}}', "r1"),
        (b'{"requestId": "r1", "status": "QUEUED"}', "r1"),
        (b"accepted; request_id: 'r1'", "r1"),
        (b'{"request_id": "r1", "a": "request_id: \'r1\'', "r1"),
        (b'{"status": "QUEUED", "prompt": "request_id: \'mine\'"}', None),
        (b'{"status": "QUEUED", "input": {"request_id": "mine"}}', None),
        (b'{"status": "QUEUED", "job": {"requestId": "r1", "prompt": "request_id: \'mine\'"}}', "r1"),
        (b'{"jobs": [{"request_id": "r1"}, {"request_id": "r2"}]}', None),
        (b'{"status": "ok"} request_id: "r1"', "r1"),
        (b'{"request_id": "r1-cut-o', None),
        (b'{"request_id": 1', None),
        (b'{"request_id": "r1", "x": {"request_id": "r2"}', None),
        (b'<html><script>x = {"request_id": "of-a-proxy"}</script></html>', None),
        (b'{"request_id": "  "}', None),
        (b'{"request_id": {"id": "r1"}}', None),
        (b'{"request_id": ["r1"]}', None),
        (b'{"request_id": true, "status": "QUEUED"}', None),
        (b'{"request_id": "' + b"x" * 70_000 + b'"}', None),
        (b'{"id": "too_many_requests", "message": "Slow down."}', None),
        (b'{"id": "server_error", "message": "Oops.", "request_id": "of-the-http-request"}', None),
        (b'{"status": "error", "id": "unauthorized", "message": "No."}', None),
        (b'{"status": "success"}', None),
        (b'{"id": "6590784a-ce47", "message": "accepted"}', "6590784a-ce47"),
        (b'{"request_id": "r1", "message": "accepted"}', "r1"),
        (b"", None),
    ],
)
def test_an_id_is_taken_where_a_reply_shows_one_whole_and_no_other(body: bytes, request_id: str | None) -> None:
    invocation, _ = read_submitted(body, {})
    assert (invocation.request_id if invocation else None) == request_id


@pytest.mark.parametrize(
    ("location", "request_id"),
    [
        ("/v1/async-invoke/r1", "r1"),
        ("https://inference.do-ai.run/v1/async-invoke/r1/status?x=1", "r1"),
        ("/v1/async-invoke/a%2Fb", "a/b"),
        ("/v1/async-invoke/", None),
        ("/v1/async-invoke/%20", None),
        ("/login", None),
        ("/v1/async-invoke/" + "x" * 70_000, None),
    ],
)
def test_a_location_shows_the_id(location: str, request_id: str | None) -> None:
    invocation, where = read_submitted(b"", {"location": location})
    assert (invocation.request_id if invocation else None) == request_id
    assert ("Location" in where) is (request_id is not None)


def test_an_id_in_its_place_needs_no_warning_and_one_that_was_searched_for_says_where_it_was() -> None:
    assert read_submitted(TEXT.encode(), {"location": "/v1/async-invoke/other"})[1] == ""
    assert "text" in read_submitted(b'{"request_id": "r1", "sta', {})[1]


# ---- whose answer it is, and what it says ---------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"[],", b"{},", b"0,", b'"",'])
def test_a_reply_of_millions_of_values_is_not_read_but_shows_its_id(value: bytes) -> None:
    body = b'{"request_id": "r1", "status": "QUEUED", "output": [' + value * 1_000_000 + b"0]}"
    began = time.process_time()
    assert read_invocation(body, request_id="r1") is None
    assert read_submitted(body, {})[0] == Invocation(request_id="r1", status=InvocationStatus.UNKNOWN)
    assert time.process_time() - began < 1.0


def test_an_answer_about_another_job_keeps_its_own_id() -> None:
    for body in (b'{"request_id": "B", "status": "COMPLETED", "output": {}}', b'{"data": {"request_id": "B"}}'):
        invocation = read_invocation(body, request_id="A")
        assert invocation is not None
        assert invocation.request_id == "B"


@pytest.mark.parametrize("spelling", ["R-1", " r-1 ", "r-1"])
def test_another_spelling_of_the_same_id_is_the_job_that_was_asked_for(spelling: str) -> None:
    invocation = read_invocation(json.dumps({"request_id": spelling, "status": "QUEUED"}).encode(), request_id="r-1")
    assert invocation is not None
    assert invocation.request_id == "r-1"


@pytest.mark.parametrize("output", [None, {}, [], ""])
def test_completed_with_an_error_and_nothing_else_is_failed(output: object) -> None:
    body = json.dumps({"request_id": "r1", "status": "COMPLETED", "output": output, "error": {"message": "NSFW"}})
    invocation = read_invocation(body.encode())
    assert invocation is not None
    assert (invocation.status, invocation.error) == (InvocationStatus.FAILED, "NSFW")


def test_completed_with_an_output_is_completed_whatever_the_error_says() -> None:
    invocation = read_invocation(b'{"status": "COMPLETED", "output": {"images": []}, "error": "a warning"}')
    assert invocation is not None
    assert invocation.status is InvocationStatus.COMPLETED


def test_an_error_of_the_vendors_is_no_state_of_a_job() -> None:
    """Else a 200 with it would be a pending job, or a job of that name."""
    assert read_invocation(b'{"id": "too_many_requests", "message": "Slow down."}', request_id="r1") is None


def test_an_error_of_any_number_of_items_is_one_short_line() -> None:
    invocation = read_invocation(json.dumps({"status": "FAILED", "error": ["x" * 90] * 100_000}).encode())
    assert invocation is not None
    assert invocation.error is not None
    assert len(invocation.error) <= 1_000
    assert len(read_error_body(json.dumps({"detail": [{"loc": ["a"] * 100_000, "msg": ["b"] * 9}]}).encode())) <= 1_000


ODD = "x\x1b[2J\u202e\n\x9b"


def test_what_is_only_shown_is_printable_and_the_id_and_the_output_are_as_they_were() -> None:
    body = {"request_id": ODD, "status": ODD, "model_id": ODD, "error": ODD, "output": {"text": ODD}}
    invocation = read_invocation(json.dumps(body).encode())
    assert invocation is not None
    for shown in (invocation.raw_status, invocation.model_id, invocation.error):
        assert shown is not None
        assert shown.isprintable()
    assert (invocation.request_id, invocation.output) == (ODD, {"text": ODD})


# ---- the key --------------------------------------------------------------------------------------------------------


def spelled(text: str, how: Callable[[str], str]) -> str:
    return "".join(how(character) for character in text)


ECHOES = {
    "plainly": KEY,
    "with an escaped slash": KEY.replace("/", "\\/"),
    "with an escaped dash": KEY.replace("-", "\\u002d"),
    "all in escapes": spelled(KEY, lambda character: f"\\u{ord(character):04X}"),
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES.keys())
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_key_that_is_repeated_is_masked_however_it_is_written(echo: str, encoding: str) -> None:
    for frame in (
        '{"message": "the key ECHO is wrong"}',
        '{"message": "the key ECHO is wro',
        '{"request_id": "r1", "status": "FAILED", "error": {"detail": [{"loc": ["ECHO"], "msg": "no"}]}}',
        '{"request_id": "r1", "status": "COMPLETED", "output": {"ECHO": ["ECHO"]}}',
        '{"request_id": "r1", "status": "ECHO", "model_id": "ECHO"}',
        '{"request_id": "ECHO", "status": "QUEUED"}',
        '{"data": [{"id": "ECHO"}]}',
        "<html><p>the key ECHO is wrong",
    ):
        for text in (frame, json.dumps(frame)):
            body = text.replace("ECHO", echo if text == frame else json.dumps(echo)[1:-1]).encode(encoding)
            said = [read_error_body(body, KEY), str(read_model_ids(body, KEY)), str(read_submitted(body, {}, KEY))]
            said.append(str(read_invocation(body, request_id="r1", key=KEY)))
            assert not [line for line in said if KEY in line]


def test_an_escaped_text_without_the_key_is_left_alone() -> None:
    invocation = read_invocation(rb'{"request_id": "r1", "output": {"a\/b": "c\u002dd \ud83d\ude00"}}', key=KEY)
    assert invocation is not None
    assert invocation.output == {"a/b": "c-d 😀"}


# ---- anything at all ------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        ["request_id", "id", "status", "state", "output", "error", "message", "data", "images", "model_id"]
    ),
    JSON,
)
BYTES = (
    st.binary(max_size=200)
    | FIELDS.map(lambda data: json.dumps(data).encode())
    | st.tuples(FIELDS, st.binary(max_size=6), st.integers(0, 200)).map(
        lambda made: (text := json.dumps(made[0]).encode())[: made[2]] + made[1] + text[made[2] :]
    )
)


@settings(max_examples=150, deadline=None)
@given(BYTES)
@example(b'{"message": {"loc": [[]], "msg": {}}}')
@example(b'{"error": [""]}')
@example(b"\xff\xfe\x00")
@example(b"\xfe\xff{")
def test_reading_never_raises_and_what_is_said_is_printable(body: bytes) -> None:
    for invocation in (read_invocation(body), read_invocation(body, request_id="r1"), read_submitted(body, {})[0]):
        if invocation is not None:
            Invocation.model_validate(invocation.model_dump())
    read_model_ids(body)
    line = read_error_body(body)
    assert line.isprintable()
    assert 0 < len(line) <= 1_000


IDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40).filter(str.strip)
WRAPPERS: list[Callable[[str], bytes]] = [
    str.encode,
    lambda text: text.encode("utf-16"),
    lambda text: f"[{text}]".encode(),
    lambda text: json.dumps(text).encode(),
    lambda text: f'{{"data": {text}}}'.encode(),
    lambda text: f"data: {text}\n\n".encode(),
    lambda text: f"{text}\nbye".encode(),
    lambda text: text.encode() + b"\xff\xfe",
]


@settings(max_examples=100, deadline=None)
@given(
    IDS | st.integers(0),
    st.fixed_dictionaries(
        {},
        optional={
            "status": JSON,
            "state": JSON,
            "output": JSON,
            "error": JSON,
            "images": JSON,
            "model_id": JSON,
            "data": JSON,
            "created_at": JSON,
        },
    ),
    st.sampled_from(WRAPPERS),
    st.booleans(),
)
def test_no_id_is_lost_that_a_strict_reader_sees(
    request_id: Any, fields: dict[str, Any], wrap: Callable[[str], bytes], ascii_only: bool
) -> None:
    text = json.dumps({**fields, "request_id": request_id}, ensure_ascii=ascii_only)
    try:
        body = wrap(text)
    except UnicodeEncodeError:
        body = wrap(json.dumps({**fields, "request_id": request_id}))
    invocation, _ = read_submitted(body, {})
    assert invocation is not None
    assert invocation.request_id == str(request_id)


N = 64_000
HOSTILE = {
    "openings": b"[" * N,
    "objects that do not end": b'{"a":' * (N // 5),
    "a string that does not end": b'{"a": "' + b"x" * N,
    "backslashes": b'{"a": "' + b"\\" * N,
    "escapes": b'{"a": "' + b"\\u002d" * (N // 6),
    "escaped surrogates": b'{"a": "' + b"\\ud800" * (N // 6) + b'"}',
    "digits": b'{"request_id": ' + b"9" * N + b"}",
    "many long integers": b"[" + (b"9" * 4_299 + b",") * (N // 4_300) + b"0]",
    "a long fraction": b"[1." + b"7" * N + b"]",
    "a long exponent": b"[1e" + b"9" * N + b"]",
    "names of ids": b"request_id" * (N // 10),
    "ids that do not end": b'request_id:"' * (N // 12),
    "escaped ids": b'request_id\\\\\\\\"' * (N // 14),
    "one long id": b'{"request_id": "' + b"x" * N + b'"',
    "blanks": b" " * N,
    "blanks in a string": b'{"status": "' + b" " * N + b'"}',
    "dashes in a status": b'{"status": "' + b"- " * (N // 2) + b'"}',
    "line feeds": b"data:\n" * (N // 6),
    "events": b"data: {\n\n" * (N // 9),
    "tags": b"<html>" + b"<" * N,
    "scripts": b"<html>" + b"<script" * (N // 7),
    "types of errors": json.dumps({"error": {"detail": [{"type": "_type" * (N // 5)}]}}).encode(),
    "errors in errors": b'{"status": "FAILED", "error": ' + b'{"detail":[' * 90 + b'"x"' + b"]}" * 90 + b"}",
    "many errors": json.dumps({"status": "FAILED", "error": [[["x"] * 30] * 30] * 30}).encode(),
    "many keys": json.dumps({"error": {str(number): number for number in range(N // 12)}}).encode(),
    "a time": json.dumps({"status": "QUEUED", "created_at": "2026-01-22T19:19:19." + "1" * N + "x"}).encode(),
    "UTF-16": b"\xff\xfe" + b"\x00\xd8" * (N // 2),
    "bytes that are no characters": b"\xff" * N,
    "strings in strings": json.dumps(json.dumps(json.dumps(json.dumps('{"a": "' + "\\" * 5_000)))).encode(),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_replies_are_read_in_no_time(body: bytes) -> None:
    began = time.thread_time()
    read_invocation(body, request_id="r1", key=KEY)
    read_submitted(body, {"location": "/async-invoke/" * 4_000}, KEY)
    read_error_body(body, KEY)
    read_model_ids(body, KEY)
    assert time.thread_time() - began < 0.2 * 4
