"""The quota: every request with the key counts, and every reply tells how it stands."""

import httpx
import pytest

from airflow_provider_falinvoke.emulator import Emulator, ManualClock
from tests.emulator.client import running


def test_every_reply_tells_the_limit_what_remains_and_when_it_resets() -> None:
    with running(quota_per_minute=10) as api:
        api.submit()
        headers = api.http.get("/v1/models").headers
        assert (headers["ratelimit-limit"], headers["ratelimit-remaining"]) == ("10", "8")
        assert headers["ratelimit-reset"] == "1800000061"
        for name in ("limit", "remaining", "reset"):
            assert headers[f"x-ratelimit-{name}-requests"] == headers[f"ratelimit-{name}"]


def test_polls_count_and_the_one_too_many_answers_429_until_the_window_ends() -> None:
    with running(quota_per_minute=3) as api:
        request_id = api.submit()
        assert [api.get(request_id).status_code for _ in range(3)] == [200, 200, 429]
        api.clock.advance(59.9)
        answer = api.post()
        assert answer.status_code == 429
        assert answer.json()["id"] == "too_many_requests"
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["ratelimit-remaining"] == "0"
        assert not api.emulator.posts()[-1].accepted
        api.clock.advance(0.1)
        assert api.post().status_code == 202


def test_the_window_that_is_used_up_first_is_the_one_told() -> None:
    with running(quota_per_minute=2, quota_per_hour=3) as api:
        assert api.http.get("/v1/models").headers["ratelimit-limit"] == "2"
        api.http.get("/v1/models")
        assert api.http.get("/v1/models").headers["retry-after"] == "60"
        api.clock.advance(60)
        assert api.http.get("/v1/models").headers["ratelimit-limit"] == "3"
        blocked = api.http.get("/v1/models")
        assert (blocked.status_code, blocked.headers["retry-after"]) == (429, "3540")
        api.clock.advance(3540)
        assert api.http.get("/v1/models").status_code == 200


def test_retry_after_can_be_left_out() -> None:
    with running(quota_per_minute=1, retry_after=False) as api:
        api.http.get("/v1/models")
        answer = api.http.get("/v1/models")
    assert answer.status_code == 429
    assert "retry-after" not in answer.headers
    assert answer.headers["ratelimit-reset"] == "1800000061"


def test_a_wrong_key_does_not_count() -> None:
    with running(quota_per_minute=1) as api:
        httpx.get(api.emulator.url + "/v1/models")
        assert api.http.get("/v1/models").status_code == 200


def test_the_quota_can_be_switched_off() -> None:
    with running(quota_per_minute=None, quota_per_hour=None) as api:
        assert "ratelimit-limit" not in api.http.get("/v1/models").headers


@pytest.mark.parametrize("scale", [1, 10])
def test_under_a_time_scale_reset_and_retry_after_are_in_the_time_of_the_client(scale: int) -> None:
    clock = ManualClock(1_000)
    with Emulator(clock=clock, time_scale=scale, quota_per_minute=1) as emulator:
        headers = {"Authorization": f"Bearer {emulator.api_key}"}
        httpx.get(emulator.url + "/v1/models", headers=headers)
        blocked = httpx.get(emulator.url + "/v1/models", headers=headers)
        assert blocked.headers["retry-after"] == str(60 // scale)
        assert blocked.headers["ratelimit-reset"] == str(1_000 + 60 // scale)
        clock.advance(60 / scale)
        assert emulator.now == 1_060
        assert httpx.get(emulator.url + "/v1/models", headers=headers).status_code == 200
