"""Put the simulated world in the place of the real one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib
import inspect
import logging
import pkgutil
import random
import secrets
import sys
import time
import types
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from typing import Any
from unittest import mock

import fsspec  # type: ignore[import-untyped]  # no stubs
import httpx
from airflow.sdk import BaseHook, BaseOperator, Connection
from airflow.sdk.io import attach
from upath.registry import register_implementation

import airflow_provider_falinvoke
from airflow_provider_falinvoke._compat import hears_of_success
from airflow_provider_falinvoke.api import account, clients, downloads
from airflow_provider_falinvoke.api.threads import in_thread
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from tests.simulation import loops, pools
from tests.simulation.api import BASE_URL, Api
from tests.simulation.objects import OBJECTS, PROTOCOL, Objects, ObjectsPath
from tests.simulation.world import START, Process, World

_PACKAGE = airflow_provider_falinvoke.__name__
_TIME, _SLEEP = time.time, time.sleep
_LOG = logging.getLogger(_PACKAGE)
_CONNECTION = Connection(
    conn_id="falinvoke_default", conn_type="falinvoke", host=BASE_URL, password="simulated-key", extra="{}"
)


@cache
def load_package() -> None:
    """Import all modules that a task may import, so that none comes later and takes the real things."""
    for module in pkgutil.walk_packages(airflow_provider_falinvoke.__path__, f"{_PACKAGE}."):
        if not any(part in module.name for part in (".emulator", ".cli", ".media_tab", ".plugins", "__main__")):
            importlib.import_module(module.name)
    fsspec.register_implementation(PROTOCOL, Objects, clobber=True)
    register_implementation(PROTOCOL, ObjectsPath, clobber=True)
    attach(PROTOCOL, fs=OBJECTS)


@contextmanager
def installed(world: World, api: Api) -> Iterator[None]:
    """Run tasks in a world.

    :param api: answers all requests, of whichever client.
    """
    load_package()
    OBJECTS.world = world
    OBJECTS.empty()
    before = random.getstate()
    random.seed(world.random.random())  # the jitter between polls
    with ExitStack() as stack:
        put = stack.enter_context
        for patch in (*_time(world), *_threads(world), *_network(api), *_airflow()):
            put(patch)
        put(_told(world))
        world.on_switch = _take_memory
        try:
            yield
        finally:
            random.setstate(before)
            account.forget_accounts()


def _time(world: World) -> Iterator[Any]:
    yield mock.patch.object(time, "time", world.time)
    yield mock.patch.object(time, "sleep", world.sleep)
    yield mock.patch.object(time, "monotonic", lambda: world.now - START)
    for defaults, name, real in _bound_clocks():
        yield mock.patch.dict(defaults, {name: world.sleep if real is _SLEEP else world.time})
    yield mock.patch.object(asyncio, "run", loops.running(world))


def _threads(world: World) -> Iterator[Any]:
    yield from everywhere(in_thread, loops.to_thread)
    yield from everywhere(concurrent.futures.ThreadPoolExecutor, partial(pools.Pool, world))
    yield from everywhere(concurrent.futures.wait, pools.waiting(world))
    yield mock.patch.object(
        secrets, "token_hex", lambda count=4: f"{world.random.getrandbits(8 * count):0{2 * count}x}"
    )
    yield mock.patch.object(uuid, "uuid4", lambda: uuid.UUID(int=world.random.getrandbits(128), version=4))
    # A download is cut off by a timer of a thread, and pauses by an event.
    threading = types.SimpleNamespace(Event=partial(_Event, world), Timer=_Timer)
    yield mock.patch.object(downloads, "threading", threading)


def _network(api: Api) -> Iterator[Any]:
    async def handle(_: object, request: httpx.Request) -> httpx.Response:
        return api.answer(request)

    yield mock.patch.object(httpx.HTTPTransport, "handle_request", lambda _, request: api.answer(request))
    yield mock.patch.object(httpx.AsyncHTTPTransport, "handle_async_request", handle)
    yield from everywhere(clients.polling_client, lambda: clients.AsyncClient)


def _airflow() -> Iterator[Any]:
    async def connection(*_: object) -> Connection:
        return _CONNECTION

    yield mock.patch.object(FalInvokeHook, "get_connection", lambda *_: _CONNECTION)
    yield mock.patch.object(FalInvokeHook, "aget_connection", connection)
    yield from everywhere(hears_of_success, lambda: True)
    for kind in (BaseOperator, BaseHook):
        owner = next(one for one in kind.__mro__ if "log" in vars(one))
        yield mock.patch.object(owner, "log", property(lambda _: _LOG))


def everywhere(original: Any, substitute: Callable[..., Any]) -> Iterator[Any]:
    """Yield a patch for each module of the package that has a name for ``original``."""
    for module, attribute in _names_of(original):
        yield mock.patch.object(module, attribute, substitute)


@cache
def _bound_clocks() -> list[tuple[dict[str, Any], str, Any]]:
    """Return the parameters of the package whose default is the clock, or the sleep, as it was when they were made."""
    found = []
    for module in _modules():
        for owner in (module, *(one for one in vars(module).values() if inspect.isclass(one))):
            for function in vars(owner).values():
                if inspect.isfunction(function) and str(function.__module__).startswith(_PACKAGE):
                    defaults = function.__kwdefaults__ or {}
                    found += [(defaults, name, one) for name, one in defaults.items() if one in (_TIME, _SLEEP)]
    return found


def _modules() -> list[types.ModuleType]:
    return [module for name, module in sys.modules.items() if name.startswith(_PACKAGE)]


@cache
def _names_of(original: Any) -> list[tuple[Any, str]]:
    return [(module, name) for module in _modules() for name, value in vars(module).items() if value is original]


@contextmanager
def _told(world: World) -> Iterator[None]:
    """Hand the log's lines to the world."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            world.say(record.levelno, record.getMessage())

    handler, level, propagate = Handler(), _LOG.level, _LOG.propagate
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.INFO)
    _LOG.propagate = False
    try:
        yield
    finally:
        _LOG.removeHandler(handler)
        _LOG.setLevel(level)
        _LOG.propagate = propagate


def _take_memory(process: Process) -> None:
    """A process knows of the quota what it saw itself."""
    account._accounts = process.memory


class _Event:
    def __init__(self, world: World) -> None:
        self._world = world
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, timeout: float | None = None) -> bool:
        if not self._is_set and timeout:
            self._world.sleep(timeout)
        return self._is_set


class _Timer:
    daemon = True

    def __init__(self, *_: object) -> None:
        """Never fires."""

    def start(self) -> None:
        """Never fires."""

    def cancel(self) -> None:
        """Never fires."""
