"""Fetch files from hosts that nobody vouches for: guarded, within limits, resumed after a drop. Sends and sleeps.

No key, cookie or other credential is known here. A redirect is one more URL to be checked, a few times. Every address
is checked twice: as the resolver gives it, and as the one that a connection really has, before a request is sent on it,
so that a name which resolves to something else the second time (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Protocol

import httpx

from airflow_provider_falinvoke.api.addresses import Reach, problem_of, reach_of
from airflow_provider_falinvoke.api.clients import ssl_context
from airflow_provider_falinvoke.api.endpoint import Endpoint
from airflow_provider_falinvoke.api.exchange import described
from airflow_provider_falinvoke.api.network import Transport, within
from airflow_provider_falinvoke.api.pacing import backoff
from airflow_provider_falinvoke.api.proxy import proxy_of
from airflow_provider_falinvoke.api.resolver import addresses_of
from airflow_provider_falinvoke.api.transfer import (
    DEFAULT_MAX_BYTES,
    DEFAULT_SECONDS,
    MediaFailedError,
    PassingError,
    Transfer,
)
from airflow_provider_falinvoke.exceptions import FalInvokeConfigError

_REDIRECTS = 5
#: Failures in a row; one after so many bytes more is the first of a new row.
_TRIES, _ADVANCE = 4, 1 << 20


class Sink(Protocol):
    """Where the bytes of a file go."""

    def restart(self) -> None:
        """Forget what came before, if anything did: the file comes from its start."""

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""


class Downloader:
    """Fetches the files of a result; several threads may use one.

    :param endpoint: the connection's host. Where it is private, a file may lie on that host and port too; where it is
        this machine, as an emulator is, at any port of it; else only at a public address.
    :param max_bytes: the largest file.
    :param seconds: the time for one file by the wall clock, all tries together.
    """

    def __init__(
        self, endpoint: Endpoint, *, max_bytes: int = DEFAULT_MAX_BYTES, seconds: float = DEFAULT_SECONDS
    ) -> None:
        self._endpoint = endpoint
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._stopped = threading.Event()
        self._connections: set[_Connection] = set()

    def stop(self) -> None:
        """Let the downloads under way in other threads fail soon, and all later ones."""
        self._stopped.set()
        for connection in list(self._connections):
            connection.cut()

    def fetch(self, url: str, sink: Sink) -> None:
        """Fetch a file into ``sink``, in chunks; after a failure that may pass, the rest of it.

        :raises MediaFailedError: it may not be fetched, its host refused or kept failing, or a limit was reached.
        """
        deadline = time.monotonic() + self._seconds
        transfer = Transfer(self._max_bytes)
        failures = 0
        while True:
            before = transfer.size
            try:
                self._try(url, sink, transfer, deadline)
            except PassingError as error:
                if self._stopped.is_set():
                    raise MediaFailedError("the download was stopped") from None
                failures = 1 if transfer.size - before >= _ADVANCE else failures + 1
                pause = max(backoff(failures), error.after)
                if time.monotonic() + pause >= deadline:
                    late = f"it did not come within {self._seconds:g} s (download_timeout)"
                    raise MediaFailedError(f"{late}; last: {error}") from None
                if failures >= _TRIES:
                    raise MediaFailedError(str(error)) from None
            else:
                return
            self._stopped.wait(pause)

    def _try(self, url: str, sink: Sink, transfer: Transfer, deadline: float) -> None:
        with self._response(url, transfer.headers(), deadline) as response:
            if transfer.begin(response.status_code, response.headers):
                sink.restart()
            for chunk in _chunks(response):
                transfer.take(len(chunk))
                sink.write(chunk)
                if self._is_over(deadline):
                    break
            if self._is_over(deadline):  # also where the connection was cut, which looks like its end
                raise PassingError("the time is up")
            transfer.end()

    def _is_over(self, deadline: float) -> bool:
        return time.monotonic() >= deadline or self._stopped.is_set()

    @contextmanager
    def _response(self, url: str, headers: dict[str, str], deadline: float) -> Iterator[httpx.Response]:
        """Send the request, and again where a redirect leads; give the response before its body is read."""
        target = _parsed(url)
        for _ in range(_REDIRECTS + 1):
            with self._sent(target, headers, deadline) as response:
                if not response.has_redirect_location:
                    yield response
                    return
                target = _parsed(response.headers["location"], target)
        raise MediaFailedError(f"it lies behind more than {_REDIRECTS} redirects")

    @contextmanager
    def _sent(self, url: httpx.URL, headers: dict[str, str], deadline: float) -> Iterator[httpx.Response]:
        if problem := problem_of(url, http_allowed=self._endpoint.is_loopback):
            raise MediaFailedError(problem, lasting=True)
        try:
            proxy = None if self._endpoint.is_loopback else proxy_of(url)
        except FalInvokeConfigError as error:
            raise MediaFailedError(str(error)) from None
        self._check_addresses(url, max(0.001, deadline - time.monotonic()), proxied=proxy is not None)
        left = max(0.001, deadline - time.monotonic())
        extra = self._endpoint.extra
        timeout = httpx.Timeout(min(extra.read_timeout, left), connect=min(extra.connect_timeout, left))
        # The peer of a connection through a proxy is the proxy: there the addresses above are all that can be checked.
        connection = _Connection(lambda address: None if proxy else self._check(url, address))
        with self._client(proxy) as client, within(left), self._stoppable(connection):
            with _passing():
                request = client.build_request(
                    "GET", url, headers=headers, timeout=timeout, extensions={"trace": connection.trace}
                )
                response = client.send(request, stream=True)
            with contextlib.closing(response):
                with _passing():
                    connection.check_peer(response.extensions["network_stream"])
                yield response

    def _client(self, proxy: str | None) -> httpx.Client:
        """Return a client for one request: no connection is shared, so each is checked and cut off at its own time."""
        return httpx.Client(
            transport=Transport(verify=ssl_context(self._endpoint.extra.ca_bundle), proxy=proxy),
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
        )

    @contextmanager
    def _stoppable(self, connection: _Connection) -> Iterator[None]:
        """Let :meth:`stop` cut a connection."""
        self._connections.add(connection)
        try:
            yield
        finally:
            self._connections.discard(connection)

    def _check_addresses(self, url: httpx.URL, seconds: float, *, proxied: bool) -> None:
        try:
            addresses = _resolve(url, min(self._endpoint.extra.connect_timeout, seconds))
        except OSError as error:
            if proxied:  # perhaps the proxy alone can look names up
                return
            raise PassingError(f"{url.host[:100]} cannot be looked up ({error})") from None
        for address in addresses:
            self._check(url, address)

    def _check(self, url: httpx.URL, address: str) -> None:
        reach = reach_of(address)
        if reach is not Reach.PUBLIC and not self._is_own(url, address):
            raise MediaFailedError(
                f"{url.host[:100]} leads to {address}, a {reach.value} address, where no file can be"
            )
        if url.scheme == "http" and reach is not Reach.LOOPBACK:
            raise MediaFailedError("its URL is not https", lasting=True)

    @property
    def quotes(self) -> bool:
        """Whether what a host says may be shown: not that of one in a private network, whose texts are not public."""
        return Reach.PRIVATE not in self._own.values()

    def _is_own(self, url: httpx.URL, address: str) -> bool:
        """Whether that is where the connection itself leads: to this machine, or to that one private host and port."""
        if reach_of(address) is Reach.LOOPBACK:
            return Reach.LOOPBACK in self._own.values()
        same_port = url.port == httpx.URL(self._endpoint.base_url).port
        return self._own.get(address) is Reach.PRIVATE and same_port

    @cached_property
    def _own(self) -> dict[str, Reach]:
        """The connection's own addresses, and who is reached there."""
        try:
            url, seconds = httpx.URL(self._endpoint.base_url), self._endpoint.extra.connect_timeout
            return {address: reach_of(address) for address in _resolve(url, seconds)}
        except OSError:
            return {}


