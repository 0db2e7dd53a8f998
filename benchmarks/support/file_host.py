"""A host of one large file, made as it is sent: a real WAV header and then noise of a few blocks, over and over."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import threading
import wave
from collections.abc import Iterator
from contextlib import contextmanager

_BLOCK = 1 << 20


def serve(size: int) -> None:
    """Serve a WAV file of ``size`` bytes on a free port, which is printed, until the process ends."""
    noise = os.urandom(_BLOCK)
    reply = f'HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: {size}\r\nETag: "1"\r\n\r\n'.encode()
    first = reply + _header(size)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_answer, args=(connection, first, noise, size), daemon=True).start()


def _answer(connection: socket.socket, first: bytes, noise: bytes, size: int) -> None:
    with connection:
        connection.recv(65_536)
        connection.sendall(first)
        left = size - len(_header(size))
        while left:
            left -= (sent := min(left, len(noise)))
            connection.sendall(memoryview(noise)[:sent])


def _header(size: int) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.setnframes((size - 44) // 4)
        file.writeframesraw(b"")
        file._ensure_header_written(0)  # type: ignore[attr-defined]  # the standard library has no other way
    return target.getvalue()[:44]


@contextmanager
def serving(size: int) -> Iterator[str]:
    """Run :func:`serve` in a process of its own, and give the file's URL."""
    command = [sys.executable, "-c", f"from benchmarks.support.file_host import serve; serve({size})"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None, "it was asked for"
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/sound.wav"
        finally:
            process.kill()
