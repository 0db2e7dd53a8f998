"""A sample of crash points, the same in each run; ``make chaos`` runs all of them."""

from __future__ import annotations

import pytest

from tests.simulation.explore import broken, drawn, undisturbed
from tests.simulation.paths import PATHS, STORAGES

SEED, CASES = 15, 20


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_the_same_in_each_run(path: str, storage: str) -> None:
    operations, outcome = undisturbed(path, storage, 0)
    undisturbed.cache_clear()
    assert undisturbed(path, storage, 0) == (operations, outcome)


@pytest.mark.parametrize("path", PATHS)
def test_no_job_is_lost_or_paid_twice_whatever_happens_at_an_operation(path: str) -> None:
    found = broken(drawn(SEED, CASES, paths=(path,)))
    assert not found, "\n".join(["", *found])
