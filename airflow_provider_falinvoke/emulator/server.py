"""Runs both origins in a thread: uvicorn's HTTP protocol on an event loop of its own."""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future

import uvicorn
from uvicorn.server import ServerState

from airflow_provider_falinvoke.emulator.asgi import App, TransportInScope

# Longer than clients keep an idle connection: a server that closes first makes their next request fail at random.
_KEEP_ALIVE = 75
_BACKLOG = 2048


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """Return the TLS settings of a server.

    :param certificate: path of a PEM file.
    :param key: path of its private key, PEM without a password.
    :raises OSError: if a file cannot be read, or is no such thing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket on a loopback address.

    :param port: 0 for a free one.
    :raises ValueError: if the host is not a loopback address.
    :raises OSError: if the port is taken.
    """
    address = "127.0.0.1" if host == "localhost" else host
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(address).is_loopback:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            return socket.create_server((address, port), family=family, backlog=_BACKLOG)
    raise ValueError(f"the emulator listens on loopback addresses only (127.0.0.1, ::1, localhost), not on {host!r}")


class ServerThread:
    """Serves apps until it is stopped.

    :param apps: pairs of a listening socket and the app to serve on it; the thread closes the sockets.
    :param tls: the certificate to show, None for plain HTTP.
    """

    def __init__(self, apps: list[tuple[socket.socket, App]], tls: ssl.SSLContext | None = None) -> None:
        self._apps = apps
        self._tls = tls
        self._ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=self._run, name="falinvoke-emulator", daemon=True)

    def start(self) -> None:
        """Start to serve; return once both origins answer."""
        self._thread.start()
        self._ready.result()

    def stop(self) -> None:
        """Close all connections and sockets; return once the thread has ended."""
        loop, stopping = self._ready.result()
        loop.call_soon_threadsafe(stopping.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _serve(self) -> None:
        loop, stopping, state = asyncio.get_running_loop(), asyncio.Event(), ServerState()
        servers = [
            await loop.create_server(_protocols(app, state), sock=listener, ssl=self._tls)
            for listener, app in self._apps
        ]
        self._ready.set_result((loop, stopping))
        await stopping.wait()
        # uvicorn.Server would do this with polling and pauses; a test that starts one emulator a case would feel them.
        for server in servers:
            server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        for server in servers:
            await server.wait_closed()


def _protocols(app: App, state: ServerState) -> Callable[[], asyncio.Protocol]:
    config = uvicorn.Config(
        app,
        http=TransportInScope,
        ws="none",
        lifespan="off",
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
    )
    return lambda: TransportInScope(config, state, {})
