"""Between the sockets and the decisions: reads a request, delivers a reply, well or badly as it says."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from uvicorn.protocols.http.h11_impl import H11Protocol

from airflow_provider_falinvoke.emulator.replies import Reply, Request

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

MAX_BODY = 10_000_000
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Origin(Protocol):
    """What answers the requests to one host and port."""

    def prepare(self, request: Request) -> Callable[[], object] | None:
        """Return the slow part of the answer, to be done off the event loop, or None if there is none."""

    def answer(self, request: Request) -> Reply:
        """Return the reply; quick, because it runs on the event loop."""


class TransportInScope(H11Protocol):
    """uvicorn's protocol, with the transport where the app finds it: a dropped connection needs it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Here and not in uvicorn's Config, which would switch the access log off for all of the process.
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn types it
        """Remember the transport in what uvicorn copies into the scope of each request."""
        super().connection_made(transport)
        # asyncio does this only for a socket that was made with the protocol's number; without it a reply takes 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, "transport": transport}


def app_of(origin: Origin) -> App:
    """Return the ASGI app of an origin."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        request = await _read(scope, receive)
        if slow_part := origin.prepare(request):
            await asyncio.to_thread(slow_part)
        await _deliver(origin.answer(request), scope["state"]["transport"], receive, send)

    return app


async def _read(scope: Message, receive: Receive) -> Request:
    body = bytearray()
    more, too_large = True, False
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY:
            too_large = True
            body.clear()
    return Request(
        scope["method"],
        scope["raw_path"].decode("latin-1"),
        scope["query_string"].decode("latin-1"),
        {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        b"" if too_large else bytes(body),
        too_large,
    )


async def _deliver(reply: Reply, transport: asyncio.Transport, receive: Receive, send: Send) -> None:
    if reply.wait_first and await _gone(receive, reply.wait_first):
        return
    if reply.delivery in ("drop", "reset"):
        if reply.delivery == "reset":
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
        await _gone(receive)
        return
    await send({"type": "http.response.start", "status": reply.status, "headers": _headers(reply)})
    first, second = _halves(reply)
    if first:
        await send({"type": "http.response.body", "body": first, "more_body": True})
    if reply.delivery == "cut":
        transport.close()  # unlike abort(), this sends what has been written first
        await _gone(receive)
        return
    if reply.wait_between and await _gone(receive, reply.wait_between):
        return
    await send({"type": "http.response.body", "body": second})


def _headers(reply: Reply) -> list[tuple[bytes, bytes]]:
    headers = {"content-length": str(len(reply.body)), **reply.headers}
    return [(name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in headers.items()]


def _halves(reply: Reply) -> tuple[bytes, bytes]:
    if reply.delivery == "whole" and not reply.wait_between:
        return b"", reply.body
    middle = len(reply.body) // 2
    return reply.body[:middle], reply.body[middle:]


async def _gone(receive: Receive, seconds: float | None = None) -> bool:
    """Wait until the client has gone, at most so many seconds; return whether it has."""

    async def disconnected() -> bool:
        while (await receive())["type"] != "http.disconnect":
            pass
        return True

    try:
        return await asyncio.wait_for(disconnected(), seconds)
    except asyncio.TimeoutError:
        return False
