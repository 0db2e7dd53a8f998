"""Forbids every connection that would leave this machine."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest

Forbidden = pytest.fail.Exception


@dataclass
class Guard:
    """What was tried; a test that expects an attempt empties the list."""

    attempts: list[str] = field(default_factory=list)

    def refuse(self, host: object) -> None:
        """Fail the test, even if the code under test swallows every Exception."""
        self.attempts.append(str(host))
        pytest.fail(f"a test tried to reach {host!r}; only this machine is allowed")


def is_local(host: object) -> bool:
    """Whether a host name or address is this machine's own."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(name)).is_loopback
    except ValueError:
        return False


def is_number(host: object) -> bool:
    """Whether a host is written as a number, in any of the resolver's notations: nobody is asked about it."""
    try:
        socket.inet_aton(host.decode() if isinstance(host, bytes) else str(host))
    except OSError:
        return ":" in str(host)
    return True


@contextmanager
def forbid_network() -> Iterator[Guard]:
    """Refuse to connect to, or to look up, any host but this one; ``*.invalid`` does not exist, as RFC 2606 says."""
    guard = Guard()
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def checked(sock: socket.socket, address: Any) -> None:
        if sock.family in (socket.AF_INET, socket.AF_INET6) and not is_local(address[0]):
            sock.close()  # create_connection does so for an Exception alone
            guard.refuse(address[0])

    def guarded_connect(sock: socket.socket, address: Any) -> None:
        checked(sock, address)
        connect(sock, address)

    def guarded_connect_ex(sock: socket.socket, address: Any) -> int:
        checked(sock, address)
        return connect_ex(sock, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if str(host.decode() if isinstance(host, bytes) else host).endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        # Airflow looks up this machine's own name, to say where a task ran.
        if not is_local(host) and not is_number(host) and host != socket.gethostname():
            guard.refuse(host)
        return getaddrinfo(host, *args, **kwargs)

    with (
        mock.patch.object(socket.socket, "connect", guarded_connect),
        mock.patch.object(socket.socket, "connect_ex", guarded_connect_ex),
        mock.patch.object(socket, "getaddrinfo", guarded_getaddrinfo),
    ):
        yield guard
    # An attempt in another thread fails there, where nobody may look.
    assert guard.attempts == []
