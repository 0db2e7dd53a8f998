"""A pytest fixture: an emulator that the default connection points to.

Use it with ``pytest_plugins = ["airflow_provider_falinvoke.emulator.pytest_plugin"]`` in the top conftest.py.
"""

from collections.abc import Iterator

import pytest

from airflow_provider_falinvoke.emulator import Emulator


@pytest.fixture
def falinvoke_emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """Yield a started emulator; the connection ``falinvoke_default`` leads to it for the time of the test."""
    with Emulator() as emulator:
        monkeypatch.setenv("AIRFLOW_CONN_FALINVOKE_DEFAULT", emulator.connection_json)
        yield emulator
