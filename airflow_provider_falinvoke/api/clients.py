"""The HTTP clients for the API's host: a request goes in, an outcome comes back, and no library's exception does."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from typing import Any, cast

import anyio
import httpx

from airflow_provider_falinvoke.api.endpoint import Endpoint
from airflow_provider_falinvoke.api.exchange import Bounds, Clock, Exchange, arguments, unsendable
from airflow_provider_falinvoke.api.network import NEW_AT_ONCE, AsyncTransport, Transport, within
from airflow_provider_falinvoke.api.outcomes import Failure, Reply, Send
from airflow_provider_falinvoke.api.proxy import proxy_of
from airflow_provider_falinvoke.api.resolver import look_up
from airflow_provider_falinvoke.api.threads import in_thread

#: Longer than the pauses between polls, so that a connection is made once for a job.
KEEPALIVE_SECONDS = 60.0


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


class _NoCookies(httpx.Cookies):
    def extract_cookies(self, response: httpx.Response) -> None:
        """Look for none: httpx makes a request and a reply of the standard library's of each poll for that."""


class Client(httpx.Client):
    """Sends the key to the endpoint's host, and nowhere else: redirects are not followed. Threads may share it.

    :param endpoint: the host.
    :raises FalInvokeConfigError: the environment has a proxy for it that cannot be used.
    """

    cookies = _NoCookies()  # type: ignore[override]  # nobody sets them

    def __init__(self, endpoint: Endpoint) -> None:
        # Each request has a connection of its own. On one that was used before, a POST may meet the server just as that
        # closes it; or what was left over of an earlier answer, which httpcore takes for the answer to the POST.
        limits = httpx.Limits(max_keepalive_connections=0)
        super().__init__(transport=Transport(**_transport_settings(endpoint, limits)), **_settings(endpoint))
        self._bounds = _bounds(endpoint)

    def exchange(self, step: Send, clock: Clock) -> Reply | Failure:
        """Send a request and return what came of it."""
        try:
            request = self.build_request(**arguments(step))
        except Exception as error:
            return unsendable(error, clock())
        exchange = Exchange(step, self._bounds, clock())
        try:
            with within(exchange.seconds), closing(self.send(request, stream=True)) as response:
                exchange.begin(response)
                if all(exchange.take(chunk) for chunk in response.iter_raw()):
                    exchange.end()
        except Exception as error:  # of httpx, h11, ssl, the resolver, …: a request that was sent must not end in one
            exchange.fail(error)
        return exchange.outcome(clock())


Build = Callable[["AsyncClient", Send], httpx.Request]


def _built(client: AsyncClient, step: Send) -> httpx.Request:
    return client.build_request(**arguments(step))


class AsyncClient(httpx.AsyncClient):
    """The awaiting twin of :class:`Client`. Call :func:`ssl_context` in a thread first: it blocks.

    :param endpoint: the host.
    :param places: of those who make a connection to it now.
    :raises FalInvokeConfigError: the environment has a proxy for it that cannot be used.
    """

    def __init__(self, endpoint: Endpoint, places: asyncio.Semaphore | None = None) -> None:
        places = places or asyncio.Semaphore(NEW_AT_ONCE)
        self._to_host = self._transport_to(endpoint, places)
        super().__init__(transport=self._to_host, **_settings(endpoint))
        self._bounds = _bounds(endpoint)

    @staticmethod
    def _transport_to(endpoint: Endpoint, places: asyncio.Semaphore) -> httpx.AsyncBaseTransport:
        limits = httpx.Limits(keepalive_expiry=KEEPALIVE_SECONDS)
        return AsyncTransport(places, **_transport_settings(endpoint, limits))

    async def exchange(self, step: Send, clock: Clock, build: Build = _built) -> Reply | Failure:
        """Send a request and return what came of it.

        :param build: makes the request of the library.
        """
        try:
            request = build(self, step)
        except Exception as error:
            return unsendable(error, clock())
        exchange = Exchange(step, self._bounds, clock())
        try:
            with anyio.fail_after(exchange.seconds):
                # Not by send(): cookies, redirects and a log line of its own, on the loop, are a tenth of a poll's CPU.
                response = await self._to_host.handle_async_request(request)
                try:
                    exchange.begin(response)
                    chunks = cast("AsyncGenerator[bytes]", aiter(cast("httpx.AsyncByteStream", response.stream)))
                    async for chunk in chunks:
                        if not exchange.take(chunk):
                            await chunks.aclose()
                            break
                    else:
                        exchange.end()
                finally:
                    await response.aclose()
        except Exception as error:  # as above
            exchange.fail(self._translated(error))
        if exchange.is_large:
            return await in_thread(exchange.outcome, clock())
        return exchange.outcome(clock())

    def _translated(self, error: Exception) -> Exception:
        return error


