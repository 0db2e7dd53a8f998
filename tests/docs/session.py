"""Goes through a page as a reader would: in an empty home, with one shell, block after block."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from configparser import ConfigParser
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from dags_examples.demo import run_for_its_assets
from tests.docs.blocks import ROOT, Block
from tests.support.dags import run_dag, store

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.sdk import DAG

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DISTRIBUTION = "airflow-provider-falinvoke"
#: Airflow's commands that run until they are stopped: only their arguments are read.
ENDLESS = re.compile(r"^airflow (standalone|scheduler|triggerer|api-server|dag-processor|celery \w+)\b")
#: What changes the shell that the next command runs in.
STATEFUL = ("export", "unset", "cd", "mkdir")


class Session:
    """One page's reader.

    :param home: an empty folder.
    :param database: an Airflow database to begin with; ``falinvoke_default`` is in it.
    """

    def __init__(self, home: Path, database: Path) -> None:
        self.home = home
        self.names: dict[str, Any] = {"__name__": "__page__"}
        self._folder = home
        self._emulators: list[subprocess.Popen[str]] = []
        self._ports: dict[str, str] = {}
        self._unused: list[Block] = []
        self._dags: list[DAG] = []
        (home / "airflow").mkdir()
        with (
            closing(sqlite3.connect(database)) as source,
            closing(sqlite3.connect(home / "airflow/airflow.db")) as copy,
        ):
            source.backup(copy)
        programs = {"airflow": "-m airflow", "pytest": "-m pytest", "python": "", "python3": ""}
        (home / "bin").mkdir()
        for name, arguments in programs.items():
            program = home / "bin" / name
            program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
            program.chmod(0o755)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
            "HOME": str(home),
            "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}",
            "AIRFLOW_HOME": str(home / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags_examples"),
            "AIRFLOW_VAR_FALINVOKE_OUTPUT": (home / "output").as_uri(),
        }

    def finish(self) -> None:
        """Check that each file that a reader was told to write was used by a command after it."""
        assert not self._unused, f"{self._unused[0]}: no command of the page uses {self._unused[0].title}"

    def close(self) -> None:
        """Stop what the page started."""
        for emulator in self._emulators:
            emulator.terminate()
            emulator.communicate(timeout=30)

    def perform(self, block: Block) -> None:
        """Execute, or read, a block.

        :raises AssertionError: it does not do what a reader is led to expect.
        """
        kinds: dict[str, Callable[[Block], object]] = {
            "python": self._python,
            "sh": self._shell,
            "json": lambda block: json.loads(block.code),
            "jsonl": lambda block: [json.loads(line) for line in block.code.splitlines()],
            "toml": lambda block: tomllib.loads(block.code),
            "ini": _read_ini,
        }
        assert block.language in kinds, (
            f"{block}: write one of {', '.join(kinds)} after the fence, or <!-- not executed: why --> before it"
        )
        kinds[block.language](block)
        if block.title:
            path = self._folder / self._here(block.title).removeprefix("file://").replace("~/", f"{self.home}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._here(block.code))
            if block.language != "jsonl":  # that is data of the block after it, and for no command
                self._unused.append(block)

    def _python(self, block: Block) -> None:
        """Execute a block that has no file of its own; a file is written, and waits for a command that uses it."""
        code = self._here(block.code)
        if block.title:
            compile(code, str(block), "exec")
            return
        path = self.home / f"test_line_{block.line}.py"
        path.write_text(code)
        if re.search(r"^(async )?def test_", code, re.M):
            self._command(block, f"pytest {shlex.quote(str(path))}")
        else:
            self._run(block, code, path)

    def _run(self, block: Block, code: str, path: Path) -> None:
        """Execute Python within a DAG, and run that DAG, if the block puts tasks into it, and those that it makes."""
        from airflow.sdk import DAG

        dags: list[DAG] = []
        enter = DAG.__enter__

        def watched(dag: DAG) -> DAG:
            dags.append(dag)
            return enter(dag)

        around = DAG(f"docs_line_{block.line}", schedule=None, start_date=datetime(2026, 1, 1))
        with mock.patch.object(DAG, "__enter__", watched), around:  # a DAG need not have a name in its file
            exec(compile(code, str(path), "exec"), self.names)
        for dag in [dag for dag in dags if dag.tasks]:
            dag.is_paused_upon_creation = False
            store(dag)
            waits_for_assets = type(dag.timetable).__name__ == "AssetTriggeredTimetable"
            for earlier in self._dags if waits_for_assets else ():
                run_dag(earlier)
            ran = run_dag(dag, run_for_its_assets if waits_for_assets else run_undated)
            assert ran.state == "success", f"{block}: {ran}"
            self._dags.append(dag)

    def _shell(self, block: Block) -> None:
        for command in commands_of(block.code):
            self._command(block, command)

    def _command(self, block: Block, command: str) -> None:
        command = self._here(command)
        plain = re.sub(r"^(\w+=\S+ )+", "", command)
        first = plain.split()[0]
        if plain.startswith("make "):
            done = subprocess.run(
                ["make", "-n", *plain.split()[1:]], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
            )
        elif plain.startswith("pip install "):
            return _read_installation(block, plain)
        elif plain.startswith(". "):  # a virtual environment: the tests' own is there already
            return None
        elif plain.startswith("python -m airflow_provider_falinvoke.emulator"):
            return self._start_emulator(block, command)
        elif first in STATEFUL or plain.startswith("python3 -m venv "):
            command = command.replace("python3 -m venv", "mkdir -p")
            done = self._bash(f"{command}\nprintf '\\0'; pwd; env -0")
            folder, *variables = done.stdout.partition("\0")[2].split("\0")
            folder, _, variable = folder.partition("\n")
            self._folder = Path(folder)
            self._environment = dict(item.split("=", 1) for item in [variable, *variables] if "=" in item)
        elif ENDLESS.search(plain):
            return _parse_airflow(plain)
        elif first in ("airflow", "pytest", "python", "curl", "find", "ls"):
            # It comes with nothing that the page installs, unlike the others.
            assert (first, block.language) != ("pytest", "sh") or re.search(
                r"^pip install .*\bpytest\b", block.page.read_text(), re.M
            ), block
            done = self._bash(command)
            if first == "pytest" or plain.startswith(("airflow dags test", "airflow connections import")):
                self._unused.clear()
        else:
            raise AssertionError(f"{block}: teach tests/docs/session.py the command {first!r}")
        assert done.returncode == 0, f"{block}: {command}\n{done.stdout}{done.stderr}"
        return None

    def _here(self, code: str) -> str:
        """Return the code with what a page takes for granted replaced: free ports, a bucket, a /tmp of its own."""
        for port, actual in self._ports.items():
            code = code.replace(port, actual)
        code = re.sub(r"s3://(\w+@)?[\w-]+", f"file://{self.home}/s3", code)
        already = re.escape(str(self.home).removeprefix("/tmp/"))
        return re.sub(f"/tmp/(?!{already})", f"{self.home}/tmp/", code)

    def _start_emulator(self, block: Block, command: str) -> None:
        # The page's port may be taken on this machine; without one, it shows what it happened to print.
        command, found = re.subn(r"--port (\d+)", "--port 0", command)
        emulator = subprocess.Popen(
            [sys.executable, *shlex.split(command)[1:], "--quiet"],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._emulators.append(emulator)
        assert emulator.stdout is not None
        said = emulator.stdout.readline()
        assert said.startswith("API:"), f"{block}: {said}"
        shown = (
            re.search(r"--port (\d+)", block.code)
            if found
            else re.search(r"127\.0\.0\.1:(\d+)", block.page.read_text())
        )
        if shown:
            self._ports[shown[1]] = said.split()[1].rpartition(":")[2]

    def _bash(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-ec", script],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


def run_undated(dag: DAG) -> DagRun:
    """Run a DAG as ``airflow dags trigger`` and the REST API do: without a logical date."""
    run: DagRun = dag.test(logical_date=None)
    return run


def commands_of(code: str) -> list[str]:
    """Return the commands of a shell block: without comments, a command over several lines as one."""
    commands, waiting = [], ""
    for line in code.splitlines():
        if not waiting and (not line.strip() or line.lstrip().startswith("#")):
            continue
        waiting += line + "\n"
        try:
            shlex.split(waiting)
        except ValueError:  # a quotation that goes on
            continue
        if not line.endswith("\\"):
            commands.append(waiting.strip())
            waiting = ""
    assert not waiting, f"unfinished: {waiting}"
    return commands


def _parse_airflow(command: str) -> None:
    """Check the arguments of an Airflow command that is not run.

    :raises SystemExit: they are wrong.
    """
    from airflow.cli.cli_parser import get_parser

    get_parser().parse_args(shlex.split(command)[1:])


def _read_installation(block: Block, command: str) -> None:
    """Check the names in a command that would install something; it is not run."""
    if not command.startswith("pip install "):
        return
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    words = shlex.split(command)[2:]
    if "-c" in words:
        at = words.index("-c")
        assert (ROOT / words[at + 1]).is_file(), f"{block}: {command}"
        del words[at : at + 2]
    for word in words:
        match = re.fullmatch(r"(\.|[\w-]+)(?:\[([\w,-]+)\])?", word)
        assert match and match[1] in (".", DISTRIBUTION, "pytest"), f"{block}: {command}"
        assert set((match[2] or "").split(",")) - {""} <= set(project["optional-dependencies"]), f"{block}: {command}"


def _read_ini(block: Block) -> None:
    """Check that Airflow knows each section and option."""
    from airflow.configuration import conf

    parser = ConfigParser(interpolation=None)
    parser.read_string(block.code)
    for section in parser.sections():
        for option in parser[section]:
            assert conf.has_option(section, option), f"{block}: Airflow has no [{section}] {option}"
