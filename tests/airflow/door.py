"""A door in front of a server: connections pass while it is open, and are refused while it is shut."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_BLOCK = 1 << 16


class Door:
    """A TCP relay whose port stays its own while it is shut, so that nobody else answers there.

    Use it with ``with``; it is open then.

    :param port: of the server on this machine.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        # Bound and never listening: nobody else is given the port meanwhile.
        self._holder = _bound(0)
        self.port = int(self._holder.getsockname()[1])
        self._listener: socket.socket | None = None
        self._passing: set[socket.socket] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Door:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()
        self._holder.close()

    def open(self) -> None:
        """Let connections pass."""
        if self._listener is None:
            self._listener = _bound(self.port)
            self._listener.listen(128)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self, *, cut: bool = True) -> None:
        """Refuse new connections.

        :param cut: also end those that stand, as a server that dies does; else they pass, as where a firewall closes.
        """
        if self._listener is not None:
            _end(self._listener)  # or its thread would hold it open
            self._listener.close()
            self._listener = None
        if cut:
            with self._lock:
                for end in self._passing:
                    _end(end)

    @contextmanager
    def shut_while(self, *, cut: bool = True) -> Iterator[None]:
        """Stay shut within a ``with`` statement."""
        self.shut(cut=cut)
        try:
            yield
        finally:
            self.open()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:  # shut, which ends the wait
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target), timeout=10)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._passing |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while block := source.recv(_BLOCK):
                sink.sendall(block)
        for end in (source, sink):
            _end(end)
        with self._lock:
            self._passing -= {source, sink}
        source.close()


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is over already
        end.shutdown(socket.SHUT_RDWR)


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound
