"""Each disturbance at each operation of each path, and many pairs of them."""

from __future__ import annotations

import pytest

from tests.simulation.blows import Blow
from tests.simulation.explore import broken, drawn, points
from tests.simulation.paths import PATHS, STORAGES

pytestmark = pytest.mark.chaos

PAIRS = 60
#: Bad weather is no matter of the storage.
EVERYWHERE = [(path.name, storage) for path in PATHS.values() for storage in STORAGES[: 1 + (path.weather == "fair")]]
#: What differs between a disk and another storage.
ON_A_DISK = {Blow.POWER, Blow.POWER_NAMES, Blow.TORN, Blow.ERROR_BEFORE}


@pytest.mark.parametrize(("path", "storage"), EVERYWHERE)
def test_each_disturbance_at_each_operation(path: str, storage: str) -> None:
    cases = points(path, storage)
    found = broken(case for case in cases if storage != "disk" or case.blows[0][1] in ON_A_DISK)
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("path", PATHS)
def test_two_disturbances(path: str, seed: int) -> None:
    found = broken(drawn(1000 + seed, PAIRS, paths=(path,)))
    assert not found, "\n".join(["", *found])
