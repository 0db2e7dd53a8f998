"""The two drivers on a real socket: one test body, performed blocking and awaiting."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx
import pytest

from airflow_provider_falinvoke.api import drivers, protocol
from airflow_provider_falinvoke.api import line as api_line
from airflow_provider_falinvoke.api.clients import KEEPALIVE_SECONDS, AsyncClient, Client, polling_client, ssl_context
from airflow_provider_falinvoke.api.endpoint import Endpoint
from airflow_provider_falinvoke.api.line import SharedLine
from airflow_provider_falinvoke.api.models import InvocationStatus, InvokeRequest
from airflow_provider_falinvoke.api.outcomes import Call, Failure, Outcome, Pause, Reply, Resumed, Send
from airflow_provider_falinvoke.api.schedule import PollSchedule
from airflow_provider_falinvoke.exceptions import (
    FalInvokeAmbiguousSubmitError,
    FalInvokeAPIError,
    FalInvokeAuthError,
    FalInvokeUnreachableError,
)
from tests.api.server import (
    Handler,
    answer,
    be_silent,
    closed_port,
    echo_key,
    hang_up,
    hanging_up,
    listening_in_silence,
    quote_key,
    self_signed,
    serving,
    talk_nonsense,
)
from tests.support.stepped_loop import run_stepped

T = TypeVar("T")
KEY = "sk-do-0123456789abcdef"
REQUEST = InvokeRequest.build("fal-ai/flux/schnell", {"prompt": "a castle"})
QUEUED = {"request_id": "r1", "status": "QUEUED"}
DONE = {"request_id": "r1", "status": "COMPLETED", "output": {"images": []}}
NOISE = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(200))
GET = Send("GET", "/v1/async-invoke/r1")
POST = Send("POST", "/v1/async-invoke", b"{}")


class FakeTime:
    """A clock that only moves when somebody sleeps, and notes the sleeps."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


class Perform(Protocol):
    """Performs a call against an endpoint, with a client of its own."""

    def __call__(self, call: Call[T], endpoint: Endpoint, times: FakeTime | None = None) -> T: ...


def _run(call: Call[T], endpoint: Endpoint, times: FakeTime | None = None) -> T:
    times = times or FakeTime()
    with Client(endpoint) as client:
        return drivers.run(call, client, clock=times.clock, sleep=times.sleep)


def _arun(call: Call[T], endpoint: Endpoint, times: FakeTime | None = None) -> T:
    times = times or FakeTime()

    async def main() -> T:
        async with AsyncClient(endpoint) as client:
            return await drivers.arun(call, client, clock=times.clock, sleep=times.asleep)

    return asyncio.run(main())


def _over_a_line(call: Call[T], endpoint: Endpoint, times: FakeTime | None = None) -> T:
    times = times or FakeTime()

    async def look_up() -> Endpoint:
        await asyncio.to_thread(polling_client)
        return endpoint

    async def main() -> T:
        async with SharedLine("fal_x", look_up) as line:
            return await drivers.arun(call, line, clock=times.clock, sleep=times.asleep)

    return asyncio.run(main())


@pytest.fixture(params=["run", "arun", "over a line", "over a line with httpx alone"])
def perform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Perform:
    if request.param == "over a line with httpx alone":
        monkeypatch.setattr(api_line, "polling_client", lambda: AsyncClient)
    performs: dict[str, Perform] = {"run": _run, "arun": _arun}
    return performs.get(request.param, _over_a_line)


@pytest.fixture(autouse=True)
def no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def at(base_url: str, **extra: Any) -> Endpoint:
    return Endpoint.of("fal_x", host=base_url, key=KEY, extra=extra)


def steps(*given: Send | Pause) -> Call[list[Outcome]]:
    """Do these steps and return their outcomes."""
    outcomes = []
    for step in given:
        outcomes.append((yield step))
    return outcomes


