"""Threads' work without threads: done when somebody waits for it, or at once, in an order that the seed draws."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ALL_COMPLETED, FIRST_EXCEPTION, Executor, Future
from typing import Any, NamedTuple

from tests.simulation.world import KilledError, World

_numbers = itertools.count()


class Done(NamedTuple):
    """What :func:`concurrent.futures.wait` returns."""

    done: set[Future[Any]]
    not_done: set[Future[Any]]


class Work(Future[Any]):
    """Work that a pool was given."""

    def __init__(self, pool: Pool, call: Callable[[], Any]) -> None:
        super().__init__()
        self._pool = pool
        self._call = call
        self._number = next(_numbers)

    def __hash__(self) -> int:
        return self._number  # so that a set of them has the same order in each run

    def __eq__(self, other: object) -> bool:
        return self is other

    def result(self, timeout: float | None = None) -> Any:
        """Do the work, and what the pool would have done before."""
        self._drive()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Do the work, and what the pool would have done before."""
        self._drive()
        return super().exception(timeout)

    def begin(self) -> None:
        """Do it. What ends the process ends the work of all its threads."""
        if not self.set_running_or_notify_cancel():
            return
        try:
            result = self._call()
        except Exception as error:
            self.set_exception(error)
        else:
            self.set_result(result)

    def _drive(self) -> None:
        while not self.done():
            self._pool.advance()


class Pool(Executor):
    """Stands for a ThreadPoolExecutor.

    :param world: its seed says which of the threads is first.
    """

    def __init__(self, world: World, max_workers: int | None = None, *_: Any, **__: Any) -> None:
        self._world = world
        self._workers = max_workers or 4
        self._queue: list[Work] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Take work; a thread may do it before the caller goes on."""
        work = Work(self, lambda: fn(*args, **kwargs))
        self._queue.append(work)
        while self._queue and self._world.random.random() < 0.4:
            self.advance()
        return work

    def advance(self) -> None:
        """Do the work of one of the threads."""
        self._queue.pop(self._world.random.randrange(min(self._workers, len(self._queue)))).begin()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do what is left, unless the process died."""
        del wait
        if cancel_futures:
            for work in self._queue:
                work.cancel()
        while self._queue and not self._world.current.dead:
            self.advance()


def waiting(world: World) -> Callable[..., Done]:
    """Return what stands for :func:`concurrent.futures.wait`."""

    def wait(fs: Iterable[Future[Any]], timeout: float | None = None, return_when: str = ALL_COMPLETED) -> Done:
        del timeout
        all_of_it = list(fs)

        def is_enough() -> bool:
            done = [future for future in all_of_it if future.done()]
            if return_when == FIRST_EXCEPTION and any(
                not future.cancelled() and Future.exception(future) is not None for future in done
            ):
                return True
            return len(done) == len(all_of_it) or (return_when not in (ALL_COMPLETED, FIRST_EXCEPTION) and bool(done))

        while True:
            left = [future for future in all_of_it if isinstance(future, Work) and not future.done()]
            if world.current.dead:
                raise KilledError  # what a dead thread did never ends
            if is_enough() and (not left or world.random.random() < 0.5):
                break
            world.random.choice(left)._pool.advance()
        return Done({f for f in all_of_it if f.done()}, {f for f in all_of_it if not f.done()})

    return wait
