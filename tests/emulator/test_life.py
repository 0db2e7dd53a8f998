"""The life of a job, and what the API refuses."""

import re
from typing import Any

import httpx
import pytest

from tests.emulator.client import AUDIO, IMAGE, SPEECH, running


def test_a_job_goes_by_the_clock_from_queued_to_completed() -> None:
    with running(durations={IMAGE: 8}, queue_time=2) as api:
        answer = api.post()
        request_id = answer.json()["request_id"]
        assert answer.status_code == 202
        assert answer.json() == {
            "request_id": request_id,
            "status": "QUEUED",
            "model_id": IMAGE,
            "created_at": "2027-01-15T08:00:00.500000000Z",
            "started_at": None,
            "completed_at": None,
            "output": None,
            "error": None,
        }
        api.clock.advance(2)
        begun = api.get(request_id).json()
        assert (begun["status"], begun["output"]) == ("IN_PROGRESS", None)
        assert begun["started_at"] == "2027-01-15T08:00:02.500000000Z"
        api.clock.advance(8)
        ended = api.get(request_id).json()
        assert (ended["status"], ended["error"]) == ("COMPLETED", None)
        assert ended["completed_at"] == "2027-01-15T08:00:10.500000000Z"
        assert ended["output"]["images"]


def test_the_request_id_is_a_random_uuid() -> None:
    with running() as api:
        first, second = api.submit(), api.submit()
    assert first != second
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", first)


def test_the_status_call_answers_the_status_alone() -> None:
    with running() as api:
        assert api.get(api.submit(), "/status").json() == {"status": "QUEUED"}


def test_every_eighth_job_never_gets_a_started_at() -> None:
    with running() as api:
        jobs = [api.submit() for _ in range(8)]
        api.clock.advance(100)
        started = [api.get(request_id).json()["started_at"] for request_id in jobs]
    assert started[7] is None
    assert None not in started[:7]


def test_a_duration_of_zero_completes_in_the_post_with_200() -> None:
    with running(durations={IMAGE: 0}) as api:
        answer = api.post()
    assert answer.status_code == 200
    assert answer.json()["status"] == "COMPLETED"
    assert answer.json()["output"]["images"]


def test_a_tag_sets_the_duration_of_one_job() -> None:
    with running() as api:
        request_id = api.post(tags=[{"key": "emulator-duration", "value": "3.5"}]).json()["request_id"]
        assert api.emulator.jobs[request_id].duration == 3.5


def test_each_family_has_its_usual_duration() -> None:
    with running() as api:
        for model_id in (IMAGE, AUDIO, SPEECH):
            api.submit(model_id)
        assert [job.duration for job in api.emulator.jobs.values()] == [2, 8, 4]


def test_jitter_changes_a_duration_within_its_share() -> None:
    with running(jitter=0.5) as api:
        for _ in range(10):
            api.submit()
        durations = {job.duration for job in api.emulator.jobs.values()}
    assert len(durations) > 1
    assert all(1 <= duration <= 3 for duration in durations)


def test_statuses_and_accept_status_can_be_spelled_otherwise() -> None:
    with running(statuses={"COMPLETED": "COMPLETE"}, accept_status=200) as api:
        answer = api.post()
        api.clock.advance(100)
        assert answer.status_code == 200
        assert answer.json()["status"] == "QUEUED"
        assert api.get(answer.json()["request_id"]).json()["status"] == "COMPLETE"
        assert api.emulator.jobs[answer.json()["request_id"]].status == "COMPLETED"


def test_models_does_not_list_the_fal_models() -> None:
    with running() as api:
        listed = api.http.get("/v1/models").json()
    assert listed["object"] == "list"
    assert listed["data"]
    assert not [model for model in listed["data"] if "fal-ai" in model["id"]]
    assert all(
        model.keys() == {"id", "object", "created", "owned_by"} and type(model["created"]) is int
        for model in listed["data"]
    )