def failure_of(outcome: Outcome) -> Failure:
    assert isinstance(outcome, Failure), outcome
    assert KEY not in repr(outcome)
    assert outcome.reason
    return outcome


# ---- what is sent and what comes back -------------------------------------------------------------------------------


def test_a_post_carries_the_body_its_type_and_the_key(perform: Perform) -> None:
    with serving(answer(202, QUEUED)) as server:
        invocation = perform(protocol.submit(REQUEST, patience=0), at(server.base_url))
    assert invocation.request_id == "r1"
    [request] = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/v1/async-invoke", REQUEST.body())
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["accept"] == "application/json"


def test_a_get_has_no_body(perform: Perform) -> None:
    with serving(answer(200, QUEUED)) as server:
        perform(protocol.get("r1", patience=0), at(server.base_url))
    [request] = server.requests
    assert (request.method, request.path, request.body) == ("GET", "/v1/async-invoke/r1", b"")
    assert "content-type" not in request.headers
    assert request.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/async-invoke/"])
def test_the_path_of_the_api_is_never_doubled(perform: Perform, suffix: str) -> None:
    with serving(answer(200, QUEUED)) as server:
        perform(protocol.get("r1", patience=0), at(server.base_url + suffix))
        perform(protocol.get("r1", patience=0), at(f"{server.base_url}/gate{suffix}"))
    assert [request.path for request in server.requests] == ["/v1/async-invoke/r1", "/gate/v1/async-invoke/r1"]


@pytest.mark.parametrize(
    ("request_id", "segment"),
    [("a/b c?d#e", "a%2Fb%20c%3Fd%23e"), ("ü", "%C3%BC"), ("..", "%2E%2E"), (".", "%2E"), ("%2F", "%252F")],
)
def test_a_request_id_arrives_as_one_segment_of_the_path(perform: Perform, request_id: str, segment: str) -> None:
    with serving(answer(200, {"status": "QUEUED"})) as server:
        perform(protocol.get(request_id, patience=0), at(server.base_url))
    assert [request.path for request in server.requests] == [f"/v1/async-invoke/{segment}"]


def test_a_reply_is_handed_on_with_its_status_headers_body_and_time(perform: Perform) -> None:
    times = FakeTime()
    with serving(answer(429, b"slow down", Retry_After="7", RateLimit_Remaining="0")) as server:
        [outcome] = perform(steps(GET), at(server.base_url), times)
    assert isinstance(outcome, Reply)
    assert (outcome.status, outcome.body, outcome.at) == (429, b"slow down", times.now)
    assert (outcome.headers["retry-after"], outcome.headers["ratelimit-remaining"]) == ("7", "0")


def test_who_polls_makes_a_connection_once_for_several_requests(perform: Perform) -> None:
    with serving(answer(200, QUEUED)) as server:
        perform(steps(GET, GET, GET), at(server.base_url))
    assert len({request.client for request in server.requests}) == (3 if perform is _run else 1)
    assert PollSchedule().maximum < KEEPALIVE_SECONDS


@pytest.mark.parametrize("stale", [(400, b"stale"), (202, {"request_id": "stale"})])
def test_what_was_left_over_of_one_answer_is_not_taken_for_that_of_a_post(
    perform: Perform, stale: tuple[int, Any]
) -> None:
    if perform is _arun:
        pytest.skip("a client that awaits is given POSTs by a line alone, each to one of its own")

    def answer_twice(handler: Handler) -> None:
        answer(429, b"later")(handler)
        answer(*stale)(handler)

    with serving(answer_twice, answer(202, QUEUED)) as server:
        invocation = perform(protocol.submit(REQUEST, patience=60), at(server.base_url))
    assert invocation.request_id == "r1"
    assert len(server.requests) == 2


