"""Run the simulation by hand: see the package."""

from __future__ import annotations

import sys
import time
from collections import Counter

import tests.conftest  # noqa: F401 - Airflow's environment, before Airflow
from tests.simulation.explore import broken, examine, points
from tests.simulation.paths import PATHS, STORAGES
from tests.simulation.stage import Case


def main(words: list[str]) -> int:
    """Play one case and show it, or all points of a path."""
    text = " ".join(words)
    if "=" in text or text.endswith(" -"):
        return show(Case.read(text))
    wanted = words or [f"{path}:{storage}" for path in PATHS for storage in STORAGES]
    return sum(map(survey, wanted))


def show(case: Case) -> int:
    """Play one case, and print its operations, the log and what does not hold."""
    story = examine(case)
    world = story.stage.world
    print(*world.operations, "", *(f"{who:12} {text}" for who, _, text in world.logs), sep="\n")
    print("", f"result: {story.stage.airflow.result}", *story.invariants.problems, sep="\n")
    return len(story.invariants.problems)


def survey(where: str) -> int:
    """Play all points of a path, and print what does not hold."""
    path, _, storage = where.partition(":")
    storage, _, seed = (storage or STORAGES[0]).partition(":")
    began, count, kinds = time.perf_counter(), 0, Counter[str]()
    for case in points(path, storage, int(seed or 0)):
        count += 1
        for line in broken([case]):
            print(line)
            kinds[line.partition("# [")[2].partition("]")[0]] += 1
    print(f"{path}:{storage}: {count} cases, {time.perf_counter() - began:.1f} s, {dict(kinds) or 'all holds'}")
    return kinds.total()


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