@pytest.mark.parametrize("header", ["", "Bearer wrong", "emulator-key", "Basic emulator-key"])
def test_without_the_key_every_call_answers_401_with_the_documented_body(header: str) -> None:
    with running() as api:
        for method, path in (("POST", "/v1/async-invoke"), ("GET", "/v1/async-invoke/x"), ("GET", "/v1/models")):
            answer = httpx.request(method, api.emulator.url + path, headers={"Authorization": header} if header else {})
            assert answer.status_code == 401
            assert answer.json() == {"id": "unauthorized", "message": "Unable to authenticate you."}
        assert api.emulator.jobs == {}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/async-invoke/6590784a-ce47-4556-9ff4-53baff2693fb"),
        ("GET", "/v1/async-invoke/6590784a-ce47-4556-9ff4-53baff2693fb/status"),
        ("GET", "/v1/async-invoke/a%2Fstatus"),
        ("POST", "/v1/v1/async-invoke"),
        ("GET", "/v1/async-invoke/"),
        ("DELETE", "/v1"),
    ],
)
def test_what_is_not_there_answers_404_in_the_shape_of_the_api(method: str, path: str) -> None:
    with running() as api:
        answer = api.http.request(method, path)
    assert answer.status_code == 404
    assert answer.json()["id"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/async-invoke", "POST"),
        ("DELETE", "/v1/async-invoke/x", "GET"),
        ("HEAD", "/v1/async-invoke/x/status", "GET"),
        ("POST", "/v1/models", "GET"),
    ],
)
def test_another_method_answers_405_and_names_the_right_one(method: str, path: str, allowed: str) -> None:
    with running() as api:
        answer = api.http.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_a_request_id_is_percent_decoded_after_the_path_was_split() -> None:
    with running() as api:
        assert api.get(api.submit().replace("-", "%2D")).status_code == 200


def _request(**changes: Any) -> dict[str, Any]:
    return {"model_id": IMAGE, "input": {"prompt": "x"}, **changes}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "the request body must be an object"),
        ({"input": {"prompt": "x"}}, "model_id must be a string that is not empty"),
        (_request(model_id=7), "model_id must be a string that is not empty"),
        ({"model_id": IMAGE}, "input must be an object"),
        (_request(input="x"), "input must be an object"),
        (_request(input={}), f"input.prompt is required for {IMAGE}"),
        (_request(model_id=AUDIO, input={"text": "x"}), f"input.prompt is required for {AUDIO}"),
        (_request(model_id=SPEECH), f"input.text is required for {SPEECH}"),
        (_request(input={"prompt": 1}), "input.prompt must be a string"),
        (_request(input={"prompt": "x", "num_images": "4"}), "input.num_images must be an integer of at least 1"),
        (_request(input={"prompt": "x", "num_images": True}), "input.num_images must be an integer of at least 1"),
        (_request(input={"prompt": "x", "num_images": 0}), "input.num_images must be an integer of at least 1"),
        (_request(input={"prompt": "x", "num_images": 1.5}), "input.num_images must be an integer of at least 1"),
        (_request(input={"prompt": "x", "num_images": 17}), "input.num_images must be an integer from 1 to 16"),
        (
            _request(input={"prompt": "x", "num_inference_steps": 13}),
            "input.num_inference_steps must be an integer from 1 to 12",
        ),
        (_request(input={"prompt": "x", "guidance_scale": "7"}), "input.guidance_scale must be a number"),
        (
            _request(input={"prompt": "x", "enable_safety_checker": 1}),
            "input.enable_safety_checker must be a boolean",
        ),
        (_request(input={"prompt": "x", "sync_mode": "true"}), "input.sync_mode must be a boolean"),
        (_request(tags={}), "tags must be a list or null"),
        (_request(tags=[{"key": "a"}]), "tags[0] must be an object with key and value"),
        (_request(tags=[{"key": "a", "value": 1}]), "tags[0] must have strings for key and value"),
        (
            _request(tags=[{"key": "emulator-duration", "value": "inf"}]),
            "tag emulator-duration must be a number of seconds, at least 0",
        ),
    ],
)
def test_a_wrong_document_is_refused_with_422_that_names_the_field(document: Any, message: str) -> None:
    with running() as api:
        answer = api.http.post("/v1/async-invoke", json=document)
        assert answer.status_code == 422
        assert (answer.json()["id"], answer.json()["message"]) == ("unprocessable_entity", message)
        assert not api.emulator.jobs
        assert [post.accepted for post in api.emulator.posts()] == [False]


@pytest.mark.parametrize(
    ("model_id", "names"),
    [
        (IMAGE, ["output_format", "num_inference_steps", "guidance_scale", "num_images", "enable_safety_checker"]),
        (AUDIO, ["seconds_total"]),
    ],
)
def test_null_is_as_good_as_left_out_where_the_vendor_allows_it(model_id: str, names: list[str]) -> None:
    with running() as api:
        plain = api.finished(model_id, prompt="x")["output"]
        nulls = api.finished(model_id, prompt="x", **dict.fromkeys(names))["output"]
        assert plain.keys() == nulls.keys()
        assert len(plain.get("images", [])) == len(nulls.get("images", []))
        assert plain.get("audio", {}).get("file_size") == nulls.get("audio", {}).get("file_size")
        assert api.post(model_id, prompt="x", sync_mode=None).status_code == 422


