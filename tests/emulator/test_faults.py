"""Each kind of fault as a client meets it on the socket."""

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_provider_falinvoke.emulator import Fault
from airflow_provider_falinvoke.emulator.faults import FAILURES, KINDS, fault_of
from tests.emulator.client import IMAGE, SPEECH, Running, running

TESTED_ELSEWHERE = {"output_shape"}  # test_outputs.py


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418, 422, 429, 500, 502, 503, 504])
def test_answer_gives_a_status_and_makes_no_job(status: int) -> None:
    with running() as api:
        api.emulator.add_fault(Fault("answer", status=status))
        answer = api.post()
        assert answer.status_code == status
        assert {"id", "message", "request_id"} == answer.json().keys()
        assert answer.headers["ratelimit-remaining"] == "249"
        assert "retry-after" not in answer.headers
        assert [(post.status, post.accepted, post.request_id) for post in api.emulator.posts()] == [
            (status, False, None)
        ]
        assert api.post().status_code == 202


def test_the_body_of_an_error_has_the_id_that_the_vendor_gives_it() -> None:
    vendors = {401: "unauthorized", 404: "not_found", 429: "too_many_requests", 500: "server_error"}
    with running() as api:
        for status, error_id in vendors.items():
            api.emulator.add_fault(Fault("answer", status=status))
            assert api.post().json()["id"] == error_id


def test_answer_after_the_post_was_accepted_leaves_a_job_behind() -> None:
    with running() as api:
        api.emulator.add_fault(Fault("answer", on="post", status=504, accepted=True))
        assert api.post().status_code == 504
        (post,) = api.emulator.posts()
        assert (post.status, post.accepted) == (504, True)
        assert list(api.emulator.jobs) == [post.request_id]
        assert api.get(str(post.request_id)).status_code == 200


def test_answer_with_seconds_headers_and_body() -> None:
    with running() as api:
        fault = Fault(
            "answer",
            status=429,
            seconds=2,
            headers={"X-RateLimit-Reset-Requests": "0", "ratelimit-reset": None},
            body={"error": {"message": "slow down"}},
        )
        api.emulator.add_fault(fault)
        answer = api.http.get("/v1/models")
    assert answer.headers["retry-after"] == "2"
    assert answer.headers["x-ratelimit-reset-requests"] == "0"
    assert "ratelimit-reset" not in answer.headers
    assert answer.json() == {"error": {"message": "slow down"}}


def test_answer_with_a_string_sends_it_as_it_is_and_204_sends_nothing() -> None:
    with running() as api:
        api.emulator.add_fault(Fault("answer", status=200, body=""))
        api.emulator.add_fault(Fault("answer", status=204))
        assert (api.post().status_code, api.emulator.jobs) == (200, {})
        assert api.post().content == b""


@pytest.mark.parametrize(("value", "error"), [(None, httpx.RemoteProtocolError), ("reset", httpx.ReadError)])
@pytest.mark.parametrize("accepted", [False, True])
def test_drop_closes_the_connection_before_or_after_the_post_was_accepted(
    value: str | None, error: type[Exception], accepted: bool
) -> None:
    with running() as api:
        api.emulator.add_fault(Fault("drop", on="post", value=value, accepted=accepted))
        with pytest.raises(error):
            api.post()
        (post,) = api.emulator.posts()
        assert (post.status, post.accepted) == (None, accepted)
        assert len(api.emulator.jobs) == accepted
        assert api.post().status_code == 202


def test_cut_sends_half_of_the_reply_to_a_post_that_was_accepted() -> None:
    with running() as api:
        api.emulator.add_fault(Fault("cut"))
        with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|without sending complete message body"):
            api.post()
        assert [post.accepted for post in api.emulator.posts()] == [True]


def test_slow_holds_the_whole_reply_back() -> None:
    with running() as api:
        api.emulator.add_fault(Fault("slow", seconds=0.05))
        begun = time.monotonic()
        assert api.post().status_code == 202
        assert time.monotonic() - begun >= 0.05


