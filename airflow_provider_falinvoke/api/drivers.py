"""The only place that sends to the API: performs the steps of a call of ``protocol.py``, blocking or awaiting.

Files come from other hosts, and without the key: see ``downloads.py``.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any, NamedTuple, Protocol

import httpx

from airflow_provider_falinvoke.api.endpoint import Endpoint
from airflow_provider_falinvoke.api.outcomes import (
    Call,
    Failure,
    Outcome,
    Pause,
    Reply,
    Resumed,
    Say,
    Send,
    Step,
    T,
)
from airflow_provider_falinvoke.api.reading import MASK, SHORTEST_KEY, masked

log = logging.getLogger(__name__)

Clock = Callable[[], float]
HttpClient = httpx.Client
AsyncHttpClient = httpx.AsyncClient


class Observer(Protocol):
    """Stands by each request, in the process that sends it; awaiting or not, it is called directly."""

    def sending(self, step: Send) -> None:
        """Take note of a request that goes out next; what is raised here stops it, and ends the call."""

    def sent(self, step: Send, outcome: Outcome) -> None:
        """Take note of what became of it; must not raise, because a paid job may have begun."""


#: Longer than the pauses between polls, so that a connection is made once for a job.
KEEPALIVE_SECONDS = 60.0
#: Shorter than servers keep an idle connection: on one that is just being closed, a POST may or may not have arrived.
SUBMIT_KEEPALIVE_SECONDS = 3.0
#: Pauses that end within so many seconds end together: to wake the event loop for each took a fifth of a poll's CPU.
TOGETHER = 0.25
#: Shorter pauses end when they should: a tenth of one is less than that.
_SHORT_PAUSE = 10 * TOGETHER
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
    clock: Clock | None = None,
    sleep: Callable[[float], object] = time.sleep,
    observer: Observer | None = None,
) -> T:
    """Perform ``call``, blocking, and return what it returns.

    :param clock: gives the time in seconds, in place of the monotonic clock and of the wall clock.
    :param sleep: waits for so many seconds.
    :param observer: stands by each request.
    """
    with closing(call):  # at once: an exception may keep it alive, and with it a place at the gate
        try:
            step = next(call)
            while True:
                if isinstance(step, Pause) and (seconds := step.until - _moment(clock)[0]) > 0:
                    sleep(seconds)
                if observer is not None and isinstance(step, Send):
                    observer.sending(step)
                outcome = _perform(step, client, clock)
                if observer is not None and isinstance(step, Send):
                    observer.sent(step, outcome)
                step = call.send(outcome)
        except StopIteration as stop:
            result: T = stop.value
            return result


def sleep(seconds: float) -> None:
    """Do nothing for so many seconds; for what waits for a storage, on the worker."""
    time.sleep(seconds)


def asleep(seconds: float) -> Awaitable[None]:
    """Await so many seconds; a long pause ends together with others, up to :data:`TOGETHER` later and never sooner."""
    if seconds >= _SHORT_PAUSE:
        now = asyncio.get_running_loop().time()
        seconds = math.ceil((now + seconds) / TOGETHER) * TOGETHER - now
    return asyncio.sleep(seconds)


async def asleep_until(moment: float) -> None:
    """Await a moment, in epoch seconds; see :func:`asleep`."""
    await asleep(max(0.0, moment - time.time()))


class AsyncRequester(Protocol):
    """An :class:`httpx.AsyncClient`, or what stands for one."""

    async def request(
        self, method: str, url: str, *, content: bytes | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Send a request."""


async def arun(
    call: Call[T],
    client: AsyncRequester,
    *,
    clock: Clock | None = None,
    sleep: Callable[[float], Awaitable[object]] = asleep,
    observer: Observer | None = None,
) -> T:
    """Perform ``call`` on the running event loop and return what it returns, as :func:`run` does."""
    with closing(call):
        try:
            step = next(call)
            while True:
                if isinstance(step, Pause) and (seconds := step.until - _moment(clock)[0]) > 0:
                    await sleep(seconds)  # in no coroutine of its own: thousands of calls may pause at a time
                if observer is not None and isinstance(step, Send):
                    observer.sending(step)
                outcome = await _aperform(step, client, clock)
                if observer is not None and isinstance(step, Send):
                    observer.sent(step, outcome)
                step = call.send(outcome)
                del outcome  # nor does one that pauses need its last reply
        except StopIteration as stop:
            result: T = stop.value
            return result


def _moment(clock: Clock | None) -> tuple[float, float]:
    """Return the time by which a call goes, and by how many seconds the wall clock is ahead of it."""
    if clock is not None:
        return clock(), 0.0
    at = time.monotonic()
    return at, time.time() - at