# ---- the key --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_the_key_does_not_go_there(perform: Perform, status: int) -> None:
    with serving(answer(200, DONE)) as elsewhere, serving(answer(status, Location=f"{elsewhere.base_url}/x")) as server:
        with pytest.raises(FalInvokeAPIError, match="Redirects are not followed"):
            perform(protocol.get("r1", patience=60), at(server.base_url))
        # These three are also sent after a request that was taken; 307 and 308 say that it is to be sent elsewhere.
        refusal = FalInvokeAmbiguousSubmitError if status in (301, 302, 303) else FalInvokeAPIError
        with pytest.raises(refusal):
            perform(protocol.submit(REQUEST, patience=60), at(server.base_url))
    assert [request.method for request in server.requests] == ["GET", "POST"]
    assert elsewhere.requests == []


@pytest.mark.parametrize("status", [200, 401, 500])
def test_a_key_that_the_api_repeats_is_blotted_out(perform: Perform, status: int) -> None:
    with serving(echo_key(status)) as server:
        [outcome] = perform(steps(GET), at(server.base_url))
    assert isinstance(outcome, Reply)
    assert outcome.body == b'{"message": "bad header: Bearer ***"}'


def test_a_key_in_a_line_that_no_parser_takes_is_not_in_the_reason(perform: Perform) -> None:
    with serving(quote_key) as server:
        [outcome] = perform(steps(GET), at(server.base_url))
    assert isinstance(outcome, Failure)
    assert KEY not in outcome.reason


def test_a_key_that_the_api_repeats_is_not_in_the_error(perform: Perform) -> None:
    with serving(echo_key(401)) as server, pytest.raises(FalInvokeAuthError) as caught:
        perform(protocol.get("r1", patience=0), at(server.base_url))
    assert "***" in str(caught.value)
    assert KEY not in str(caught.value)


# ---- failures -------------------------------------------------------------------------------------------------------


def test_a_closed_port_means_that_nothing_arrived(perform: Perform) -> None:
    [outcome] = perform(steps(POST), at(f"http://127.0.0.1:{closed_port()}"))
    failure = failure_of(outcome)
    assert (failure.arrived, failure.lasting) == (False, False)


def test_an_unknown_host_means_that_nothing_arrived(perform: Perform) -> None:
    [outcome] = perform(steps(POST), at("https://nonexistent.invalid"))
    failure = failure_of(outcome)
    assert (failure.arrived, failure.lasting) == (False, False)


def test_tls_to_a_port_that_speaks_plain_http_means_that_nothing_arrived(perform: Perform) -> None:
    with serving(answer(200, QUEUED)) as server:
        [outcome] = perform(steps(POST), at(server.base_url.replace("http:", "https:")))
    assert not failure_of(outcome).arrived
    assert server.requests == []


def test_a_tls_handshake_that_is_never_answered_means_that_nothing_arrived(perform: Perform) -> None:
    with listening_in_silence() as port:
        [outcome] = perform(steps(POST), at(f"https://127.0.0.1:{port}", connect_timeout=0.2))
    failure = failure_of(outcome)
    assert (failure.arrived, failure.lasting) == (False, False)
    assert "ConnectTimeout" in failure.reason


def test_a_tls_handshake_that_is_hung_up_on_means_that_nothing_arrived(perform: Perform) -> None:
    with hanging_up() as port:
        [outcome] = perform(steps(POST), at(f"https://127.0.0.1:{port}"))
    failure = failure_of(outcome)
    assert (failure.arrived, failure.lasting) == (False, False)


@pytest.mark.parametrize("misbehave", [hang_up, talk_nonsense])
def test_an_answer_that_breaks_off_means_that_the_request_may_have_arrived(
    perform: Perform, misbehave: Callable[[Any], None]
) -> None:
    with serving(misbehave) as server:
        [outcome] = perform(steps(POST), at(server.base_url))
    failure = failure_of(outcome)
    assert (failure.arrived, failure.lasting) == (True, False)
    assert len(server.requests) == 1


