"""What the chaos is made of: a seed draws the same again, and a door that is shut refuses."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.airflow.disturbances import KINDS, draw
from tests.airflow.door import Door


def test_a_seed_draws_the_same_again() -> None:
    plan = list(draw(7, 600))
    assert plan == list(draw(7, 600)) != list(draw(8, 600))
    assert [one.at for one in plan] == sorted(one.at for one in plan)
    assert {one.kind for one in plan} == set(KINDS)
    assert all(KINDS[one.kind][1] <= one.seconds <= KINDS[one.kind][2] for one in plan)


def test_a_door_that_is_shut_refuses_and_opens_again_on_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=echo, args=(server,), daemon=True).start()
        with Door(server.getsockname()[1]) as door:
            for _ in range(2):
                with socket.create_connection(("127.0.0.1", door.port), timeout=5) as passing:
                    passing.sendall(b"hello")
                    assert passing.recv(5) == b"hello"
                    with door.shut_while():
                        assert passing.recv(5) == b""
                        with pytest.raises(ConnectionRefusedError):
                            socket.create_connection(("127.0.0.1", door.port), timeout=5)


def test_what_has_passed_a_door_may_stay() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=echo, args=(server,), daemon=True).start()
        with (
            Door(server.getsockname()[1]) as door,
            socket.create_connection(("127.0.0.1", door.port), timeout=5) as passing,
        ):
            passing.sendall(b"hello")
            assert passing.recv(5) == b"hello"
            with door.shut_while(cut=False):
                passing.sendall(b"again")
                assert passing.recv(5) == b"again"


def echo(server: socket.socket) -> None:
    """Send back what comes, until the server is closed."""
    try:
        while True:
            near, _ = server.accept()
            threading.Thread(target=_echo, args=(near,), daemon=True).start()
    except OSError:
        return


def _echo(near: socket.socket) -> None:
    with near:
        while block := near.recv(1024):
            near.sendall(block)
