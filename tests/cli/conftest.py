"""Runs a command in this process, as ``python -m airflow_provider_falinvoke`` would."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_provider_falinvoke.__main__ import main
from airflow_provider_falinvoke.emulator import Emulator


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What it printed, read as JSON."""
        return json.loads(self.out)


Run = Callable[..., Ended]
Connect = Callable[..., None]


class Typed(io.StringIO):
    """A terminal with somebody at it, who types this."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command; ``typed`` is what the user answers, None for nobody there."""
    # The commands set it for good, because their process is theirs alone.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")

    def run(*arguments: str, typed: str | None = None) -> Ended:
        monkeypatch.setattr("sys.stdin", io.StringIO() if typed is None else Typed(typed))
        capsys.readouterr()
        code: Any = 0
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
        written = capsys.readouterr()
        assert "Traceback" not in written.err
        return Ended(int(code or 0), written.out, written.err)

    return run


@pytest.fixture
def connect(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Return a function that changes fields of the default connection, which leads to the emulator."""

    def change(**fields: Any) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_FALINVOKE_DEFAULT", json.dumps({**emulator.connection, **fields}))

    return change