def test_a_whole_number_is_an_integer_however_it_is_written() -> None:
    with running() as api:
        assert len(api.finished(num_images=3.0, prompt="x")["output"]["images"]) == 3
        assert api.finished(AUDIO, seconds_total=2.0, prompt="x")["output"]["audio"]["file_size"] == 44 + 2 * 16_000


def test_a_tag_may_hold_further_keys() -> None:
    tags = [{"key": "a", "value": "b", "note": [1, None]}]
    with running() as api:
        request_id = api.post(tags=tags).json()["request_id"]
        assert api.emulator.jobs[request_id].tags == tags


@pytest.mark.parametrize("queue_time", [0.0, 5.0])
def test_a_queue_time_is_spent_before_the_duration(queue_time: float) -> None:
    with running(durations={IMAGE: 10}, queue_time=queue_time) as api:
        request_id = api.submit()
        seen = [api.get(request_id).json()["status"]]
        for step in (queue_time, 9.9, 0.1):
            api.clock.advance(step)
            seen.append(api.get(request_id).json()["status"])
        assert seen == ["QUEUED" if queue_time else "IN_PROGRESS", "IN_PROGRESS", "IN_PROGRESS", "COMPLETED"]
        assert api.emulator.jobs[request_id].duration == queue_time + 10


def test_without_one_each_job_waits_for_another_share_of_its_duration() -> None:
    with running(durations={IMAGE: 100}, quota_per_minute=None) as api:
        jobs = [api.submit() for _ in range(12)]
        waited: dict[str, int] = {}
        for second in range(100):
            for request_id in jobs:
                if request_id not in waited and api.get(request_id).json()["status"] == "IN_PROGRESS":
                    waited[request_id] = second
            if len(waited) == len(jobs):
                break
            api.clock.advance(1)
        assert len(set(waited.values())) > 4
        assert all(5 <= second <= 61 for second in waited.values())
        assert {job.duration for job in api.emulator.jobs.values()} == {100}


@pytest.mark.parametrize(
    ("model_id", "known"),
    [
        ("fal-ai/flux/dev", True),
        ("fal-ai/flux/dev/image-to-image", True),
        ("acme/painter", True),
        ("acme/painter/v2", True),
        ("fal-ai/flux/schnel", False),
        ("fal-ai/flux/schnell2", False),
        ("fal-ai/flux", False),
        ("fal-ai/fast-sdxl-2", False),
        ("acme/painter-v2", False),
        ("acme", False),
    ],
)
def test_a_model_is_known_whole_or_up_to_a_slash(model_id: str, known: bool) -> None:
    with running(durations={"acme/painter": 1}) as api:
        assert api.post(model_id, prompt="x").status_code == (202 if known else 404)
    assert not known or api.emulator.jobs


def test_what_lies_below_a_configured_model_takes_as_long() -> None:
    with running(durations={"fal-ai/flux": 7, "fal-ai/flux/dev": 9}) as api:
        for model_id in ("fal-ai/flux/schnell", "fal-ai/flux/dev/x", "fal-ai/flux/new"):
            api.submit(model_id)
        assert [job.duration for job in api.emulator.jobs.values()] == [7, 9, 7]


def test_further_fields_pass() -> None:
    with running() as api:
        answer = api.post(prompt="x", image_size={"width": 256, "height": 128}, seed="no number", made_up=[1])
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("text/plain", b"{}", 415),
        ("", b"{}", 415),
        ("application/json", b"{", 400),
        ("application/json", b"\xff", 400),
        ("application/json", b'{"model_id": NaN}', 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/json", b" " * 10_000_001, 413),
    ],
)
def test_a_body_that_is_no_json_is_refused(content_type: str, body: bytes, status: int) -> None:
    with running() as api:
        answer = api.http.post("/v1/async-invoke", content=body, headers={"Content-Type": content_type})
        assert answer.status_code == status
        assert {"id", "message"} <= answer.json().keys()


def test_an_unknown_model_is_refused_unless_it_is_configured() -> None:
    with running(durations={"acme/music-maker": 1, "acme/tts": 1, "acme/painter": 1}) as api:
        answer = api.post("acme/unknown")
        assert (answer.status_code, answer.json()["message"]) == (404, "model acme/unknown not found")
        assert "audio" in api.finished("acme/music-maker", prompt="x", seconds_total=1)["output"]
        assert "audio" in api.finished("acme/tts", text="x")["output"]
        assert "images" in api.finished("acme/painter", prompt="x")["output"]
        assert api.post("fal-ai/flux/dev").status_code == 202
