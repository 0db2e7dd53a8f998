"""Who may import whom, as docs and design draw it; and what an import may do."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "airflow_provider_falinvoke"
ROOT = Path(__file__).resolve().parent.parent / PACKAGE

BASE = {"exceptions"}
API = {"api", *BASE}
HOOKS = {"hooks", "media", "metrics", "get_provider_info", "side_effects", "_compat", *API}
BATCH = {"batch", "completion", "durable", *HOOKS}
TRIGGERS = {"triggers", "batch", *HOOKS}
SHARED = {"assets", "budget", "completion", "durable", "labels", "lineage", "links", "reuse", "speech", *TRIGGERS}
#: Each part of the package, and the parts that it may import from.
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "_compat": set(),
    "exceptions": {"api"},  # printable.py alone, which imports nothing: see below
    "get_provider_info": set(),
    "emulator": {"emulator"},
    "api": API,
    "media": {"media", *API},
    "metrics": {"_compat", "side_effects", *API},
    "hooks": HOOKS - {"hooks"},
    "triggers": TRIGGERS - {"triggers"},
    "durable": {"_compat", "side_effects", *API},
    "side_effects": {"api"},
    "assets": {"side_effects", *API},
    "labels": {"side_effects", "api"},
    "speech": {"speech", "batch", "media", *BASE},
    "lineage": {"assets", "side_effects"},
    "completion": HOOKS,
    "budget": {"completion", *HOOKS},
    "reuse": {"durable", "media", "side_effects", *API},
    "batch": BATCH,
    "operators": {"operators", *SHARED},
    "sensors": SHARED,
    "decorators": {"operators", *SHARED},
    "media_tab": {"media_tab", "batch", "media", *API},
    "links": {"media_tab"},
    "plugins": {"plugins", "media_tab"},
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


def test_the_errors_import_nothing_of_ours_but_how_foreign_text_is_shown() -> None:
    ours = {name for name in imports_of(Path("exceptions.py")) if name.startswith(PACKAGE)}
    assert ours == {f"{PACKAGE}.api.printable", f"{PACKAGE}.api.printable.printable"}
    assert not [name for name in imports_of(Path("api/printable.py")) if name.startswith(PACKAGE)]


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


#: Calls that hand a value to Airflow, and which argument it is.
HANDS_OVER: dict[str, int | str] = {"TriggerEvent": 0, "xcom_push": "value", "defer": "kwargs", "_store.set": 1}


def handed_over(path: Path) -> Iterator[ast.expr]:
    """Yield each expression by which a module hands a value to Airflow."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Call):
            for place in [HANDS_OVER[name] for name in HANDS_OVER if ast.unparse(node.func).endswith(name)]:
                yield from node.args[place : place + 1] if isinstance(place, int) else ()
                yield from (keyword.value for keyword in node.keywords if keyword.arg == place)
        elif isinstance(node, ast.FunctionDef) and node.name == "serialize" and part_of(path) == "triggers":
            (returned,) = [one.value for one in ast.walk(node) if isinstance(one, ast.Return)]
            assert isinstance(returned, ast.Tuple)
            yield returned.elts[1]


def test_what_is_handed_to_airflow_is_made_portable_where_it_is_handed_over() -> None:
    """One value that Airflow cannot encode fails a paid task, or ends the whole triggerer."""
    found = {
        path: [ast.unparse(value) for value in handed_over(path)] for path in MODULES if part_of(path) != "emulator"
    }
    assert sum(len(values) for values in found.values()) >= 9, "nothing is handed over any more, or not by these calls"
    for path, values in found.items():
        for value in values:
            assert value.startswith("for_airflow("), f"{path} hands over {value}"


def python(code: str) -> str:
    """Run ``code`` in a new interpreter, with nothing of this one's environment that Airflow would read."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=180)
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


def bare_ids(path: Path) -> Iterator[str]:
    """Yield the lines of a module in which a job's id goes into a log as it came."""
    for call in ast.walk(ast.parse((ROOT / path).read_text())):
        if not isinstance(call, ast.Call):
            continue
        said = [call.func, *call.args]
        if any(isinstance(one, ast.Attribute) and ast.unparse(one.value).endswith("log") for one in said[:2]):
            for part in call.args:
                for node in [part, *(ast.walk(part) if isinstance(part, ast.JoinedStr) else ())]:
                    shown = node.value if isinstance(node, ast.FormattedValue) and node.conversion == -1 else node
                    if re.search(r"(request_id|_running)(['\"]\])?$", ast.unparse(shown)):
                        yield f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", [path for path in MODULES if part_of(path) != "emulator"], ids=str)
def test_an_id_that_the_api_gave_is_made_printable_before_it_goes_into_a_log(path: Path) -> None:
    assert list(bare_ids(path)) == []


def drawn_in_contributing() -> dict[str, int]:
    """Return each room of the picture in CONTRIBUTING.md, with the floor that it is on, 0 at the top."""
    page = (ROOT.parent / "CONTRIBUTING.md").read_text()
    floors = re.search(r"```text\n(.*?)```", page, re.DOTALL)
    assert floors is not None
    return {
        room: floor for floor, line in enumerate(floors[1].splitlines()) for room in re.split(r" {3,}", line)[0].split()
    }


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_room_imports_from_a_higher_floor_of_the_picture(path: Path) -> None:
    floors = drawn_in_contributing()
    part = part_of(path)
    if part in floors:
        ours = {name.split(".")[1] for name in imports_of(path) if name.startswith(f"{PACKAGE}.")} & floors.keys()
        if part == "exceptions":
            ours -= {"api"}  # printable.py alone: see above
        assert {room for room in ours if floors[room] < floors[part]} == set()


def test_the_picture_shows_all_rooms() -> None:
    beside = {"__init__", "__main__", "_compat", "emulator", "get_provider_info"}
    assert drawn_in_contributing().keys() == MAY_IMPORT.keys() - beside