def test_a_client_that_leaves_a_slow_reply_has_posted_all_the_same() -> None:
    with running() as api:
        api.emulator.add_fault(Fault("slow", seconds=60))
        with pytest.raises(httpx.ReadTimeout):
            api.http.post("/v1/async-invoke", json={"model_id": IMAGE, "input": {"prompt": "x"}}, timeout=0.05)
        assert [post.accepted for post in api.emulator.posts()] == [True]


def test_slow_body_sends_the_headers_first() -> None:
    with running() as api:
        api.emulator.add_fault(Fault("slow_body", seconds=60))
        with api.http.stream("GET", "/v1/models") as answer:
            assert answer.status_code == 200
            assert next(answer.iter_raw())
        api.emulator.add_fault(Fault("slow_body", seconds=0.01))
        assert api.http.get("/v1/models").json()["data"]


@pytest.mark.parametrize(("given", "status"), [(None, 200), (502, 502)])
def test_html_is_a_page_of_a_proxy_in_place_of_the_reply(given: int | None, status: int) -> None:
    with running() as api:
        api.emulator.add_fault(Fault("html", on="get", status=given))
        answer = api.get(api.submit())
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<html>" in answer.text
    assert "ratelimit-limit" not in answer.headers


def test_html_and_text_take_a_body() -> None:
    with running() as api:
        api.emulator.add_fault(Fault("html", body="<p>maintenance</p>"))
        api.emulator.add_fault(Fault("text", status=503, body={"a": 1}))
        assert api.post().text == "<p>maintenance</p>"
        assert api.post().text == '{"a": 1}'


def test_text_is_no_json() -> None:
    with running() as api:
        api.emulator.add_fault(Fault("text"))
        answer = api.post()
    assert (answer.status_code, answer.text) == (502, "upstream error")


def test_redirect_points_to_the_media_origin_where_a_leaked_key_is_noticed() -> None:
    with running() as api:
        api.emulator.add_fault(Fault("redirect", on="get"))
        answer = api.get("some-job")
        assert answer.status_code == 302
        assert answer.headers["location"] == f"{api.emulator.media_url}/v1/async-invoke/some-job"
        httpx.get(answer.headers["location"], headers={"Authorization": f"Bearer {api.emulator.api_key}"})
        assert api.emulator.leaks == ["/v1/async-invoke/some-job"]


def test_redirect_takes_a_status_and_a_place() -> None:
    with running() as api:
        api.emulator.add_fault(Fault("redirect", status=307, value="https://example.invalid/"))
        answer = api.post()
    assert (answer.status_code, answer.headers["location"]) == (307, "https://example.invalid/")


@pytest.mark.parametrize("value", FAILURES)
def test_fail_ends_the_job_with_each_shape_of_error(value: str) -> None:
    with running() as api:
        api.emulator.add_fault(Fault("fail", value=value))
        request_id = api.submit()
        assert api.get(request_id).json()["error"] is None
        api.clock.advance(100)
        ended = api.get(request_id).json()
        assert (ended["status"], ended["output"], ended["error"]) == ("FAILED", None, FAILURES[value])
        assert api.emulator.jobs[request_id].error == FAILURES[value]
        assert api.finished()["status"] == "COMPLETED"


def test_fail_takes_an_error_of_its_own_and_can_hit_a_job_that_runs() -> None:
    with running() as api:
        request_id = api.submit()
        api.emulator.add_fault(Fault("fail", request_id=request_id, body={"message": "out of memory"}))
        api.clock.advance(100)
        assert api.get(request_id).json()["error"] == {"message": "out of memory"}


def test_not_yet_hides_a_job_for_its_first_seconds() -> None:
    with running() as api:
        api.emulator.add_fault(Fault("not_yet", seconds=3))
        request_id = api.submit()
        assert [api.get(request_id, suffix).status_code for suffix in ("", "/status")] == [404, 404]
        api.clock.advance(3)
        assert api.get(request_id).status_code == 200