@functools.cache
def polling_client() -> type[AsyncClient]:
    """Return what the triggerer polls with: aiohttp's parser and sockets, where they are installed (extra ``aiohttp``).

    They take some 60 % of the CPU. Call it in a thread first: the import takes some 300 ms.
    """
    try:
        import aiohttp
        from httpx_aiohttp import AiohttpTransport
    except ImportError:
        return AsyncClient

    class Resolver(aiohttp.abc.AbstractResolver):  # type: ignore[misc]  # unseen by mypy
        async def resolve(self, host: str, port: int = 0, family: int = 0) -> Any:
            found = await asyncio.wrap_future(look_up(host, port))
            common = {"hostname": host, "port": port, "proto": 0, "flags": 0}
            return [{**common, "host": address.host, "family": address.family} for address in found]

        async def close(self) -> None:
            """Nothing is open."""

    class Connector(aiohttp.TCPConnector):  # type: ignore[misc]  # as above
        def __init__(self, places: asyncio.Semaphore, **settings: Any) -> None:
            super().__init__(resolver=Resolver(), **settings)
            self._places = places

        async def _create_connection(self, request: Any, traces: Any, timeout: Any) -> Any:
            with anyio.fail_after(timeout.sock_connect):
                async with self._places:
                    return await super()._create_connection(request, traces, timeout)

    class AiohttpClient(AsyncClient):
        """Sends GETs with little CPU. Never a POST: its errors do not tell whether one arrived.

        What aiohttp cannot parse or reach, httpx may: it is asked then, and from then on where it could.
        """

        def __init__(self, endpoint: Endpoint, places: asyncio.Semaphore | None = None) -> None:
            self._endpoint, self._places = endpoint, places or asyncio.Semaphore(NEW_AT_ONCE)
            super().__init__(endpoint, self._places)
            self._is_at_a_loss = False
            self._other: AsyncClient | None = None

        @staticmethod
        def _transport_to(endpoint: Endpoint, places: asyncio.Semaphore) -> httpx.AsyncBaseTransport:
            context = ssl_context(endpoint.extra.ca_bundle)

            def session() -> aiohttp.ClientSession:
                connector = Connector(places, ssl=context, keepalive_timeout=KEEPALIVE_SECONDS)
                return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

            proxy = _proxy_to(endpoint)
            return AiohttpTransport(verify=context, proxy=httpx.Proxy(proxy) if proxy else None, client=session)

        async def exchange(self, step: Send, clock: Clock, build: Build = _built) -> Reply | Failure:
            if self._other is not None:
                return await self._other.exchange(step, clock, build)
            self._is_at_a_loss = False
            outcome = await super().exchange(step, clock, build)
            if not self._is_at_a_loss:
                return outcome
            other = AsyncClient(self._endpoint, self._places)
            outcome = await other.exchange(step, clock, build)
            if isinstance(outcome, Reply):
                self._other = other
            else:
                await other.aclose()
            return outcome

        async def aclose(self) -> None:
            await super().aclose()
            if self._other is not None:
                await self._other.aclose()

        def _translated(self, error: Exception) -> Exception:
            # The transport lets some of aiohttp's errors through, and takes a refused or broken connection for a
            # timeout.
            cause = error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ else error
            if isinstance(cause, aiohttp.ClientConnectorError):
                return _with_cause(httpx.ConnectError(str(cause)), cause)
            if isinstance(cause, aiohttp.ServerTimeoutError) or isinstance(error, TimeoutError):
                return error
            if isinstance(cause, (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)):
                return _with_cause(httpx.ReadError(str(cause) or type(cause).__name__), cause)
            self._is_at_a_loss = not isinstance(error, httpx.HTTPError)
            return error

    return AiohttpClient


def _with_cause(error: Exception, cause: BaseException | None) -> Exception:
    error.__cause__ = cause
    return error


def _bounds(endpoint: Endpoint) -> Bounds:
    extra = endpoint.extra
    return Bounds(extra.exchange_timeout, extra.max_reply_size, endpoint.key.get_secret_value())


def _settings(endpoint: Endpoint) -> dict[str, Any]:
    extra = endpoint.extra
    # To connect takes two of these at the most, the TLS handshake being one: less than the exchange, because of one
    # that ends in this phase it is certain that nothing arrived.
    connect = min(extra.connect_timeout, extra.exchange_timeout / 3)
    return {
        "base_url": endpoint.base_url,
        "headers": {
            "Authorization": f"Bearer {endpoint.key.get_secret_value()}",
            "Accept": "application/json",
            # What is packed small can be large: to unpack 1 GB took the event loop 20 s.
            "Accept-Encoding": "identity",
        },
        "timeout": httpx.Timeout(extra.read_timeout, connect=connect),
        "follow_redirects": False,
        "trust_env": False,  # its proxies are the transport's business
    }


def _transport_settings(endpoint: Endpoint, limits: httpx.Limits) -> dict[str, Any]:
    return {"verify": ssl_context(endpoint.extra.ca_bundle), "limits": limits, "proxy": _proxy_to(endpoint)}


def check_proxy(endpoint: Endpoint) -> None:
    """Make sure that a client can be opened.

    :raises FalInvokeConfigError: the environment has a proxy for the endpoint that cannot be used.
    """
    _proxy_to(endpoint)


def _proxy_to(endpoint: Endpoint) -> str | None:
    # A proxy of the environment is for hosts out there; what runs on this machine is reached directly.
    return None if endpoint.is_loopback else proxy_of(httpx.URL(endpoint.base_url))


def preview(step: Send, endpoint: Endpoint) -> httpx.Request:
    """Return the request that performing ``step`` would send, headers and all, the key among them. Nothing is sent."""
    with Client(endpoint) as client:
        return client.build_request(**arguments(step))
