"""The numbered operations, the clock, the processes that do them, and what a blow does."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from tests.simulation.blows import Blow, Kind, Operation

T = TypeVar("T")
START = 1_800_000_000.0
#: Seconds that an operation takes.
TICK = 0.01
#: No task of ours needs more operations; one that does goes round in a circle.
MOST_OPERATIONS = 6000
#: Real seconds after which a process of the simulation hangs, which is a fault of the simulation.
HANGS = 60.0
#: So many failures in a row a task gets over.
_SHORT = 2
#: A process stops at these before the operation is done, or half done, and at those after it.
_BEFORE = frozenset({Blow.KILL_BEFORE, Blow.FREEZE_BEFORE, Blow.TORN})
_AFTER = frozenset({Blow.KILL_AFTER, Blow.FREEZE_AFTER, Blow.POWER, Blow.POWER_NAMES})


class KilledError(BaseException):
    """Raised in a process that is dead, at the operation that killed it and at each later one."""


class EndlessError(BaseException):
    """Raised where the operations have no end."""


class Watcher(Protocol):
    """Is told of what the invariants need to know at the moment when it happens."""

    def stopped(self, operation: Operation, blow: Blow) -> None:
        """Take note that a process is about to die, or stands still."""

    def paused(self) -> None:
        """Take note that a pause is over."""

    def out_of_reach(self, operation: Operation) -> None:
        """Take note that an operation fails in a long outage."""


@dataclass
class Process:
    """A process that does operations: a try on a worker, or a triggerer.

    :param attempt: the number of the try that it works for.
    """

    name: str
    attempt: int
    dead: bool = False
    frozen: bool = False
    #: What its modules hold: what is known of the API's quota.
    memory: dict[str, Any] = field(default_factory=dict)
    #: Jobs whose ids the API told it.
    learned: list[str] = field(default_factory=list)
    result: Any = None
    error: BaseException | None = None
    stopped: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    woken: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


class World:
    """All that is outside of the package.

    :param seed: draws whatever is left to chance.
    :param blows: what happens at the operations of these numbers.
    """

    def __init__(self, seed: int, blows: Mapping[int, Blow]) -> None:
        self.random = random.Random(seed)
        self.now = START
        self.operations: list[Operation] = []
        self.current: Process = Process("nobody", 0)
        self.logs: list[tuple[str, int, str]] = []
        self.struck: list[str] = []
        self.watcher: Watcher | None = None
        #: Called with a process that begins, or goes on: its memory is the modules' from now on.
        self.on_switch: Callable[[Process], None] = lambda _: None
        #: Called where the machine loses its power; told whether names survive.
        self.on_power_loss: Callable[[bool], None] = lambda _: None
        self._blows = dict(blows)
        self._failing: dict[Kind, int] = {}
        self._frozen: list[Process] = []

    def arm(self, blows: Mapping[int, Blow]) -> None:
        """From now on, do these at the operations of these numbers."""
        self._blows = dict(blows)

    def forget(self) -> None:
        """Count the operations from here."""
        self.operations.clear()
        self.logs.clear()

    def time(self) -> float:
        """Return the time, in epoch seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Pause; an operation, because a process may die meanwhile."""
        self.do(Kind.PAUSE, f"{seconds:.1f} s", lambda: self.advance(seconds))
        if self.watcher is not None:
            self.watcher.paused()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += max(0.0, seconds)

    def do(
        self,
        kind: Kind,
        name: str,
        effect: Callable[[], T],
        *,
        torn: Callable[[], object] | None = None,
        before: Callable[[], Exception] = lambda: OSError(28, "No space left on device"),
        after: Callable[[], Exception] | None = None,
    ) -> T:
        """Do an operation, unless something happens to it.

        :param effect: what it does to the world.
        :param torn: does half of it.
        :param before: makes the error for one that was not done.
        :param after: makes the error for one that was done, and is reported as failed.
        """
        process = self.current
        if process.dead:
            raise KilledError
        operation = self._numbered(kind, name, torn is not None, process)
        blow = self._blows.pop(operation.number, None)
        if blow is not None:
            self.struck.append(f"{operation.number}={blow.value}")
            self._failing[kind] = blow.outage or self._failing.get(kind, 0)
        if self._failing.get(kind, 0) > 0:
            self._failing[kind] -= 1
            if self.watcher is not None and self._failing[kind] + 1 > _SHORT:
                self.watcher.out_of_reach(operation)
            raise before()
        self._before(operation, blow, torn, before)
        result = effect()
        self._after(operation, blow, after or before)
        return result

    def _before(
        self, operation: Operation, blow: Blow | None, torn: Callable[[], object] | None, error: Callable[[], Exception]
    ) -> None:
        if blow in _BEFORE:
            self._tell(operation, blow)
        if torn is not None and blow in (Blow.TORN, Blow.TORN_ERROR):
            torn()
        if blow in (Blow.KILL_BEFORE, Blow.TORN):
            self._kill()
        elif blow in (Blow.ERROR_BEFORE, Blow.TORN_ERROR):
            raise error()
        elif blow is Blow.FREEZE_BEFORE:
            self._freeze()

    def _after(self, operation: Operation, blow: Blow | None, error: Callable[[], Exception]) -> None:
        if blow in (Blow.POWER, Blow.POWER_NAMES):
            self.on_power_loss(blow is Blow.POWER_NAMES)
            for frozen in self._frozen:
                frozen.dead = True  # on the same machine
        if blow in _AFTER:
            self._tell(operation, blow)
        if blow in (Blow.KILL_AFTER, Blow.POWER, Blow.POWER_NAMES):
            self._kill()
        elif blow is Blow.ERROR_AFTER:
            raise error()
        elif blow is Blow.FREEZE_AFTER:
            self._freeze()

    def run(self, name: str, attempt: int, work: Callable[[], Any]) -> Process:
        """Run a process until it ends, dies or freezes, and return it."""
        process = Process(name, attempt)

        def main() -> None:
            try:
                process.result = work()
            except BaseException as error:
                process.error = error
            process.stopped.release()

        self._enter(process)
        threading.Thread(target=main, name=f"simulated-{name}", daemon=True).start()
        self._until_it_stops(process)
        return process

    def wake(self, process: Process) -> None:
        """Let a frozen process go on to its end."""
        assert process.frozen
        process.frozen = False
        self.advance(30.0)
        self._enter(process)
        process.woken.release()
        self._until_it_stops(process)

    def say(self, level: int, text: str) -> None:
        """Keep a line of the log, unless nobody lives to write it."""
        if not self.current.dead:
            self.logs.append((self.current.name, level, text))

    def _enter(self, process: Process) -> None:
        self.current = process
        self.on_switch(process)

    def _until_it_stops(self, process: Process) -> None:
        if not process.stopped.acquire(timeout=HANGS):
            raise TimeoutError(f"{process.name} hangs after the operation {self.operations[-1:]}")
        self.current = Process("nobody", 0)

    def _numbered(self, kind: Kind, name: str, writes: bool, process: Process) -> Operation:
        operation = Operation(len(self.operations) + 1, kind, name, writes, process.name)
        self.operations.append(operation)
        self.now += TICK
        if operation.number > MOST_OPERATIONS:
            process.dead = True
            raise EndlessError
        return operation

    def _tell(self, operation: Operation, blow: Blow) -> None:
        if self.watcher is not None:
            self.watcher.stopped(operation, blow)

    def _kill(self) -> None:
        self.current.dead = True
        raise KilledError

    def _freeze(self) -> None:
        process = self.current
        process.frozen = True
        self._frozen.append(process)
        process.stopped.release()
        process.woken.acquire()
        self._frozen.remove(process)
        if process.dead:
            raise KilledError
