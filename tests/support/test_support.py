"""The watches of the tests are themselves watched."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import httpx
import pytest

from tests.support.loop_watch import LoopBlockedError, run_watched
from tests.support.network import Forbidden, Guard


@pytest.mark.parametrize("host", ["93.184.216.34", "inference.do-ai.run", "2606:2800:220:1:248:1893:25c8:1946"])
def test_a_connection_to_another_machine_fails_the_test(host: str, network: Guard) -> None:
    with pytest.raises(Forbidden, match="only this machine"):
        socket.create_connection((host, 443), timeout=1)
    assert network.attempts == [host]
    network.attempts.clear()


def test_a_swallowed_attempt_is_found_too(network: Guard) -> None:
    """Even code that catches every Exception does not hide it; what happens in a thread is found at the end."""

    def careless() -> None:
        with pytest.raises(Forbidden):
            try:
                httpx.get("https://example.com")
            except Exception:
                pytest.fail("it must not be an Exception")

    thread = threading.Thread(target=careless)
    thread.start()
    thread.join()
    assert network.attempts == ["example.com"]
    network.attempts.clear()


def test_an_async_client_is_held_back_too(network: Guard) -> None:
    async def call() -> None:
        async with httpx.AsyncClient() as client:
            await client.get("http://93.184.216.34")

    with pytest.raises(BaseException):  # noqa: B017 - anyio wraps it into a group of a type that Python 3.10 lacks
        asyncio.run(call())
    assert network.attempts == ["93.184.216.34"]
    network.attempts.clear()


def test_this_machine_is_allowed_and_invalid_names_do_not_exist() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass
    with pytest.raises(socket.gaierror):
        socket.create_connection(("host.invalid", 443))


def test_the_loop_watch_finds_a_planted_blocking_call() -> None:
    async def blocks() -> None:
        await asyncio.sleep(0.02)
        time.sleep(0.3)  # noqa: ASYNC251 - the planted blocking call

    with pytest.raises(LoopBlockedError, match=r"time\.sleep\(0\.3\)"):
        run_watched(blocks())


def test_the_loop_watch_lets_awaiting_pass() -> None:
    async def waits() -> str:
        await asyncio.sleep(0.3)
        await asyncio.to_thread(time.sleep, 0.2)
        return "done"

    assert run_watched(waits()) == "done"


def test_the_loop_watch_keeps_the_error_of_the_coroutine() -> None:
    async def fails() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_watched(fails())
