"""How connections are made: names looked up once for all, a few connections at a time, and within a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import anyio
import httpcore
import httpx

from airflow_provider_falinvoke.api.resolver import Address, addresses_of, look_up

#: As httpcore has it.
SocketOption: TypeAlias = "tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]"

#: The connections to an endpoint that are being made at a time on an event loop.
NEW_AT_ONCE = 2
#: The bytes of a piece in which a body goes out, each within the time that is left.
_PIECE = 64 << 10
#: When the exchange of this thread has to be over, by the monotonic clock.
_deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let each connection of a :class:`Transport` that this thread uses meanwhile end after ``seconds``."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def _left(timeout: float | None, late: type[Exception]) -> float:
    left = _deadline.get() - time.monotonic()
    if left <= 0:
        raise late("the time is up")
    return left if timeout is None else min(timeout, left)


def _shares(addresses: list[Address], ends: float) -> Iterator[tuple[str, float]]:
    """Yield each address, and its share of the seconds that are left then."""
    for number, address in enumerate(addresses):
        yield address.host, max(0.001, (ends - time.monotonic()) / (len(addresses) - number))


class _Stream(httpcore.NetworkStream):
    """A connection that is used within the deadline alone, however slowly its other end drips."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            self._inner.write(buffer[start : start + _PIECE], _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> _Stream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> _Stream:
        seconds = _left(timeout, httpcore.ConnectTimeout)
        ends = time.monotonic() + seconds
        try:
            addresses = addresses_of(host, port, seconds)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        failed: Exception | None = None
        for address, share in _shares(addresses, ends):
            try:
                return _Stream(self._inner.connect_tcp(address, port, share, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        assert failed is not None, "a name that was looked up has an address"
        raise failed


class Transport(httpx.HTTPTransport):
    """Blocking connections, each used :func:`within` a deadline.

    :param settings: as :class:`httpx.HTTPTransport` has them.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._pool._network_backend = _Backend()  # httpx has no parameter for httpcore's


class _AsyncStream(httpcore.AsyncNetworkStream):
    """A connection before its TLS handshake, which is one of the few at a time as well."""

    def __init__(self, inner: httpcore.AsyncNetworkStream, places: asyncio.Semaphore) -> None:
        self._inner, self._places = inner, places

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            with anyio.fail_after(timeout):
                async with self._places:
                    return await self._inner.start_tls(ssl_context, server_hostname, timeout)
        except TimeoutError as error:
            await self._inner.aclose()
            raise httpcore.ConnectTimeout("the TLS handshake took too long") from error

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _AsyncBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, places: asyncio.Semaphore) -> None:
        self._inner = httpcore.AnyIOBackend()
        self._places = places

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            with anyio.fail_after(timeout) as scope:
                async with self._places:
                    addresses = await asyncio.wrap_future(look_up(host, port))
                    seconds = scope.deadline - anyio.current_time()
                    return await self._connected(addresses, port, seconds, local_address, socket_options)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"no connection to {host} in time") from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error

    async def _connected(
        self,
        addresses: list[Address],
        port: int,
        seconds: float,
        local_address: str | None,
        socket_options: Iterable[SocketOption] | None,
    ) -> httpcore.AsyncNetworkStream:
        failed: Exception | None = None
        for address, share in _shares(addresses, time.monotonic() + seconds):
            try:
                return _AsyncStream(
                    await self._inner.connect_tcp(address, port, share, local_address, socket_options), self._places
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        assert failed is not None, "a name that was looked up has an address"
        raise failed


class AsyncTransport(httpx.AsyncHTTPTransport):
    """Awaiting connections, a few of them made at a time.

    :param places: of those who make a connection now.
    :param settings: as :class:`httpx.AsyncHTTPTransport` has them.
    """

    def __init__(self, places: asyncio.Semaphore, **settings: Any) -> None:
        super().__init__(**settings)
        self._pool._network_backend = _AsyncBackend(places)  # httpx has no parameter for httpcore's
