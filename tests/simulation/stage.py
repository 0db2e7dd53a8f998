"""A case, set up: the world with everything in it, and one try of the task."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

from airflow.sdk import BaseOperator

from airflow_provider_falinvoke._compat import TaskDeferred
from airflow_provider_falinvoke.plugins.success import on_task_instance_success
from tests.simulation.airflow import Airflow
from tests.simulation.api import Api
from tests.simulation.blows import Blow, Kind
from tests.simulation.disk import Disk
from tests.simulation.install import installed
from tests.simulation.objects import OBJECTS
from tests.simulation.paths import PATHS, Path
from tests.simulation.world import Process, World

_FAILED_TRIGGER = "__fail__"


class Case(NamedTuple):
    """What is simulated.

    :param blows: what happens, by the operation's number.
    :param then: what follows first: ``retry`` or ``clear``.
    """

    path: str
    storage: str = "disk"
    seed: int = 0
    blows: tuple[tuple[int, Blow], ...] = ()
    then: str = "retry"

    def __str__(self) -> str:
        blows = " ".join(f"{number}={blow.value}" for number, blow in self.blows)
        return f"{self.path}:{self.storage}:{self.seed} {blows or '-'} {self.then}"

    @classmethod
    def read(cls, text: str) -> Case:
        """Return the case that a text names; the opposite of ``str``."""
        where, *rest = text.split()
        path, storage, seed = [*where.split(":"), "", ""][:3]
        blows = tuple(
            (int(number), Blow(blow)) for number, _, blow in (word.partition("=") for word in rest if "=" in word)
        )
        return cls(path, storage or "disk", int(seed or 0), blows, "clear" if "clear" in rest else "retry")


@dataclass(frozen=True)
class Deferral:
    """What Airflow keeps of a deferral, as plain data."""

    trigger: Any
    method: str
    kwargs: dict[str, Any]
    timeout: timedelta | None


class Stage:
    """The world of a case."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.path: Path = PATHS[case.path]
        self.world = World(case.seed, {})
        self.api = Api(self.world, duration=self.path.duration, weather=self.path.weather)
        self.airflow = Airflow(self.world)
        self.disk = Disk(self.world) if case.storage == "disk" else None
        self.folder = self.disk.path if self.disk else "sim://bucket/out"

    @contextmanager
    def set_up(self) -> Iterator[None]:
        """Make the world, and what was in it before the task."""
        with installed(self.world, self.api):
            if self.disk is None:
                yield from self._begin()
                return
            self.world.on_power_loss = self.disk.lose_power
            try:
                with self.disk.installed():
                    yield from self._begin()
            finally:
                self.disk.close()

    def _begin(self) -> Iterator[None]:
        if self.path.before is not None:
            self.path.before(self)
            self.world.forget()
        if self.disk is not None:
            self.disk.settle()
        self.world.arm(dict(self.case.blows))
        yield

    def run_another_task(self, make: Any) -> None:
        """Run a task to its end that is none of the case's."""
        other = Airflow(self.world, task_id="earlier")
        attempt = other.begin()
        process = self.world.run("earlier", attempt, lambda: call(make(self.folder), "execute", other.context(attempt)))
        if process.error is not None:
            raise process.error

    def files(self) -> dict[str, bytes]:
        """Return all files of the storage by name."""
        return self.disk.files() if self.disk is not None else OBJECTS.files()

    def execute(self, attempt: int) -> Process:
        """Run a try's first half, or all of it."""
        return self.world.run(f"try-{attempt}", attempt, partial(self._work, attempt, "execute", {}))

    def resume(self, attempt: int, deferral: Deferral, outcome: Process) -> Process:
        """Run what follows a deferral on a worker.

        :param outcome: the triggerer's.
        """
        method, kwargs = deferral.method, {**deferral.kwargs, "event": outcome.result}
        if outcome.error is not None:
            method, kwargs = _FAILED_TRIGGER, {"error": f"Trigger failure: {outcome.error!r}"}
        return self.world.run(f"resumed-{attempt}", attempt, partial(self._work, attempt, method, kwargs))

    def fire(self, attempt: int, deferral: Deferral) -> Process:
        """Run a deferral's trigger to its event."""

        def event() -> Any:
            kind, arguments = deferral.trigger

            async def first() -> Any:
                return [event.payload async for event in kind(**json.loads(json.dumps(arguments))).run()]

            (payload,) = asyncio.run(first())
            return json.loads(json.dumps(payload))

        return self.world.run("triggerer", attempt, event)

    def _work(self, attempt: int, method: str, kwargs: dict[str, Any]) -> Any:
        operator: Any = self.path.make(self.folder)
        context = self.airflow.context(attempt)
        try:
            if method == "execute":
                result = call(operator, method, context)
            else:
                result = operator.resume_execution(method, kwargs, context)
        except TaskDeferred as deferred:
            return self._defer(attempt, deferred)
        self._succeed(attempt, context, result)
        with contextlib.suppress(Exception):  # Airflow contains what a listener raises
            on_task_instance_success(SimpleNamespace(task=operator))
        return result

    def _defer(self, attempt: int, deferred: TaskDeferred) -> Deferral:
        _, arguments = deferred.trigger.serialize()
        kept = Deferral(
            (type(deferred.trigger), json.loads(json.dumps(arguments))),
            deferred.method_name,
            json.loads(json.dumps(deferred.kwargs or {})),
            deferred.timeout,
        )
        self.airflow.do(Kind.AIRFLOW, "defer", attempt, lambda: None)
        return kept

    def _succeed(self, attempt: int, context: dict[str, Any], result: Any) -> None:
        plain = json.loads(json.dumps(result))
        context["ti"].xcom_push(key="return_value", value=plain)

        def store() -> None:
            self.airflow.succeeded, self.airflow.result = True, plain

        self.airflow.do(Kind.AIRFLOW, "success", attempt, store)


def call(operator: BaseOperator, method: str, context: dict[str, Any]) -> Any:
    """Call a method of an operator; Airflow wraps execute so that only Airflow may call it."""
    of_class = getattr(type(operator), method)
    return getattr(of_class, "__wrapped__", of_class)(operator, context)