@pytest.mark.parametrize(
    ("value", "flags"), [(None, [True] * 3), ([2], [False, True, False]), ([1, 3, 9], [True, False, True])]
)
def test_flag_marks_pictures_for_as_long_as_the_job_is_there(value: Any, flags: list[bool]) -> None:
    with running() as api:
        api.emulator.add_fault(Fault("flag", value=value))
        request_id = api.submit(prompt="x", num_images=3)
        api.clock.advance(100)
        for _ in range(2):
            assert api.get(request_id).json()["output"]["has_nsfw_concepts"] == flags
        other = api.submit(prompt="x")
        api.clock.advance(100)
        assert api.get(other).json()["output"]["has_nsfw_concepts"] == [False]


def test_unknown_status_hides_the_result_for_a_number_of_replies() -> None:
    with running() as api:
        request_id = api.submit()
        api.clock.advance(100)
        api.emulator.add_fault(Fault("unknown_status", on="poll", times=2))
        shown = api.get(request_id).json()
        assert (shown["status"], shown["output"], shown["completed_at"]) == ("WARMING_UP", None, None)
        assert api.get(request_id, "/status").json() == {"status": "WARMING_UP"}
        assert api.get(request_id).json()["status"] == "COMPLETED"


def test_spelling_waits_for_the_status_that_it_spells() -> None:
    with running() as api:
        request_id = api.submit()
        api.emulator.add_fault(Fault("spelling", value="SUCCEEDED"))
        assert api.get(request_id).json()["status"] == "QUEUED"
        api.clock.advance(100)
        assert api.get(request_id).json()["status"] == "SUCCEEDED"
        assert api.get(request_id).json()["status"] == "COMPLETED"


def test_spelling_takes_a_word_for_each_status() -> None:
    with running() as api:
        api.emulator.add_fault(Fault("spelling", value={"QUEUED": "in_queue", "FAILED": "cancelled"}, times=None))
        api.emulator.add_fault(Fault("fail"))
        request_id = api.submit()
        assert api.get(request_id, "/status").json() == {"status": "in_queue"}
        api.clock.advance(100)
        assert api.get(request_id).json()["status"] == "cancelled"


def test_rename_omit_and_merge_change_the_keys_of_a_reply() -> None:
    with running() as api:
        api.emulator.add_fault(Fault("rename", on="post", value={"status": "state", "request_id": "id"}))
        renamed = api.post().json()
        assert {"state", "id"} <= renamed.keys()
        assert not {"status", "request_id"} & renamed.keys()
        api.emulator.add_fault(Fault("omit", on="post", value="request_id"))
        api.emulator.add_fault(Fault("omit", on="post", value=["status", "output"], after=1))
        assert "request_id" not in api.post().json()
        assert not {"status", "output"} & api.post().json().keys()
        api.emulator.add_fault(Fault("merge", on="post", value={"output": "text", "extra": 1}))
        merged = api.post().json()
        assert (merged["output"], merged["extra"], merged["status"]) == ("text", 1, "QUEUED")


def test_no_envelope_shows_the_output_alone_once_there_is_one() -> None:
    with running() as api:
        api.emulator.add_fault(Fault("no_envelope"))
        request_id = api.submit()
        assert api.get(request_id).json()["status"] == "QUEUED"
        api.clock.advance(100)
        assert api.get(request_id).json()["images"]


def _media(api: Running, fault: Fault) -> httpx.Response:
    url = api.finished(SPEECH, text="x")["output"]["audio"]["url"]
    api.emulator.add_fault(fault)
    return httpx.get(url)


@pytest.mark.parametrize("status", [403, 410, 500])
def test_media_can_be_expired_or_broken(status: int) -> None:
    with running() as api:
        assert _media(api, Fault("answer", on="media", status=status)).status_code == status
        assert api.emulator.requests[-1].status == status


