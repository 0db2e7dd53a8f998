"""What the pages advise: no key on a command line, and no installation without constraints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT

PACKAGE = ROOT / "airflow_provider_falinvoke"
#: The emulator's, which is no secret.
NO_SECRET = "emulator-key"
#: A command line is in the shell's history, and in every process list of the machine.
ON_A_COMMAND_LINE = re.compile(
    r"--conn-(password|uri|json)"
    r"|^\s*(export )?MODEL_ACCESS_KEY="
    rf"""|^\s*(export )?AIRFLOW_CONN_\w+=['"]?(?!.*{NO_SECRET})(\{{.*"password"|\w+://)""",
    re.M,
)
INSTALLATION = re.compile(r"pip install[^\n`]*")


@pytest.mark.parametrize("path", [*PAGES, *sorted(PACKAGE.rglob("*.py"))], ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_is_told_to_put_the_key_on_a_command_line(path: Path) -> None:
    assert [found[0] for found in ON_A_COMMAND_LINE.finditer(path.read_text())] == []


@pytest.mark.parametrize("page", [*PAGES, *sorted(PACKAGE.rglob("*.py"))], ids=lambda page: str(page.relative_to(ROOT)))
def test_each_installation_is_constrained(page: Path) -> None:
    """Without constraints Airflow 3.2.2 installs, and cannot run a task: its own dependencies move on."""
    ours = [line for line in INSTALLATION.findall(page.read_text()) if "httpx[socks]" not in line]
    assert [line for line in ours if not re.match(r"pip install -c constraints/airflow-3\.\d\.txt ", line)] == []


@pytest.mark.parametrize(
    "advice",
    [
        'airflow connections add x --conn-type falinvoke --conn-password "$KEY"',
        'export AIRFLOW_CONN_X=\'{"conn_type": "falinvoke", "password": "…"}\'',
        "export AIRFLOW_CONN_X='falinvoke://:key@'",
        "export MODEL_ACCESS_KEY=sk-do",
    ],
)
def test_such_advice_is_found(advice: str) -> None:
    assert ON_A_COMMAND_LINE.search(f"first\n{advice}\n")