def test_an_answer_that_does_not_come_in_time_means_that_the_request_may_have_arrived(perform: Perform) -> None:
    with serving(be_silent) as server:
        [outcome] = perform(steps(POST), at(server.base_url, read_timeout=0.2))
    failure = failure_of(outcome)
    assert (failure.arrived, failure.lasting) == (True, False)
    assert failure.reason.startswith("ReadTimeout")


def test_of_an_answer_to_a_post_that_breaks_off_what_came_is_handed_on(perform: Perform) -> None:
    with serving(answer(200, b'{"request_id": "r1", "sta', length=500)) as server:
        [outcome] = perform(steps(POST), at(server.base_url))
    assert isinstance(outcome, Reply)
    assert (outcome.status, outcome.body) == (200, b'{"request_id": "r1", "sta')
    assert outcome.cut


def test_an_id_in_what_came_of_an_answer_that_breaks_off_is_the_jobs(perform: Perform) -> None:
    with serving(answer(200, b'{"request_id": "r1", "sta', length=500)) as server:
        assert perform(protocol.submit(REQUEST, patience=60), at(server.base_url)).request_id == "r1"
    assert len(server.requests) == 1


def test_an_id_that_is_cut_off_is_none(perform: Perform) -> None:
    with (
        serving(answer(200, b'{"request_id": "r1', length=500)) as server,
        pytest.raises(FalInvokeAmbiguousSubmitError),
    ):
        perform(protocol.submit(REQUEST, patience=60), at(server.base_url))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body", [gzip.compress(json.dumps(QUEUED).encode()), json.dumps(QUEUED).encode()], ids=["gzip", "plain"]
)
def test_an_answer_is_unpacked_where_it_is_packed(perform: Perform, body: bytes) -> None:
    with serving(answer(200, body, Content_Encoding="gzip")) as server:
        assert perform(protocol.get("r1", patience=0), at(server.base_url)).status is InvocationStatus.QUEUED
    assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("misbehave", [hang_up, talk_nonsense, be_silent, answer(200, b"{", length=500), answer(502)])
def test_a_submit_that_may_have_arrived_is_posted_once(perform: Perform, misbehave: Callable[[Any], None]) -> None:
    with serving(misbehave) as server, pytest.raises(FalInvokeAmbiguousSubmitError):
        perform(protocol.submit(REQUEST, patience=600), at(server.base_url, read_timeout=0.2))
    assert [request.method for request in server.requests] == ["POST"]


@pytest.mark.parametrize(
    "misbehave",
    [
        hang_up,
        talk_nonsense,
        be_silent,
        answer(200, b"{", length=500),
        answer(200, gzip.compress(NOISE)[:-40] + b"y" * 40, Content_Encoding="gzip"),
    ],
)
def test_a_get_without_a_readable_answer_is_a_failure_and_no_crash(
    perform: Perform, misbehave: Callable[[Any], None]
) -> None:
    with serving(misbehave) as server:
        outcomes = perform(steps(GET, GET), at(server.base_url, read_timeout=0.2))
    for outcome in outcomes:
        assert not failure_of(outcome).lasting
        assert "ConnectTimeout" not in failure_of(outcome).reason


def test_a_get_to_a_closed_port_says_that_nobody_listens_there(perform: Perform) -> None:
    [outcome] = perform(steps(GET), at(f"http://127.0.0.1:{closed_port()}"))
    assert failure_of(outcome).reason.startswith("ConnectError")


def test_a_submit_to_a_closed_port_is_tried_until_its_patience_is_used_up(perform: Perform) -> None:
    times = FakeTime()
    with pytest.raises(FalInvokeUnreachableError, match="nothing is paid"):
        perform(protocol.submit(REQUEST, patience=20), at(f"http://127.0.0.1:{closed_port()}"), times)
    assert len(times.slept) >= 3
    assert sum(times.slept) <= 20


# ---- TLS ------------------------------------------------------------------------------------------------------------


def test_a_certificate_that_is_not_trusted_is_told_at_once(perform: Perform, tmp_path: Path) -> None:
    context, _ = self_signed(tmp_path)
    times = FakeTime()
    with serving(answer(200, QUEUED), tls=context) as server:
        [outcome] = perform(steps(POST), at(server.base_url))
        failure = failure_of(outcome)
        assert (failure.arrived, failure.lasting) == (False, True)
        with pytest.raises(FalInvokeUnreachableError, match=r"(?i)certificate"):
            perform(protocol.submit(REQUEST, patience=600), at(server.base_url), times)
    assert times.slept == []
    assert server.requests == []


def test_a_certificate_of_the_ca_bundle_is_trusted(perform: Perform, tmp_path: Path) -> None:
    context, certificate = self_signed(tmp_path)
    with serving(answer(200, QUEUED), tls=context) as server:
        invocation = perform(protocol.get("r1", patience=0), at(server.base_url, ca_bundle=str(certificate)))
    assert invocation.status is InvocationStatus.QUEUED


def test_tls_settings_are_made_once_for_a_ca_bundle(tmp_path: Path) -> None:
    _, certificate = self_signed(tmp_path)
    assert ssl_context(None) is ssl_context(None)
    assert ssl_context(str(certificate)) is ssl_context(str(certificate))
    assert ssl_context(str(certificate)) is not ssl_context(None)


def test_a_ca_bundle_that_cannot_be_read_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(OSError):
            ssl_context(str(tmp_path / name))


# ---- proxies --------------------------------------------------------------------------------------------------------


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    perform: Perform, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(answer(403)) as proxy, serving(answer(200, QUEUED)) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.base_url)
        perform(protocol.get("r1", patience=0), at(server.base_url))
    assert proxy.requests == []
    assert len(server.requests) == 1


