"""One line to the API for all that happens on an event loop: the key is looked up now and then, the clients are shared.

In the triggerer every job that waits is a task on one event loop. A client and a look-up for each would cost that loop
far more than the polls do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from weakref import WeakKeyDictionary

import anyio
import httpx

from airflow_provider_falinvoke.api.clients import AsyncClient, polling_client
from airflow_provider_falinvoke.api.endpoint import Endpoint
from airflow_provider_falinvoke.api.exchange import LAST_ANSWER, Clock
from airflow_provider_falinvoke.api.network import NEW_AT_ONCE
from airflow_provider_falinvoke.api.outcomes import Failure, Reply, Send
from airflow_provider_falinvoke.api.threads import in_thread

log = logging.getLogger(__name__)

LookUp = Callable[[], Awaitable[Endpoint]]

#: A connection that was changed is taken up after so many seconds.
REFRESH = 60.0
#: While it cannot be looked up, the old one is used for so many seconds.
STALE = 900.0
#: Where the key is refused it is looked up at once, unless that was done so many seconds ago.
FRESH = 1.0
#: The clients stay open for so many seconds after the last job, in case there is another.
LINGER = 10.0
#: More at a time do not get more answers, and cost more CPU each.
IN_FLIGHT = 16
#: So many prepared requests are kept, some 2 kB each.
_PREPARED = 4096


class Clients:
    """Clients for one endpoint, each with one connection; a request takes one that is free.

    A single client looks through all its connections and all requests that wait for one at each step (httpcore's
    pool), so that a poll costs the more the more are in flight.

    :param endpoint: where they lead.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._idle: list[AsyncClient] = []
        self._prepared: dict[str, httpx.Request] = {}
        self._common: tuple[httpx.Headers, dict[str, Any]] | None = None
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._connecting = asyncio.Semaphore(NEW_AT_ONCE)
        self._closed = False

    async def exchange(self, step: Send, clock: Clock) -> Reply | Failure:
        """Send a request and return what came of it."""
        if self._slots.locked():  # by answers that do not come, perhaps
            with anyio.move_on_after(max(LAST_ANSWER, min(step.turn_by, step.answer_by) - clock())) as wait:
                await self._slots.acquire()
            if wait.cancelled_caught:
                return Failure(f"no answer came to {IN_FLIGHT} requests that were sent before", False, clock())
        else:
            await self._slots.acquire()
        try:
            return await self._send(step, clock)
        finally:
            self._slots.release()

    async def _send(self, step: Send, clock: Clock) -> Reply | Failure:
        if step.method != "GET" or "%2E" in step.path:
            # On a connection that the API is just closing, a POST may or may not have arrived; and aiohttp's transport
            # reports a connection that broke after it was sent as one that was never made. (It takes %2E%2E for a step
            # up the path, too.)
            fresh = AsyncClient(self.endpoint, self._connecting)
            try:
                return await fresh.exchange(step, clock)
            finally:
                await _close(fresh)
        client = self._idle.pop() if self._idle else polling_client()(self.endpoint, self._connecting)
        try:
            return await client.exchange(step, clock, self._request_of)
        finally:
            if self._closed:
                await _close(client)
            else:
                self._idle.append(client)

    async def aclose(self) -> None:
        """Close the clients; one that is in use, when its request has ended."""
        self._closed = True
        while self._idle:
            await _close(self._idle.pop())

    def _request_of(self, client: AsyncClient, step: Send) -> httpx.Request:
        # To build it takes as long as to send it, and a job is asked for again and again.
        if (request := self._prepared.get(step.path)) is None:
            if len(self._prepared) >= _PREPARED:
                self._prepared.clear()
            request = self._prepared[step.path] = client.build_request("GET", step.path)
            self._common = self._common or (request.headers, request.extensions)
            request.headers, request.extensions = self._common  # equal for all, and thousands are kept
        return request


async def _close(client: AsyncClient) -> None:
    with suppress(Exception):  # the reply of a paid job may be on its way to the caller
        await client.aclose()


