"""Ways to save a file, measured in the process that calls them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx


def measure(how: str, path: str, small: str, large: str) -> dict[str, float]:
    """Save a small file, so that all is imported and open, and then the large one.

    :param how: ``ours`` or ``plain``.
    :return: ``seconds`` of the wall clock, ``cpu`` seconds and ``added`` megabytes of memory for the large one.
    """
    save = {"ours": _ours, "plain": _plain}[how](path)
    save(small)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident set starts anew
    cpu, since = time.process_time(), time.perf_counter()
    save(large)
    seconds = time.perf_counter() - since
    return {"seconds": seconds, "cpu": time.process_time() - cpu, "added": _memory("VmHWM") - before}


def _ours(path: str) -> Callable[[str], object]:
    from airflow_provider_falinvoke.api.downloads import Downloader
    from airflow_provider_falinvoke.api.endpoint import Endpoint
    from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus
    from airflow_provider_falinvoke.media import Saving
    from airflow_provider_falinvoke.media.save import save_media

    endpoint = Endpoint.of("bench", host="http://127.0.0.1", key="some-key")

    def save(url: str) -> object:
        done = Invocation(request_id="ours", status=InvocationStatus.COMPLETED, output={"audio": {"url": url}})
        return save_media(done, Saving(path), Downloader(endpoint))

    return save


def _plain(path: str) -> Callable[[str], object]:
    target = urlsplit(path)

    def to_disk(url: str) -> None:
        folder = Path(target.path)
        folder.mkdir(parents=True, exist_ok=True)
        with httpx.stream("GET", url, trust_env=False) as response, (folder / "plain.wav").open("wb") as file:
            for chunk in response.iter_bytes():
                file.write(chunk)

    if target.scheme == "file":
        return to_disk
    from benchmarks.support.s3_host import client_of

    client = client_of(os.environ["BENCH_S3_URL"])

    def to_s3(url: str) -> None:
        with httpx.stream("GET", url, trust_env=False) as response:
            client.upload_fileobj(_Readable(response), "bucket", "files/plain.wav")

    return to_s3


class _Readable:
    """The file object that boto3 wants, over the pieces that httpx gives."""

    def __init__(self, response: httpx.Response) -> None:
        self._pieces = response.iter_bytes()
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        parts: list[Any] = [self._left]
        length = len(self._left)
        while size < 0 or length < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            parts.append(piece)
            length += len(piece)
        data = b"".join(parts)
        if size < 0:
            size = length
        self._left = data[size:]
        return data[:size]


def _memory(name: str) -> float:
    """Return a figure of this process's memory, in megabytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{name}:")) * 1024 / 1e6
