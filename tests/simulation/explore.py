"""Each point of a path, and random ones."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from tests.simulation.blows import Blow, Operation, blows_at
from tests.simulation.invariants import Problem
from tests.simulation.paths import PATHS, STORAGES
from tests.simulation.stage import Case
from tests.simulation.story import Story, outcome_of, play

#: So many orders of what threads do are drawn from.
ORDERS = 2


@cache
def undisturbed(path: str, storage: str, seed: int) -> tuple[tuple[Operation, ...], Any]:
    """Return the operations of a path to which nothing happens, and what it comes to."""
    story = play(Case(path, storage, seed))
    assert story.invariants.problems == [], f"{path}:{storage}:{seed}: {story.invariants}"
    return tuple(story.stage.world.operations), outcome_of(story)


def examine(case: Case) -> Story:
    """Play a case, compare what it comes to with the undisturbed one, and return it."""
    names = [case.path, PATHS[case.path].or_as]
    expected = [undisturbed(name, case.storage, case.seed)[1] for name in names if name]
    story = play(case)
    story.invariants.compare(expected)
    return story


def points(path: str, storage: str, seed: int = 0) -> Iterator[Case]:
    """Yield a case for each disturbance at each operation of a path."""
    operations, _ = undisturbed(path, storage, seed)
    for operation in operations:
        for blow in _blows_at(operation, operations, storage):
            for then in ("retry", "clear"):
                yield Case(path, storage, seed, ((operation.number, blow),), then)


def broken(cases: Iterable[Case]) -> list[str]:
    """Return what does not hold, and how to run each case again."""
    found = []
    for case in cases:
        try:
            problems = examine(case).invariants.problems
        except Exception as error:  # one that no task should end with, or the simulation's own
            problems = [Problem("broken", repr(error))]
        found += [f"python -m tests.simulation '{case}'  # {problem}" for problem in dict.fromkeys(problems)]
    return found


def drawn(seed: int, count: int, *, paths: tuple[str, ...] = tuple(PATHS)) -> Iterator[Case]:
    """Yield cases that a seed draws: one disturbance, or two."""
    dice = random.Random(seed)
    for _ in range(count):
        path, storage, order = dice.choice(paths), dice.choice(STORAGES), dice.randrange(ORDERS)
        operations, _ = undisturbed(path, storage, order)
        first = dice.choice(operations)
        blows = [(first.number, dice.choice(_blows_at(first, operations, storage)))]
        then = dice.choice(("retry", "clear"))
        if dice.random() < 0.5:
            # The second one strikes what follows the first, whose operations are known once it was played.
            played = play(Case(path, storage, order, tuple(blows), then)).stage.world.operations
            if later := played[first.number :]:
                second = dice.choice(later)
                blows.append((second.number, dice.choice(_blows_at(second, played, storage))))
        yield Case(path, storage, order, tuple(blows), then)


def _blows_at(operation: Operation, operations: Sequence[Operation], storage: str) -> list[Blow]:
    before = operations[operation.number - 2].process if operation.number > 1 else None
    return blows_at(operation, storage, is_first=before != operation.process)