class Line:
    """The way to the API that all calls of an event loop share.

    :param name: the connection, for the log.
    :param look_up: returns its endpoint.
    :param clock: gives the time in seconds.
    """

    def __init__(self, name: str, look_up: LookUp, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._look_up = look_up
        self._clock = clock
        self._clients: Clients | None = None
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = self._found_at = 0.0
        self._said = False

    async def endpoint(self) -> Endpoint:
        """Return the endpoint; looked up at the first call, and again after a while."""
        return (await self._current()).endpoint

    async def exchange(self, step: Send, clock: Clock) -> Reply | Failure:
        """Send a request; where its key is refused and another is found, once more with that."""
        clients = await self._current()
        outcome = await clients.exchange(step, clock)
        if isinstance(outcome, Reply) and outcome.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            if self._looking is not None or self._clock() - self._looked_at > FRESH:
                await asyncio.shield(self._look())
            if (newer := await self._current()) is not clients:
                return await newer.exchange(step, clock)
        return outcome

    async def aclose(self) -> None:
        """Close the clients."""
        if self._clients is not None:
            await self._clients.aclose()

    async def _current(self) -> Clients:
        if self._clients is None:
            await asyncio.shield(self._look())
        elif self._clock() - self._looked_at > REFRESH:
            self._look()  # nobody waits for it: in a triggerer under load it takes seconds
        assert self._clients is not None, "a look-up that finds nothing raises"
        return self._clients

    def _look(self) -> asyncio.Task[None]:
        """Return the look-up that is under way, for all who want one; a task, so that no caller's end is its end."""
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._renew())
            self._looking.add_done_callback(self._looked)
        return self._looking

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        if not task.cancelled():
            task.exception()  # perhaps nobody waits any more

    async def _renew(self) -> None:
        self._looked_at, old = self._clock(), self._clients
        try:
            endpoint = await self._look_up()
        except Exception as error:
            if old is None:
                raise
            if self._clock() - self._found_at > STALE:
                self._clients = None
                await old.aclose()
                raise
            if not self._said:
                await in_thread(
                    log.warning,
                    "Connection %r could not be looked up again (%s); what was known of it is used meanwhile",
                    self._name,
                    error,
                )
            self._said = True
            return
        self._found_at, self._said = self._clock(), False
        if old is None or old.endpoint != endpoint:
            self._clients = Clients(endpoint)
            if old is not None:
                await in_thread(log.info, "Connection %r was changed; the new fields are used from now on", self._name)
                await old.aclose()


class _Shared:
    """A line, how many use it, and what closes it.

    :param lines: where it is found, until it is closed.
    """

    def __init__(self, line: Line, lines: dict[str, _Shared], name: str) -> None:
        self.line = line
        self.users = 0
        self.closing: asyncio.TimerHandle | asyncio.Task[None] | None = None
        self.keeper = self._keep(lines, name)

    async def _keep(self, lines: dict[str, _Shared], name: str) -> AsyncGenerator[None, None]:
        # When a loop ends, asyncio closes the generators that were begun on it: so nothing outlives dag.test()'s many
        # loops, each of which ends as soon as its one job is done. A task could be cancelled before it has begun.
        try:
            yield
        finally:
            del lines[name]
            await self.line.aclose()

    def close(self) -> None:
        self.closing = asyncio.get_running_loop().create_task(self.keeper.aclose())


#: The lines of each event loop, by connection; a closed one is taken out, so that a loop that is gone can go.
_lines: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Shared]] = WeakKeyDictionary()


class SharedLine:
    """The line of the running loop for a connection, while in ``async with``.

    The first who enters opens it; it is closed some time after the last left.

    :param name: the connection.
    :param look_up: returns its endpoint.
    """

    __slots__ = ("_look_up", "_name", "_shared")  # thousands are in use at a time

    def __init__(self, name: str, look_up: LookUp) -> None:
        self._name = name
        self._look_up = look_up

    async def __aenter__(self) -> Line:
        lines = _lines.setdefault(asyncio.get_running_loop(), {})
        if (shared := lines.get(self._name)) is None:
            shared = lines[self._name] = _Shared(Line(self._name, self._look_up), lines, self._name)
            await anext(shared.keeper)
        shared.users += 1
        if shared.closing is not None:
            shared.closing.cancel()
        self._shared = shared
        return shared.line

    async def __aexit__(self, *_: object) -> None:
        self._shared.users -= 1
        if not self._shared.users:
            self._shared.closing = asyncio.get_running_loop().call_later(LINGER, self._shared.close)
