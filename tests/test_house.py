"""Who may import whom, as docs and design draw it; and what an import may do."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "airflow_provider_falinvoke"
ROOT = Path(__file__).resolve().parent.parent / PACKAGE

BASE = {"exceptions"}
API = {"api", *BASE}
HOOKS = {"hooks", "media", "metrics", "get_provider_info", "_compat", *API}
BATCH = {"batch", "completion", "durable", *HOOKS}
TRIGGERS = {"triggers", "batch", *HOOKS}
SHARED = {"assets", "budget", "completion", "durable", "lineage", "links", "reuse", "speech", *TRIGGERS}
#: Each part of the package, and the parts that it may import from.
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "_compat": set(),
    "exceptions": set(),
    "get_provider_info": set(),
    "emulator": {"emulator"},
    "api": API,
    "media": {"media", *API},
    "metrics": {"_compat", *API},
    "hooks": HOOKS - {"hooks"},
    "triggers": TRIGGERS - {"triggers"},
    "durable": {"_compat", *API},
    "assets": set(),
    "speech": {"speech", "batch", "media"},
    "lineage": {"assets"},
    "completion": HOOKS,
    "budget": {"completion", *HOOKS},
    "reuse": {"durable", "media", *API},
    "batch": BATCH,
    "operators": {"operators", *SHARED},
    "sensors": SHARED,
    "decorators": {"operators", *SHARED},
    "media_tab": {"media_tab", "batch", "media", *API},
    "links": {"media_tab"},
    "plugins": {"media_tab"},
    "cli": {"cli", *SHARED},
    "__main__": {"cli"},
}
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def imports_of(path: Path) -> Iterator[str]:
    """Yield the dotted names that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where it leads"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_the_arrows_point_down(path: Path) -> None:
    part = part_of(path)
    assert part in MAY_IMPORT, f"say in this test what {part} may import"
    ours = {name.split(".")[1] for name in imports_of(path) if name.startswith(f"{PACKAGE}.")}
    assert ours <= MAY_IMPORT[part]


@pytest.mark.parametrize("path", [path for path in MODULES if part_of(path) in ("api", "exceptions")], ids=str)
def test_the_api_can_be_used_without_airflow(path: Path) -> None:
    foreign = {name.split(".")[0] for name in imports_of(path)} - {PACKAGE} - set(sys.stdlib_module_names)
    http = {
        "anyio",
        "httpcore",
        "httpx",
        "aiohttp",
        "httpx_aiohttp",
    }  # the first two come with httpx, and wait within it
    allowed = {"pydantic", "pydantic_core", *http} if part_of(path) == "api" else set()
    assert foreign <= allowed


@pytest.mark.parametrize("path", [path for path in MODULES if part_of(path) == "emulator"], ids=str)
def test_the_emulator_shares_no_code_with_the_client(path: Path) -> None:
    names = [name for name in imports_of(path) if name.startswith(PACKAGE)]
    assert all(name.startswith(f"{PACKAGE}.emulator") for name in names)
    assert not [name for name in imports_of(path) if name.split(".")[0] in ("airflow", "httpx")]


def python(code: str) -> str:
    """Run ``code`` in a new interpreter, with nothing of this one's environment that Airflow would read."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_parsing_a_dag_file_imports_nothing_heavy() -> None:
    """Every DAG file pays for what the operators and sensors import beyond Airflow itself."""
    out = python(
        "import sys, airflow.sdk, airflow.triggers.base\n"
        "from airflow.sdk import BaseOperator, BaseSensorOperator, BaseHook, PokeReturnValue\n"
        "before = set(sys.modules)\n"
        f"import {PACKAGE}.operators.falinvoke, {PACKAGE}.operators.batch, {PACKAGE}.sensors.falinvoke\n"
        f"import {PACKAGE}.operators.image\n"
        f"import {PACKAGE}.operators.audio, {PACKAGE}.operators.speech, {PACKAGE}.decorators.falinvoke\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    ).split()
    heavy = {
        "aiohttp",
        "openlineage",
        "filetype",
        "imagesize",
        "tinytag",
        "fastapi",
        "starlette",
        "uvicorn",
        "PIL",
        "fsspec",
        "sqlalchemy",
        "requests",
        "wtforms",
    }
    assert not heavy & set(out)


def test_an_import_asks_for_no_connection_and_no_network_and_never_for_the_emulator() -> None:
    """A DAG file is parsed again and again, on machines that may not reach anything."""
    runtime = [path for path in MODULES if part_of(path) != "emulator"]
    dotted = [".".join((PACKAGE, *path.with_suffix("").parts)) for path in runtime]
    out = python(
        "import importlib, socket, sys\n"
        "import airflow.sdk, airflow.triggers.base, airflow.exceptions\n"
        "from airflow.sdk import BaseHook, Connection\n"
        "def refuse(*args, **kwargs):\n    raise SystemExit(f'asked at import: {args}')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "BaseHook.get_connection = BaseHook.aget_connection = Connection.get = refuse\n"
        f"for name in {dotted!r}:\n    importlib.import_module(name.removesuffix('.__init__'))\n"
        f"print([name for name in sys.modules if name.startswith('{PACKAGE}.emulator')])"
    )
    assert out.strip().endswith("[]")


def test_the_table_of_this_test_is_not_stale() -> None:
    later = {"links", "plugins"}
    assert set(MAY_IMPORT) - later <= {part_of(path) for path in MODULES}
