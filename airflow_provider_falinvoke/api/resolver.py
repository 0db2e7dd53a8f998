"""Look host names up in threads: each name once at a time, for all who want it."""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import NamedTuple


class Address(NamedTuple):
    """One address of a host."""

    family: int
    host: str


class _LookUps:
    """The look-ups under way in this process, by host and port; who asks meanwhile waits for the same answer.

    A name server that hangs holds one thread for each name then, and never the threads that others need.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, int], Future[list[Address]]] = {}

    def start(self, host: str, port: int) -> Future[list[Address]]:
        with self._lock:
            if (found := self._under_way.get((host, port))) is not None:
                return found
            found = Future()
            found.set_running_or_notify_cancel()  # so that no caller's end is its end
            # A daemon, because nothing can end it: the process shall not wait for it at its own end.
            threading.Thread(target=self._ask, args=(host, port, found), name="falinvoke-look-up", daemon=True).start()
            self._under_way[host, port] = found
            return found

    def _ask(self, host: str, port: int, answer: Future[list[Address]]) -> None:
        try:
            # As bytes: what is not a name is the resolver's error then, and not an encoder's.
            infos = socket.getaddrinfo(host.encode("ascii", "replace"), port, type=socket.SOCK_STREAM)
            found = [Address(family, str(address[0])) for family, _, _, _, address in infos]
        except BaseException as error:
            self._forget(host, port)
            answer.set_exception(error)
        else:
            self._forget(host, port)
            answer.set_result(found)

    def _forget(self, host: str, port: int) -> None:
        with self._lock:
            self._under_way.pop((host, port), None)


_look_ups = _LookUps()
os.register_at_fork(after_in_child=_look_ups.__init__)  # type: ignore[misc]  # a child has none of its parent's threads


def look_up(host: str, port: int) -> Future[list[Address]]:
    """Look a host up in a thread, together with all who want it now.

    :return: what becomes its addresses, or the resolver's :class:`OSError`. To cancel it does nothing.
    """
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return _look_ups.start(host, port)
    done: Future[list[Address]] = Future()
    done.set_result([Address(socket.AF_INET if literal.version == 4 else socket.AF_INET6, host)])  # noqa: PLR2004
    return done


def addresses_of(host: str, port: int, seconds: float) -> list[Address]:
    """Look a host up and wait for its addresses.

    :raises OSError: it has none, or they did not come within so many seconds.
    """
    try:
        return look_up(host, port).result(seconds)
    except FutureTimeoutError:
        raise TimeoutError(f"{host} was not looked up within {seconds:.0f} s") from None
