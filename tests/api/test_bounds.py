"""What one exchange may take, of time and of memory, whatever its host does; on a real socket, with each client."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import socket
import statistics
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_falinvoke.api import line as api_line
from airflow_provider_falinvoke.api import protocol
from airflow_provider_falinvoke.api.clients import AsyncClient, Client, polling_client, ssl_context
from airflow_provider_falinvoke.api.drivers import arun, run
from airflow_provider_falinvoke.api.endpoint import Endpoint
from airflow_provider_falinvoke.api.exchange import ERROR_PAGE, LAST_ANSWER, Bounds, Exchange, unpacked
from airflow_provider_falinvoke.api.line import IN_FLIGHT, Line
from airflow_provider_falinvoke.api.models import InvocationStatus, InvokeRequest
from airflow_provider_falinvoke.api.network import NEW_AT_ONCE
from airflow_provider_falinvoke.api.outcomes import Call, Failure, Outcome, Reply, Resumed, Send, T
from airflow_provider_falinvoke.api.protocol import ANSWER_GRACE, LAST_LOOK_GRACE
from airflow_provider_falinvoke.exceptions import (
    FalInvokeAmbiguousSubmitError,
    FalInvokeConfigError,
    FalInvokeReplyTooLargeError,
    FalInvokeUnreachableError,
)
from tests.api.server import Handler, Script, answer, self_signed, serving
from tests.support.loop_watch import run_watched

pytestmark = pytest.mark.serial

REQUEST = InvokeRequest.build("fal-ai/flux/schnell", {"prompt": "a castle"})
QUEUED = {"request_id": "r1", "status": "QUEUED"}
GET = Send("GET", "/v1/async-invoke/r1")
POST = Send("POST", "/v1/async-invoke", b"{}")
#: A limit of time that a test waits for.
SHORT = 0.25
MIB = 1 << 20
Perform = Callable[[Call[T], Endpoint], T]


def at(url: str, **extra: Any) -> Endpoint:
    return Endpoint.of("c", host=url, key="sk-do-0123456789abcdef", extra=extra)


def steps(*given: Send) -> Call[list[Outcome]]:
    outcomes = []
    for step in given:
        outcomes.append((yield step))
    return outcomes


@pytest.fixture(params=["sync", "httpx", "aiohttp"])
def perform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Perform[Any]:
    polling_client()
    ssl_context(None)
    if request.param == "httpx":
        monkeypatch.setattr(api_line, "polling_client", lambda: AsyncClient)

    def blocking(call: Call[T], endpoint: Endpoint) -> T:
        with Client(endpoint) as client:
            return run(call, client)

    async def awaiting(call: Call[T], endpoint: Endpoint) -> T:
        async def look_up() -> Endpoint:
            return endpoint

        line = Line("c", look_up)
        try:
            return await arun(call, line)
        finally:
            await line.aclose()

    return blocking if request.param == "sync" else lambda call, endpoint: run_watched(awaiting(call, endpoint))


# ---- time -----------------------------------------------------------------------------------------------------------


def dripping(begin: bytes, drip: bytes) -> Script:
    """Send something whole, and then a byte now and then without an end."""

    def script(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(begin)
        while not handler.state.closing.wait(0.02):
            handler.wfile.write(drip)

    return script


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
DRIPS = {
    "a header": dripping(HEAD + b"X: ", b"x"),
    "a body": dripping(HEAD + b"Content-Length: 100000\r\n\r\n", b"x"),
    "chunks": dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "interim replies": dripping(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "an interim reply, then silence": dripping(b"HTTP/1.1 103 Early Hints\r\n\r\n", b""),
}


@pytest.mark.parametrize("drip", DRIPS)
def test_an_exchange_ends_in_time_however_its_answer_drips(perform: Perform[Any], drip: str) -> None:
    began = time.monotonic()
    with serving(DRIPS[drip]) as server:
        get, post = perform(steps(GET, POST), at(server.base_url, exchange_timeout=SHORT))
    assert time.monotonic() - began < 2 * SHORT + 5
    assert isinstance(get, Failure) and not get.lasting
    assert "exchange_timeout" in get.reason
    assert "exchange_timeout" in (post.cut if isinstance(post, Reply) else post.reason)
    assert isinstance(post, Reply) or post.arrived


def test_a_refusal_that_drips_is_a_refusal(perform: Perform[Any]) -> None:
    with serving(dripping(b"HTTP/1.1 422 No\r\nContent-Length: 5000\r\n\r\n", b"x")) as server:
        get, post = perform(steps(GET, POST), at(server.base_url, exchange_timeout=SHORT))
    assert (get.status, post.status) == (422, 422)


@pytest.mark.parametrize("body", [b'{"request_id": "r1", "output": "', b'{"request'])
def test_a_submit_whose_answer_drips_is_submitted_where_the_id_came(perform: Perform[Any], body: bytes) -> None:
    with serving(dripping(HEAD + b"Content-Length: 100000\r\n\r\n" + body, b"x")) as server:
        call, endpoint = protocol.submit(REQUEST, patience=60), at(server.base_url, exchange_timeout=SHORT)
        if b"r1" in body:
            assert perform(call, endpoint).request_id == "r1"
        else:
            with pytest.raises(FalInvokeAmbiguousSubmitError, match="exchange_timeout"):
                perform(call, endpoint)
    assert [request.method for request in server.requests] == ["POST"]


@pytest.mark.parametrize("answer_by", [1_000.0, 1_000 + LAST_ANSWER, 1_007.0, 1_300.0, 2_000.0, math.inf])
def test_an_exchange_ends_with_the_use_of_its_answer(answer_by: float) -> None:
    exchange = Exchange(Send("GET", "/x", answer_by=answer_by), Bounds(300.0, MIB), 1_000.0)
    assert exchange.seconds == min(300.0, max(LAST_ANSWER, answer_by - 1_000))


@pytest.mark.parametrize("asked_at", [0.0, 50.0, 99.9])
def test_no_get_is_waited_for_longer_than_ten_seconds_beyond_its_deadline(asked_at: float) -> None:
    call = protocol.get("r1", patience=100)
    next(call)
    step = call.send(Resumed(0.0))
    assert isinstance(step, Send)
    exchange = Exchange(step, Bounds(300.0, MIB), asked_at)
    assert asked_at + exchange.seconds <= 100 + ANSWER_GRACE


def test_the_last_request_of_a_wait_has_some_seconds_for_its_answer() -> None:
    assert LAST_LOOK_GRACE + LAST_ANSWER <= ANSWER_GRACE


# ---- size -----------------------------------------------------------------------------------------------------------


def flood(begin: bytes) -> Script:
    """Send a body without an end."""

    def script(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(HEAD + b"\r\n" + begin)
        while not handler.state.closing.is_set():
            handler.wfile.write(b"x" * 65_536)

    return script


def packed(status: int, begin: bytes, size: int) -> Script:
    """Send a small body that is a large one unpacked."""
    return answer(status, gzip.compress(begin + bytes(size)), Content_Encoding="gzip")


BEGIN = b'{"request_id": "r1", "status": "COMPLETED", "output": "'


@pytest.mark.parametrize("script", [flood(BEGIN), packed(200, BEGIN, 64 * MIB)], ids=["flood", "bomb"])
def test_a_get_whose_answer_is_too_large_fails_for_good_and_keeps_the_job(
    perform: Perform[Any], script: Script
) -> None:
    with serving(script) as server:
        endpoint = at(server.base_url, max_reply_size=MIB)
        tracemalloc.start()
        with pytest.raises(
            FalInvokeReplyTooLargeError, match=r"larger than 1048576 bytes; raise max_reply_size"
        ) as caught:
            perform(protocol.get("r1", patience=600), endpoint)
        assert tracemalloc.get_traced_memory()[1] < 40 * MIB
        tracemalloc.stop()
    assert not caught.value.may_pass
    assert caught.value.request_id == "r1"
    assert isinstance(caught.value, FalInvokeUnreachableError)  # the job is there to be collected
    assert len(server.requests) == 1


@pytest.mark.parametrize("script", [flood(BEGIN), packed(202, BEGIN, 64 * MIB)], ids=["flood", "bomb"])
def test_a_submit_whose_answer_is_too_large_is_submitted_where_the_id_came(
    perform: Perform[Any], script: Script
) -> None:
    with serving(script) as server:
        invocation = perform(protocol.submit(REQUEST, patience=60), at(server.base_url, max_reply_size=MIB))
    assert invocation.request_id == "r1"
    assert [request.method for request in server.requests] == ["POST"]


def test_a_reply_of_just_the_size_is_whole(perform: Perform[Any]) -> None:
    body = json.dumps(QUEUED).encode().ljust(MIB)
    with serving(answer(200, body), answer(200, body + b" ")) as server:
        good, large = perform(steps(GET, GET), at(server.base_url, max_reply_size=MIB))
    assert isinstance(good, Reply) and good.body == body
    assert isinstance(large, Failure) and large.oversized


@pytest.mark.parametrize("script", [answer(500, b"x" * MIB), packed(500, b"x" * MIB, 64 * MIB)], ids=["plain", "bomb"])
def test_of_an_error_page_the_beginning_is_read(perform: Perform[Any], script: Script) -> None:
    with serving(script) as server:
        [page] = perform(steps(GET), at(server.base_url))
    assert (page.status, page.body, page.cut) == (500, b"x" * ERROR_PAGE, "")


def test_a_large_reply_is_read_without_holding_up_the_loop(perform: Perform[Any]) -> None:
    body = json.dumps({**QUEUED, "status": "COMPLETED", "output": {"image": "é" + "x" * (12 * MIB)}}).encode()
    with serving(answer(200, body)) as server:
        assert perform(protocol.get("r1", patience=0), at(server.base_url)).status is InvocationStatus.COMPLETED


@pytest.mark.parametrize("codings", ["gzip", "x-gzip", "GZIP", "deflate", "gzip, identity", "utf-8, gzip"])
def test_what_is_packed_is_unpacked(codings: str) -> None:
    assert unpacked(gzip.compress(b"abc" * 1000), codings, 10_000) == (b"abc" * 1000, True)


@pytest.mark.parametrize("codings", ["", "gzip", "deflate", "br", "gzip, gzip, gzip, gzip", ",,"])
def test_what_is_not_packed_is_taken_as_it_is(codings: str) -> None:
    body = json.dumps(QUEUED).encode()
    assert unpacked(body, codings, 10_000)[0] == body


# ---- what aiohttp does not read -------------------------------------------------------------------------------------


def raw(head: bytes) -> Script:
    body = json.dumps(QUEUED).encode()

    def script(handler: Handler) -> None:
        handler.close_connection = True
        framing = b"Connection: close\r\nContent-Length: %d\r\n" % len(body)
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + framing + head + b"\r\n" + body)

    return script


@pytest.mark.parametrize(
    "head",
    [
        b"X: " + b"x" * 9_000 + b"\r\n",
        b"X: 1\r\n" * 500,
        b"Content-Length: %d\r\n" % len(json.dumps(QUEUED)),
    ],
    ids=["a long line", "500 headers", "a doubled length"],
)
def test_each_client_reads_the_same_heads(perform: Perform[Any], head: bytes) -> None:
    with serving(raw(head)) as server:
        assert [outcome.status for outcome in perform(steps(GET, GET, GET), at(server.base_url))] == [200] * 3
    assert len(server.requests) <= 4  # what was a help once is asked at once


# ---- connections ----------------------------------------------------------------------------------------------------


@pytest.fixture
def hung_name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let each look-up of ``*.test`` hang; give what was asked."""
    asked, released, real = [], threading.Event(), socket.getaddrinfo

    def hang(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name.endswith(".test"):
            asked.append(name)
            released.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield asked
    released.set()


def test_a_name_server_that_hangs_ends_an_exchange_in_time(perform: Perform[Any], hung_name_server: list[str]) -> None:
    began = time.monotonic()
    outcomes = perform(steps(POST, GET), at("https://media.test", connect_timeout=SHORT))
    assert time.monotonic() - began < 2 * SHORT + 5
    assert [(outcome.arrived, outcome.lasting) for outcome in outcomes] == [(False, False)] * 2
    assert hung_name_server == ["media.test"]  # who comes later waits for the same answer


async def _delays(endpoint: Endpoint, bad: Endpoint | None) -> list[float]:
    """Return how long each of some polls takes while many others ask a bad host."""

    async def look_up() -> Endpoint:
        return endpoint

    async def look_up_bad() -> Endpoint:
        assert bad is not None
        return bad

    good_line, bad_line = Line("good", look_up), Line("bad", look_up_bad)
    others = [
        asyncio.ensure_future(arun(steps(*[GET] * 10), bad_line))
        for _ in range(2 * IN_FLIGHT if bad is not None else 0)
    ]
    await asyncio.sleep(0.1)
    took = []
    for number in range(12):
        began = time.monotonic()
        send = POST if number % 4 == 0 else GET  # which makes a new connection
        [outcome] = await arun(steps(send), good_line)
        assert isinstance(outcome, Reply)
        took.append(time.monotonic() - began)
        await asyncio.sleep(0.01)
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await good_line.aclose()
    await bad_line.aclose()
    return took


def hang_up_at_once(handler: Handler) -> None:
    handler.close_connection = True


BAD: dict[str, Script | None] = {
    "hangs in DNS": None,
    "drips": DRIPS["a body"],
    "says nothing but that it will": DRIPS["an interim reply, then silence"],
    "sends bombs": packed(200, BEGIN, 64 * MIB),
    "closes": hang_up_at_once,
}


@pytest.mark.parametrize("client", ["httpx", "aiohttp"])
@pytest.mark.parametrize("bad", BAD)
def test_what_one_host_does_is_nothing_to_the_jobs_of_another(
    bad: str, client: str, hung_name_server: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the median: a machine that does other things too delays some of them by itself."""
    polling_client()
    ssl_context(None)
    if client == "httpx":
        monkeypatch.setattr(api_line, "polling_client", lambda: AsyncClient)
    slow = 0.05

    def late(script: Script, seconds: float = slow) -> Script:
        def then(handler: Handler) -> None:
            handler.state.closing.wait(seconds)  # so that delays are measured, and not what many requests cost
            script(handler)

        return then

    script = BAD[bad]
    with serving(late(answer(200, QUEUED))) as good, serving(late(script or answer(200), 0.5)) as host:
        endpoint = Endpoint.of("good", host=f"http://localhost:{good.base_url.rpartition(':')[2]}", key="k" * 20)
        url = host.base_url if script else "https://api.test"
        alone = run_watched(_delays(endpoint, None))
        beside = run_watched(_delays(endpoint, at(url, exchange_timeout=2, max_reply_size=MIB)))
    assert statistics.median(beside) <= 1.5 * max(slow, statistics.median(alone))


@pytest.mark.parametrize("client", ["httpx", "aiohttp"])
def test_a_few_connections_are_made_at_a_time(client: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Counted by their TLS handshakes, which are most of the work."""
    context, certificate = self_signed(tmp_path)
    polling_client()
    if client == "httpx":
        monkeypatch.setattr(api_line, "polling_client", lambda: AsyncClient)
    now = most = 0
    lock = threading.Lock()
    listener = socket.create_server(("127.0.0.1", 0), backlog=50)

    def serve(connection: socket.socket) -> None:
        nonlocal now, most
        connection.recv(1, socket.MSG_PEEK)
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.03)
        with lock:
            now -= 1
        try:
            with context.wrap_socket(connection, server_side=True) as stream:
                while stream.recv(65_536):
                    stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        except OSError:
            pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    endpoint = at(url, ca_bundle=str(certificate))
    ssl_context(str(certificate))

    async def main() -> None:
        async def look_up() -> Endpoint:
            return endpoint

        line = Line("c", look_up)
        outcomes = await asyncio.gather(*(arun(steps(GET), line) for _ in range(IN_FLIGHT)))
        assert all(isinstance(outcome, Reply) for [outcome] in outcomes)
        await line.aclose()

    with listener:
        run_watched(main())
    assert most == NEW_AT_ONCE


# ---- proxies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "proxy", ["ftp://proxy.test:3128", "socks4://proxy.test", "http://", "http://[::1", "socks5://u:secret@h"]
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_that_cannot_be_used_is_an_error_that_names_the_variable(
    variable: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv(variable, proxy)
    monkeypatch.setitem(sys.modules, "socksio", None)
    for client in (Client, AsyncClient, polling_client()):
        with pytest.raises(FalInvokeConfigError, match=f"variable {variable} names a proxy") as caught:
            client(at("https://inference.invalid"))
        assert "secret" not in str(caught.value)
    Client(at("http://127.0.0.1:1")).close()  # it is not for this machine
    monkeypatch.setenv("no_proxy", "inference.invalid")
    Client(at("https://inference.invalid")).close()