def _perform(step: Step, client: httpx.Client, clock: Clock | None) -> Outcome:
    if isinstance(step, Say):
        log.log(step.level, step.message, *step.arguments)
    if isinstance(step, (Say, Pause)):
        return Resumed(*_moment(clock))
    try:
        return _reply(client.request(**_arguments(step)), *_moment(clock))
    except httpx.RequestError as error:
        return _failure(error, *_moment(clock))


async def _aperform(step: Step, client: AsyncRequester, clock: Clock | None) -> Outcome:
    if isinstance(step, Say) and log.isEnabledFor(step.level):
        await asyncio.to_thread(log.log, step.level, step.message, *step.arguments)
    if isinstance(step, (Say, Pause)):
        return Resumed(*_moment(clock))
    try:
        return _reply(await client.request(**_arguments(step)), *_moment(clock))
    except httpx.RequestError as error:
        return _failure(error, *_moment(clock))


def _arguments(step: Send) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"} if step.body is not None else {}
    return {"method": step.method, "url": step.path, "content": step.body, "headers": headers}


def _key_of(request: httpx.Request) -> str:
    return str(request.headers.get("Authorization", "")).removeprefix("Bearer ")


def _reply(response: httpx.Response, at: float, ahead: float) -> Reply:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.raw}
    # A host that repeats the key must not bring it into a log or an exception. Whoever reads the body masks the other
    # ways in which JSON may write it.
    key = _key_of(response.request)
    body = response.content.replace(key.encode(), MASK.encode()) if len(key) >= SHORTEST_KEY else response.content
    return Reply(response.status_code, headers, body, at, ahead, key)


def _failure(error: httpx.RequestError, at: float, ahead: float) -> Failure:
    try:
        key = _key_of(error.request)
    except RuntimeError:  # it knows of none
        key = ""
    # A parser's error quotes what the host sent.
    reason = f"{type(error).__name__}: {masked(str(error), key)}" if str(error) else type(error).__name__
    return Failure(reason, not isinstance(error, _NEVER_ARRIVED), at, _is_lasting(error), ahead)


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
    limits = httpx.Limits(keepalive_expiry=SUBMIT_KEEPALIVE_SECONDS)
    return httpx.Client(**_client_options(endpoint) | {"limits": limits})


def open_async_client(endpoint: Endpoint) -> httpx.AsyncClient:
    """Return the awaiting twin of :func:`open_client`. Call :func:`ssl_context` in a thread first: it blocks."""
    return httpx.AsyncClient(**_client_options(endpoint))


class _NoCookies(httpx.Cookies):
    def extract_cookies(self, response: httpx.Response) -> None:
        """Look for none: httpx makes a request and a reply of the standard library's of each poll for that."""


class PollingClient(httpx.AsyncClient):
    """A client of which httpx keeps no cookies: to look for them took 6 % of a poll's CPU in a profile."""

    cookies = _NoCookies()  # type: ignore[override]  # nobody sets them


class PollingTransport(NamedTuple):
    """What the triggerer polls with.

    :param client: the kind of client.
    :param translate: returns the right httpx error for one that it raised, or None where that is right.
    """

    client: type[httpx.AsyncClient]
    translate: Callable[[Exception], httpx.RequestError | None]


@functools.cache
def polling_transport() -> PollingTransport:
    """Return aiohttp's parser and sockets behind httpx's interface, where they are installed (the extra ``aiohttp``).

    They take some 60 % of the CPU. Call it in a thread first: the import takes some 300 ms.
    """
    try:
        import aiohttp
        from httpx_aiohttp import HttpxAiohttpClient
    except ImportError:
        return PollingTransport(PollingClient, lambda _: None)

    def translate(error: Exception) -> httpx.RequestError | None:
        # The transport lets some of aiohttp's errors through, and takes a refused or broken connection for a timeout.
        cause = error.__cause__ if isinstance(error, httpx.ConnectTimeout) else error
        if not isinstance(cause, aiohttp.ClientError) or isinstance(cause, aiohttp.ServerTimeoutError):
            return None
        kind = httpx.ConnectError if isinstance(cause, aiohttp.ClientConnectorError) else httpx.ReadError
        return kind(str(cause) or type(cause).__name__)

    class AiohttpPollingClient(PollingClient, HttpxAiohttpClient):
        pass

    return PollingTransport(AiohttpPollingClient, translate)


def open_polling_client(endpoint: Endpoint) -> httpx.AsyncClient:
    """Return a client that sends GETs with little CPU. Never a POST: its errors do not tell whether one arrived."""
    return polling_transport().client(**_client_options(endpoint))


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


def preview(step: Send, endpoint: Endpoint) -> httpx.Request:
    """Return the request that performing ``step`` would send, headers and all, the key among them. Nothing is sent."""
    with open_client(endpoint) as client:
        return client.build_request(**_arguments(step))
