"""The line that all calls of an event loop share: looked up once, kept open, renewed, and closed."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke.api import line as module
from airflow_provider_falinvoke.api.clients import AsyncClient, polling_client, ssl_context
from airflow_provider_falinvoke.api.endpoint import Endpoint
from airflow_provider_falinvoke.api.line import FRESH, IN_FLIGHT, REFRESH, STALE, Line, SharedLine
from airflow_provider_falinvoke.api.outcomes import Reply, Send
from airflow_provider_falinvoke.emulator import Emulator
from tests.api.server import answer, self_signed, serving
from tests.support.loop_watch import run_watched

PATH = "/v1/async-invoke/r1"


@pytest.fixture(autouse=True, params=["aiohttp", "httpx alone"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    polling_client()
    ssl_context(None)
    if request.param == "httpx alone":
        monkeypatch.setattr(module, "polling_client", lambda: AsyncClient)


class Connection:
    """Something to look up: the key of an emulator, or what a test makes of it."""

    def __init__(self, emulator: Emulator | None = None, *, url: str = "", takes: float = 0.0) -> None:
        self.url = emulator.url if emulator else url
        self.key = emulator.api_key if emulator else "some-other-key"
        self.error: Exception | None = None
        self.takes = takes
        self.look_ups = 0

    async def look_up(self) -> Endpoint:
        self.look_ups += 1
        await asyncio.sleep(self.takes)
        if self.error is not None:
            raise self.error
        return Endpoint.of("c", host=self.url, key=self.key)


class StepClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def settled(true: Callable[[], bool]) -> None:
    """Let the loop turn until it is true."""
    for _ in range(2000):
        if true():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it never came true")


async def looked_up(line: Line, connection: Connection, times: int) -> None:
    """Let the look-up end that nobody waits for."""
    await settled(lambda: connection.look_ups == times and line._looking is None)


async def status(line: Line, path: str = "/v1/models") -> int:
    outcome = await line.exchange(Send("GET", path), time.time)
    assert isinstance(outcome, Reply), outcome
    return outcome.status


@asynccontextmanager
async def opened(connection: Connection, clock: StepClock) -> AsyncIterator[Line]:
    line = Line("c", connection.look_up, clock=clock)
    try:
        yield line
    finally:
        await line.aclose()


def watched(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_watched(make())


# ---- looking up -----------------------------------------------------------------------------------------------------


def test_three_hundred_that_start_at_once_are_one_look_up(emulator: Emulator) -> None:
    connection = Connection(emulator, takes=0.05)

    async def one() -> str:
        async with SharedLine("c", connection.look_up) as line:
            return (await line.endpoint()).base_url

    async def main() -> None:
        assert set(await asyncio.gather(*(one() for _ in range(300)))) == {emulator.url}

    watched(main)
    assert connection.look_ups == 1


def test_the_one_who_looks_up_may_be_cancelled_without_failing_the_others(emulator: Emulator) -> None:
    """A user clears the task whose trigger came first."""
    connection = Connection(emulator, takes=0.1)

    async def main() -> None:
        async with opened(connection, StepClock()) as line:
            leader, other = (asyncio.ensure_future(line.endpoint()) for _ in range(2))
            await settled(lambda: connection.look_ups == 1)
            leader.cancel()
            assert (await other).base_url == emulator.url
            with pytest.raises(asyncio.CancelledError):
                await leader

    watched(main)
    assert connection.look_ups == 1


def test_a_first_look_up_that_fails_fails_all_who_waited_and_is_tried_again_by_the_next(emulator: Emulator) -> None:
    connection = Connection(emulator, takes=0.05)
    connection.error = LookupError("not defined")

    async def main() -> None:
        async with opened(connection, StepClock()) as line:
            failed = await asyncio.gather(*(line.endpoint() for _ in range(5)), return_exceptions=True)
            assert [type(error) for error in failed] == [LookupError] * 5
            assert connection.look_ups == 1
            connection.error = None
            assert await status(line) == 200

    watched(main)


def test_a_look_up_that_nobody_waits_for_any_more_fails_in_silence(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    connection = Connection(emulator, takes=0.05)
    connection.error = LookupError("not defined")

    async def main() -> None:
        async with opened(connection, StepClock()) as line:
            leader = asyncio.ensure_future(line.endpoint())
            await settled(lambda: connection.look_ups == 1)
            leader.cancel()
            await asyncio.sleep(0.1)

    watched(main)
    gc.collect()
    assert "never retrieved" not in caplog.text


# ---- a connection that changes --------------------------------------------------------------------------------------


def test_a_changed_host_is_taken_up_after_a_while_by_those_who_are_waiting(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=module.__name__)
    connection, clock = Connection(emulator), StepClock()

    async def main() -> None:
        with serving(answer(200, {})) as elsewhere:
            async with opened(connection, clock) as line:
                await status(line)
                connection.url = elsewhere.base_url
                clock.now += REFRESH - 1
                await status(line)
                assert connection.look_ups == 1
                clock.now += 2
                await status(line)  # nobody waits for the look-up
                await looked_up(line, connection, 2)
                assert "was changed" in caplog.text
                await status(line)
            assert [request.path for request in elsewhere.requests] == ["/v1/models"]

    watched(main)
    assert len(emulator.requests) == 3
    assert connection.look_ups == 2


def test_an_unchanged_connection_keeps_its_open_connections(emulator: Emulator) -> None:
    clock = StepClock()

    async def main() -> None:
        with serving(answer(200, {})) as server:
            connection = Connection(url=server.base_url)
            async with opened(connection, clock) as line:
                for number in range(1, 5):
                    await status(line)
                    await looked_up(line, connection, number)
                    clock.now += REFRESH + 1
            assert len({request.client for request in server.requests}) == 1

    watched(main)


def test_a_rotated_key_is_taken_up_as_soon_as_the_old_one_is_refused(emulator: Emulator) -> None:
    """Else every waiting task would fail for good, because the key is not the task's fault."""
    connection, clock = Connection(emulator), StepClock()
    right, connection.key = connection.key, "revoked"

    async def main() -> None:
        async with opened(connection, clock) as line:
            await line.endpoint()
            clock.now += FRESH + 1
            connection.key = right
            assert await asyncio.gather(*(status(line) for _ in range(20))) == [200] * 20

    watched(main)
    assert connection.look_ups == 2


