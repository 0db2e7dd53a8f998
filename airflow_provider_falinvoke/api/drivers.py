"""The only place that sends to the API: performs the steps of a call of ``protocol.py``, blocking or awaiting.

Files come from other hosts, and without the key: see ``downloads.py``.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from airflow_provider_falinvoke.api.endpoint import Endpoint
from airflow_provider_falinvoke.api.outcomes import Call, Failure, Outcome, Pause, Reply, Resumed, Send, Step, T
from airflow_provider_falinvoke.api.pacing import Gate

Clock = Callable[[], float]
#: Told of each request that was sent, and what became of it.
Observer = Callable[[Send, Outcome], object]

#: Longer than the pauses between polls, so that a connection is made once for a job.
KEEPALIVE_SECONDS = 60.0
#: Shorter keys (a test's) are words that a reply may well hold.
_SHORTEST_KEY = 8
#: Nothing was sent yet when one of these is raised; httpx reports a failed TLS handshake as ConnectError too.
_NEVER_ARRIVED = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


def run(
    call: Call[T],
    client: httpx.Client,
    *,
    clock: Clock = time.time,
    sleep: Callable[[float], object] = time.sleep,
    observe: Observer | None = None,
) -> T:
    """Perform ``call``, blocking, and return what it returns.

    :param clock: gives the time in epoch seconds.
    :param sleep: waits for so many seconds.
    :param observe: is told of each request.
    """
    try:
        step = next(call)
        while True:
            outcome = _perform(step, client, clock, sleep)
            if observe is not None and isinstance(step, Send):
                observe(step, outcome)
            step = call.send(outcome)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def arun(
    call: Call[T],
    client: httpx.AsyncClient,
    *,
    clock: Clock = time.time,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    gate: Gate | None = None,
    observe: Observer | None = None,
) -> T:
    """Perform ``call`` on the running event loop and return what it returns, as :func:`run` does.

    :param gate: each request waits for its place here.
    """
    try:
        step = next(call)
        while True:
            if gate is not None and isinstance(step, Send):
                await sleep(gate.reserve(now := clock()) - now)
            outcome = await _aperform(step, client, clock, sleep)
            if observe is not None and isinstance(step, Send):
                observe(step, outcome)
            step = call.send(outcome)
    except StopIteration as stop:
        result: T = stop.value
        return result


def _perform(step: Step, client: httpx.Client, clock: Clock, sleep: Callable[[float], object]) -> Outcome:
    if isinstance(step, Pause):
        if (seconds := step.until - clock()) > 0:
            sleep(seconds)
        return Resumed(clock())
    try:
        return _reply(client.request(**_arguments(step)), clock())
    except httpx.RequestError as error:
        return _failure(error, clock())


async def _aperform(
    step: Step, client: httpx.AsyncClient, clock: Clock, sleep: Callable[[float], Awaitable[object]]
) -> Outcome:
    if isinstance(step, Pause):
        if (seconds := step.until - clock()) > 0:
            await sleep(seconds)
        return Resumed(clock())
    try:
        return _reply(await client.request(**_arguments(step)), clock())
    except httpx.RequestError as error:
        return _failure(error, clock())


async def asleep_until(moment: float) -> None:
    """Await a moment, in epoch seconds."""
    await asyncio.sleep(max(0.0, moment - time.time()))


def _arguments(step: Send) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"} if step.body is not None else {}
    return {"method": step.method, "url": step.path, "content": step.body, "headers": headers}


def _reply(response: httpx.Response, at: float) -> Reply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    # A host that repeats the key in an error body must not bring it into a log or an exception.
    key = response.request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
    body = response.content.replace(key, b"***") if len(key) >= _SHORTEST_KEY else response.content
    return Reply(response.status_code, headers, body, at)


def _failure(error: httpx.RequestError, at: float) -> Failure:
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Failure(reason, not isinstance(error, _NEVER_ARRIVED), at, lasting=_is_lasting(error))


def _is_lasting(error: BaseException | None) -> bool:
    if error is None:
        return False
    if isinstance(error, (ssl.SSLCertVerificationError, httpx.UnsupportedProtocol, httpx.LocalProtocolError)):
        return True
    return _is_lasting(error.__cause__ or error.__context__)


@functools.lru_cache(maxsize=8)
def ssl_context(ca_bundle: str | None) -> ssl.SSLContext:
    """Return the TLS settings: the usual certificates, and those of a CA bundle.

    Made once in a process, because loading takes some 30 ms of CPU; so a changed bundle needs a new process.

    :raises OSError: if the bundle cannot be read.
    """
    context = httpx.create_ssl_context()
    if ca_bundle is not None:
        context.load_verify_locations(ca_bundle)
    return context


def open_client(endpoint: Endpoint) -> httpx.Client:
    """Return a client that sends the key to the endpoint's host, and nowhere else: redirects are not followed."""
    return httpx.Client(**_client_options(endpoint))


def open_async_client(endpoint: Endpoint) -> httpx.AsyncClient:
    """Return the awaiting twin of :func:`open_client`. Call :func:`ssl_context` in a thread first: it blocks."""
    return httpx.AsyncClient(**_client_options(endpoint))


def _client_options(endpoint: Endpoint) -> dict[str, Any]:
    extra = endpoint.extra
    return {
        "base_url": endpoint.base_url,
        "headers": {"Authorization": f"Bearer {endpoint.key.get_secret_value()}", "Accept": "application/json"},
        "timeout": httpx.Timeout(extra.read_timeout, connect=extra.connect_timeout),
        "limits": httpx.Limits(keepalive_expiry=KEEPALIVE_SECONDS),
        "verify": ssl_context(extra.ca_bundle),
        "follow_redirects": False,
        # A proxy of the environment is for hosts out there; what runs on this machine is reached directly.
        "trust_env": not endpoint.is_loopback,
    }
