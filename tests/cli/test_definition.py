"""What Airflow loads at each of its commands."""

from __future__ import annotations

import subprocess
import sys

import airflow
import pytest

HAS_PROVIDER_COMMANDS = tuple(int(part) for part in airflow.__version__.split(".")[:2]) >= (3, 2)


@pytest.mark.skipif(not HAS_PROVIDER_COMMANDS, reason="Airflow 3.1 has no commands of providers")
def test_airflow_offers_the_commands_and_loads_nothing_of_what_they_do() -> None:
    code = (
        "import sys\n"
        "from airflow.cli.cli_parser import get_parser\n"
        "args = get_parser().parse_args(['falinvoke', 'get', 'some-id'])\n"
        "print(args.func.__name__, args.conn_id, args.output)\n"
        "print(*sorted(name for name in sys.modules if name.startswith('airflow_provider_falinvoke.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    parsed, loaded = done.stdout.strip().splitlines()[-2:]
    assert parsed == "get falinvoke_default json"
    package = "airflow_provider_falinvoke"
    assert loaded.split() == [f"{package}.cli", f"{package}.cli.definition", f"{package}.get_provider_info"]
