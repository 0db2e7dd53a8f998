"""A StatsD server for tests: what it is sent over UDP, kept."""

from __future__ import annotations

import socket
import threading
from types import TracebackType


class StatsdServer:
    """Start it with ``with``; it keeps every line that it is sent.

    :param port: is where it listens, on 127.0.0.1.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._receive, daemon=True)

    @property
    def settings(self) -> dict[str, str]:
        """The environment by which Airflow sends its metrics here."""
        return {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(self.port),
        }

    def ours(self) -> list[str]:
        """Return the lines of this package, without Airflow's prefix."""
        prefix = "airflow.falinvoke."
        return [line.removeprefix(prefix) for line in list(self.lines) if line.startswith(prefix)]

    def total(self, name: str) -> int:
        """Return the sum of a counter."""
        counted = [line.removeprefix(f"{name}:") for line in self.ours() if line.startswith(f"{name}:")]
        return sum(int(value.removesuffix("|c")) for value in counted)

    def times(self, name: str) -> list[float]:
        """Return the values of a timer, in milliseconds."""
        timed = [line.removeprefix(f"{name}:") for line in self.ours() if line.startswith(f"{name}:")]
        return [float(value.removesuffix("|ms")) for value in timed]

    def __enter__(self) -> StatsdServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A datagram wakes the thread; closing a socket that another thread reads does not.
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _receive(self) -> None:
        while data := self._socket.recv(65536):
            self.lines += data.decode().splitlines()