def test_media_can_be_a_page_or_end_in_the_middle_or_at_once() -> None:
    with running() as api:
        assert "<html>" in _media(api, Fault("html", on="media")).text
        for kind in ("cut", "drop"):
            with pytest.raises(httpx.RemoteProtocolError):
                _media(api, Fault(kind, on="media", model_id=SPEECH))


def test_a_fault_meets_only_what_it_names_and_as_often_as_it_says() -> None:
    with running() as api:
        first = api.submit(prompt="a red fox")
        second = api.submit(prompt="a blue fox")
        api.emulator.add_fault(Fault("answer", on="get", match_prompt="blue", after=1, times=2))
        assert [api.get(first).status_code for _ in range(4)] == [200] * 4
        assert [api.get(second, "/status").status_code for _ in range(4)] == [200] * 4
        assert [api.get(second).status_code for _ in range(4)] == [200, 500, 500, 200]
        api.emulator.add_fault(Fault("answer", on="status", request_id=first, times=None))
        assert [api.get(first, "/status").status_code for _ in range(3)] == [500] * 3
        assert api.get(second, "/status").status_code == 200
        api.emulator.clear_faults()
        assert api.get(first, "/status").status_code == 200
        api.emulator.add_fault(Fault("answer", on="post", model_id=SPEECH))
        api.emulator.add_fault(Fault("answer", on="models", status=503))
        assert [api.post().status_code, api.post(SPEECH).status_code] == [202, 500]
        assert api.http.get("/v1/models").status_code == 503


def test_a_fault_can_hit_a_post_whose_body_cannot_be_read() -> None:
    with running() as api:
        api.emulator.add_fault(Fault("answer", on="post", status=503))
        assert api.http.post("/v1/async-invoke", content=b"[").status_code == 503


def test_a_post_that_would_be_refused_is_not_accepted_by_a_fault() -> None:
    with running() as api:
        api.emulator.add_fault(Fault("drop", on="post", accepted=True))
        with pytest.raises(httpx.RemoteProtocolError):
            api.http.post("/v1/async-invoke", json={})
        assert [post.accepted for post in api.emulator.posts()] == [False]


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ([], "a fault is a JSON object"),
        ({}, "a fault is a JSON object"),
        ({"kind": "nope"}, "kind must be one of"),
        ({"kind": "answer", "on": "moon"}, "on must be one of"),
        ({"kind": "answer", "times": 0}, "times must be at least 1"),
        ({"kind": "answer", "times": "x"}, "wrong type"),
        ({"kind": "answer", "after": -1}, "after must be at least 0"),
        ({"kind": "answer", "status": 99}, "status must be from 200 to 599"),
        ({"kind": "slow"}, "slow needs seconds"),
        ({"kind": "slow", "seconds": -1}, "seconds must be at least 0"),
        ({"kind": "fail", "on": "get"}, "fail is decided at the POST"),
        ({"kind": "fail", "value": "x"}, "value must be one of"),
        ({"kind": "omit", "on": "media", "value": "x"}, "omit needs an invocation"),
        ({"kind": "omit"}, "omit needs a value"),
        ({"kind": "merge"}, "merge needs a value"),
        ({"kind": "spelling"}, "spelling needs a value"),
        ({"kind": "output_shape", "value": "x"}, "output_shape needs a value"),
        ({"kind": "drop", "value": "x"}, "value must be 'reset'"),
        ({"kind": "flag", "value": [0]}, "numbers from 1"),
        ({"kind": "flag", "value": []}, "numbers from 1"),
        ({"kind": "flag", "value": "all"}, "numbers from 1"),
        ({"kind": "answer", "colour": "red"}, "unknown field 'colour'"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(document: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        fault_of(document)


def test_every_kind_has_a_row_in_the_documentation_and_a_test() -> None:
    root = Path(__file__).parents[2]
    documentation = (root / "docs" / "emulator.md").read_text()
    tests = Path(__file__).read_text()
    assert [kind for kind in KINDS if f"| `{kind}` |" not in documentation] == []
    assert [kind for kind in KINDS if f'Fault("{kind}"' not in tests and kind not in TESTED_ELSEWHERE] == []