class _Connection:
    """The connection of one request: refused where it leads to a wrong address, and cut off from another thread.

    :param check: raises for an IP address that is not allowed.
    """

    def __init__(self, check: Callable[[str], None]) -> None:
        self._check = check
        self._socket: socket.socket | None = None
        self._is_cut = False

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Follow httpx (by its extension ``trace``) while it connects, before it sends anything."""
        if event not in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            return
        stream = info["return_value"]
        try:
            self.check_peer(stream)
        except BaseException:
            stream.close()
            raise
        self._socket = stream.get_extra_info("socket")
        if self._is_cut:
            self.cut()

    def check_peer(self, stream: Any) -> None:
        """Check where a connection leads; once more after the reply, so that nothing hangs on the events' names."""
        self._check(stream.get_extra_info("server_addr")[0])

    def cut(self) -> None:
        """End the connection: who reads from it finds its end."""
        self._is_cut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it is closed already
                # Not SSLSocket's own, which would take the TLS state from under the thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _parsed(url: str, base: httpx.URL | None = None) -> httpx.URL:
    try:
        return httpx.URL(url) if base is None else base.join(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise MediaFailedError(f"it has a URL that cannot be read ({type(error).__name__})") from None


def _resolve(url: httpx.URL, seconds: float) -> list[str]:
    return [address.host for address in addresses_of(url.raw_host.decode("ascii"), url.port or 443, seconds)]


def _chunks(response: httpx.Response) -> Iterator[bytes]:
    with _passing():  # what is raised by whoever takes them does not come by here
        yield from response.iter_raw()


@contextmanager
def _passing() -> Iterator[None]:
    """Turn whatever a library raises about a connection into a :class:`PassingError`."""
    try:
        yield
    except (MediaFailedError, PassingError):
        raise
    except Exception as error:
        # httpx may name a URL in its own words, and a signed URL's query is a credential.
        raise PassingError(re.sub(r"\?\S*", "", described(error))) from None
