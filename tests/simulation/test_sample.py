"""A sample of crash points, the same in each run; ``make chaos`` runs all of them."""

from __future__ import annotations

import pytest

from tests.simulation.blows import Blow
from tests.simulation.explore import broken, drawn, examine, undisturbed
from tests.simulation.paths import PATHS, STORAGES, Path
from tests.simulation.stage import Case

SEED = 15
#: How many cases, of a single job and of a batch.
CASES, CASES_OF_MANY = 24, 12


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_the_same_in_each_run(path: str) -> None:
    first = undisturbed(path, STORAGES[0], 0)
    undisturbed.cache_clear()
    assert undisturbed(path, STORAGES[0], 0) == first


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_no_job_is_lost_or_paid_twice_whatever_happens_at_an_operation(path: Path) -> None:
    cases = CASES if len(path.prompts) == 1 else CASES_OF_MANY
    found = broken(drawn(SEED, cases, paths=(path.name,)))
    assert not found, "\n".join(["", *found])


def test_a_success_that_a_user_clears_is_paid_for_again() -> None:
    operations, _ = undisturbed("sync", STORAGES[0], 0)
    story = examine(Case("sync", STORAGES[0], 0, ((len(operations), Blow.KILL_AFTER),), "clear"))
    assert (len(story.stage.api.jobs), story.invariants.problems) == (2, [])
