"""What dead processes leave behind is collected in the test that killed them."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A finalizer of a dead process may fail; nobody lives who could care."""
    for item in items:
        if "tests/simulation/" in item.nodeid:
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect it now."""
    yield
    gc.collect()
