"""The hostile server, a process of its own: ``python -m tests.hostile.server`` prints its port and serves until killed.

``/NUMBER/CLIENT/v1/async-invoke…`` is answered with that reply; ``/counts`` with the POSTs that came, by that path.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import struct
from collections import Counter

from tests.hostile.replies import PAUSE, Bomb, Drip, Endless, Hold, Hostile, Reset, all_replies, bomb

REPLIES = all_replies()
posts: Counter[str] = Counter()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request, and close the connection."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        if found := re.search(r"(?i)\r\ncontent-length: (\d+)", head):
            await reader.readexactly(int(found[1]))
        method, path = head.split(" ")[:2]
        if path == "/counts":
            body = json.dumps(posts).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
        else:
            _, number, client, *_ = path.split("/")
            posts[f"{number}/{client}"] += method == "POST"
            await _answer(REPLIES[int(number)], reader, writer)
    writer.close()


async def _answer(reply: Hostile, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for part in reply.parts:
        if isinstance(part, bytes):
            writer.write(part)
        elif isinstance(part, Bomb):
            writer.write(bomb(part.times))
        elif isinstance(part, Drip):
            for place in range(len(part.data)):
                writer.write(part.data[place : place + 1])
                await writer.drain()
                await asyncio.sleep(PAUSE)
        elif isinstance(part, Endless):
            while True:
                writer.write(part.data)
                await writer.drain()
                await asyncio.sleep(part.pause)
        elif part is Hold:
            await reader.read()
        elif part is Reset:
            await writer.drain()
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await writer.drain()


async def main() -> None:
    """Serve until killed."""
    for times in (1, 2, 3):
        bomb(times)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