def test_a_wrong_key_is_not_looked_up_again_and_again(emulator: Emulator) -> None:
    connection, clock = Connection(emulator), StepClock()
    connection.key = "wrong"

    async def main() -> None:
        async with opened(connection, clock) as line:
            for _ in range(5):
                assert await status(line) == 401
            assert connection.look_ups == 1
            clock.now += FRESH + 1
            assert await asyncio.gather(*(status(line) for _ in range(20))) == [401] * 20

    watched(main)
    assert connection.look_ups == 2


def test_a_renewal_that_fails_keeps_the_old_key_for_a_while_and_says_so_once(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    connection, clock = Connection(emulator), StepClock()

    async def main() -> None:
        async with opened(connection, clock) as line:
            await line.endpoint()
            connection.error = LookupError("the database is away")
            for number in range(2, 6):
                clock.now += REFRESH + 1
                assert await status(line) == 200
                await looked_up(line, connection, number)
            connection.error = None
            clock.now += REFRESH + 1
            assert await status(line) == 200
            await looked_up(line, connection, 6)
            connection.error = LookupError("gone for good")
            clock.now += STALE + REFRESH
            assert await status(line) == 200  # nobody waits for the look-up; after it nothing is left
            await looked_up(line, connection, 7)
            with pytest.raises(LookupError, match="gone for good"):
                await status(line)

    watched(main)
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
    assert "database is away" in caplog.text


def test_clients_in_use_are_closed_when_their_request_has_ended(emulator: Emulator) -> None:
    """A renewal does not tear the connection from under another job's poll; an open one would be a ResourceWarning."""
    connection, clock = Connection(emulator), StepClock()

    async def main() -> None:
        async with opened(connection, clock) as line:
            await line.endpoint()
            flying = [asyncio.ensure_future(status(line)) for _ in range(4)]
            await asyncio.sleep(0)
            connection.key = "another-key"
            clock.now += REFRESH + 1
            await status(line)
            assert await asyncio.gather(*flying) == [200] * 4
            await looked_up(line, connection, 2)

    watched(main)
    gc.collect()


# ---- connections ----------------------------------------------------------------------------------------------------


def test_connections_are_kept_and_there_are_no_more_than_requests_in_flight() -> None:
    async def main() -> None:
        with serving(answer(200, {})) as server:
            async with opened(Connection(url=server.base_url), StepClock()) as line:
                await line.endpoint()
                for _ in range(4):
                    await asyncio.gather(
                        *(status(line, f"/v1/async-invoke/{number}") for number in range(3 * IN_FLIGHT))
                    )
            assert len({request.client for request in server.requests}) <= IN_FLIGHT
            assert len(server.requests) == 12 * IN_FLIGHT

    watched(main)


def test_a_post_goes_out_on_a_connection_of_its_own() -> None:
    """One that was idle may be closed just then: whether the job was submitted, and paid, would be unknown."""

    async def main() -> None:
        with serving(answer(200, {})) as server:
            async with opened(Connection(url=server.base_url), StepClock()) as line:
                await status(line)
                for _ in range(2):
                    await line.exchange(Send("POST", "/v1/async-invoke", b"{}"), time.time)
            assert [request.method for request in server.requests] == ["GET", "POST", "POST"]
            assert len({request.client for request in server.requests}) == 3
            assert server.requests[2].body == b"{}"

    watched(main)


def test_a_request_that_is_prepared_once_is_sent_again_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PREPARED", 3)

    async def main() -> None:
        with serving(answer(200, {})) as server:
            async with opened(Connection(url=server.base_url), StepClock()) as line:
                for number in (1, 2, 3, 4, 5, 1, 1):
                    await status(line, f"/v1/async-invoke/{number}")
            assert [request.path[-1] for request in server.requests] == list("1234511")
            assert len({str(sorted(request.headers.items())) for request in server.requests}) == 1

    watched(main)


# ---- opening and closing --------------------------------------------------------------------------------------------


def held() -> int:
    return sum(len(lines) for lines in module._lines.values())


def test_the_last_to_leave_closes_it_after_a_while_in_which_another_may_come(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER", 0.2)
    connection = Connection(emulator)

    async def main() -> None:
        async with SharedLine("c", connection.look_up) as first:
            await status(first)
            async with SharedLine("c", connection.look_up) as second:
                assert second is first
        await asyncio.sleep(0.05)
        async with SharedLine("c", connection.look_up) as third:
            assert third is first
            await asyncio.sleep(0.3)
            assert await status(third) == 200
        await settled(lambda: held() == 0)
        async with SharedLine("c", connection.look_up) as fresh:
            assert fresh is not first

    watched(main)
    assert connection.look_ups == 1
    gc.collect()


def test_connections_of_other_names_have_lines_of_their_own(emulator: Emulator) -> None:
    connection = Connection(emulator)

    async def main() -> None:
        async with SharedLine("a", connection.look_up) as a, SharedLine("b", connection.look_up) as b:
            assert a is not b

    watched(main)


@pytest.mark.parametrize("tls", [False, True])
def test_many_loops_leave_nothing_behind(tls: bool, tmp_path: Path) -> None:
    """``dag.test()`` runs each trigger on a loop of its own, which ends at once; what is left open warns, and fails."""
    context, certificate = self_signed(tmp_path)
    loops = []

    async def main(url: str) -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))

        async def look_up() -> Endpoint:
            return Endpoint.of("c", host=url, key="some-key", extra={"ca_bundle": str(certificate)})

        async with SharedLine("c", look_up) as line:
            await asyncio.gather(*(status(line) for _ in range(3)))

    with serving(answer(200, {}), tls=context if tls else None) as server:
        for _ in range(5):
            asyncio.run(main(server.base_url))
    gc.collect()
    assert held() == 0
    assert [loop for loop in loops if loop() is not None] == []


def test_a_call_that_is_cancelled_in_flight_leaves_nothing_behind(emulator: Emulator) -> None:
    connection = Connection(emulator)

    async def main() -> None:
        async with SharedLine("c", connection.look_up) as line:
            await line.endpoint()
            flying = asyncio.ensure_future(status(line))
            await asyncio.sleep(0)
            flying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await flying
            assert await status(line) == 200

    watched(main)
    gc.collect()
    assert held() == 0


def test_no_cookie_is_kept() -> None:
    async def main(url: str) -> None:
        async with opened(Connection(url=url), StepClock()) as line:
            for name in ("r1", "r2"):
                assert await status(line, f"/v1/async-invoke/{name}") == 200

    with serving(answer(200, Set_Cookie="session=secret; Path=/"), answer(200)) as host:
        watched(lambda: main(host.base_url))
    assert [request.headers.get("cookie") for request in host.requests] == [None, None]