def test_a_proxy_that_refuses_to_connect_means_that_nothing_arrived_and_gets_no_key(
    perform: Perform, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(answer(403)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.base_url)
        [outcome] = perform(steps(POST), at("https://inference.invalid"))
    failure = failure_of(outcome)
    assert (failure.arrived, failure.lasting) == (False, False)
    assert [request.method for request in proxy.requests] == ["CONNECT"]
    assert KEY not in repr(proxy.requests)


# ---- time -----------------------------------------------------------------------------------------------------------


def test_a_pause_sleeps_by_the_injected_clock_and_a_past_one_does_not(perform: Perform) -> None:
    times = FakeTime()
    begun = times.now
    outcomes = perform(
        steps(Pause(0.0), Pause(begun), Pause(begun + 7.0), Pause(begun + 3.0)), at("http://127.0.0.1:1"), times
    )
    assert outcomes == [Resumed(begun), Resumed(begun), Resumed(begun + 7.0), Resumed(begun + 7.0)]
    assert times.slept == [7.0]


def test_a_wait_of_an_hour_takes_no_time_here(perform: Perform) -> None:
    times = FakeTime()
    begun, started = times.now, time.monotonic()
    script = [*itertools.repeat(answer(200, QUEUED), 20), hang_up, answer(503), answer(200, DONE)]
    with serving(*script) as server:
        invocation = perform(
            protocol.wait("r1", submitted_at=begun, deadline=begun + 7200, schedule=PollSchedule.of(180.0, 180.0)),
            at(server.base_url),
            times,
        )
    assert invocation.status is InvocationStatus.COMPLETED
    assert times.now - begun > 3000
    assert len(server.requests) == len(script)
    assert {request.method for request in server.requests} == {"GET"}
    assert time.monotonic() - started < 10


def test_without_an_injected_clock_the_time_is_the_monotonic_one_and_it_is_known_how_far_the_wall_clock_is_ahead() -> (
    None
):
    before, wall_before = time.monotonic(), time.time()
    with serving(answer(200, QUEUED)) as server:
        with Client(at(server.base_url)) as client:
            resumed, reply = drivers.run(steps(Pause(0.0), GET), client)

        async def main() -> list[Outcome]:
            async with AsyncClient(at(server.base_url)) as aclient:
                return await drivers.arun(steps(Pause(0.0), GET), aclient)

        aresumed, areply = asyncio.run(main())
    outcomes = [one for one in (resumed, reply, aresumed, areply) if isinstance(one, (Resumed, Reply))]
    moments = [one.at for one in outcomes]
    assert before <= moments[0]
    assert moments == sorted(moments)
    assert moments[-1] <= time.monotonic()
    assert all(wall_before - 0.1 <= one.at + one.ahead <= time.time() + 0.1 for one in outcomes)
    assert len(outcomes) == 4


def test_what_a_call_raises_comes_through(perform: Perform) -> None:
    def raising() -> Call[None]:
        yield Pause(0.0)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        perform(raising(), at("http://127.0.0.1:1"))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_that_cannot_be_built_is_one_that_never_arrives(perform: Perform, method: str) -> None:
    with serving(answer(200)) as server:
        [outcome] = perform(steps(Send(method, "/" + "x" * 100_000)), at(server.base_url))
    failure = failure_of(outcome)
    assert (failure.arrived, failure.lasting) == (False, True)
    assert failure.reason.startswith("InvalidURL")
    assert server.requests == []


def test_the_settings_of_the_endpoint_reach_both_clients() -> None:
    endpoint = at("https://gate.example/fal", connect_timeout=3, read_timeout=7)

    async def main() -> tuple[httpx.Timeout, httpx.URL, bool]:
        async with AsyncClient(endpoint) as client:
            return client.timeout, client.base_url, client.follow_redirects

    with Client(endpoint) as client:
        blocking = (client.timeout, client.base_url, client.follow_redirects)
    assert blocking == asyncio.run(main())
    assert (blocking[0].connect, blocking[0].read, blocking[2]) == (3.0, 7.0, False)
    assert str(blocking[1]) == "https://gate.example/fal/"


def test_the_first_poll_imports_aiohttp_without_holding_up_the_loop() -> None:
    """The import takes some 300 ms, and every deferred task of the deployment shares the loop."""
    code = (
        "import asyncio, sys\n"
        "from airflow_provider_falinvoke.api.clients import polling_client\n"
        "from tests.support.loop_watch import run_watched\n"
        "assert 'aiohttp' not in sys.modules\n"
        "run_watched(asyncio.to_thread(polling_client))\n"
        "assert 'aiohttp' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr


# ---- pauses on an event loop ----------------------------------------------------------------------------------------


async def ends_of(pauses: list[float]) -> list[float]:
    """Return after how many seconds of the loop's time each of many pauses that begin now has ended."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def end_of(seconds: float) -> float:
        await drivers.asleep(seconds)
        return loop.time() - began

    return await asyncio.gather(*map(end_of, pauses))


def test_long_pauses_end_together_and_never_sooner() -> None:
    """An event loop that wakes for each of them takes a quarter more CPU for a poll."""
    pauses = [5.0 + number / 100 for number in range(100)]
    ends = run_stepped(ends_of(pauses), since=1234.56)
    assert len({round(end, 6) for end in ends}) <= 1 / drivers.TOGETHER + 1
    assert all(-1e-6 <= end - pause <= drivers.TOGETHER for pause, end in zip(pauses, ends, strict=True))


def test_a_short_pause_is_not_put_off_for_others() -> None:
    pauses = [0.0, 0.3, 1.1, 2.3]
    assert run_stepped(ends_of(pauses), since=1234.56) == pytest.approx(pauses)


def test_a_call_on_an_event_loop_pauses_like_that() -> None:
    async def took() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with AsyncClient(at("http://127.0.0.1:1")) as client:
            await drivers.arun(steps(Pause(began - 1), Pause(began + 10)), client, clock=loop.time)
        return loop.time() - began

    assert run_stepped(took(), since=0.1) == pytest.approx(10.15)
