"""Collects what the package can say to a user: the texts of its errors, and of its log lines from WARNING on."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.docs.blocks import ROOT

PACKAGE = ROOT / "airflow_provider_falinvoke"
#: The emulator is a tool of its own: what it says goes to the terminal that started it.
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if "emulator" not in path.parts]
LEVELS = ("warn", "warning", "error", "exception", "critical")
#: What makes a message too: functions that return or take a warning, a class chosen at run time, and what the protocol
#: has for no answer.
ALSO = {"caution", "kind", "not_stopping_the_task", "_held_back", "Failure"}
#: What is shorter is a piece of a sentence.
FEWEST_WORDS = 3


@dataclass(frozen=True)
class Message:
    """One text, with ``…`` for each value that is put into it, and where it is written."""

    where: str
    text: str


def messages(modules: list[Path] | None = None) -> list[Message]:
    """Return every text that can reach a user as an error or a warning, each once.

    :param modules: where to look; in the whole package by default.
    """
    trees = {path: ast.parse(path.read_text()) for path in (MODULES if modules is None else modules)}
    makers = ALSO | {name for tree in trees.values() for name in _functions(tree, _is_error)}
    words = {name: node for tree in trees.values() for name, node in _functions(tree, _is_text).items()}
    found = (
        Message(f"{path.name}:{line}", text)
        for path, tree in trees.items()
        for root in _roots(tree, makers)
        for line, text in _Texts(tree, words).of(root)
    )
    return list({message.text: message for message in found}.values())


def _is_error(name: str) -> bool:
    return name.endswith(("Error", "Exception")) and name != "AssertionError"


def _is_text(name: str) -> bool:
    return name in ("str", "str | None")


def _name(function: ast.expr) -> str:
    return ast.unparse(function).rpartition(".")[2]


def _functions(tree: ast.Module, returning: Callable[[str], bool]) -> dict[str, ast.FunctionDef]:
    return {
        node.name: node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.returns is not None and returning(ast.unparse(node.returns))
    }


def _roots(tree: ast.Module, makers: set[str]) -> Iterator[ast.AST]:
    """Yield the parts of a module whose texts are messages: what errors are made of, and what is logged."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in makers:
            yield from node.body
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from [] if ast.unparse(node.exc.func) == "AssertionError" else node.exc.args
        elif isinstance(node, ast.Call):
            name = _name(node.func)
            if name in makers or _is_error(name):
                yield from (*node.args, *(keyword.value for keyword in node.keywords))
            else:
                yield from _logged(node)


def _logged(call: ast.Call) -> list[ast.expr]:
    """Return what a call writes to the log: directly, in a thread, or as a step for a driver to write."""
    match [ast.unparse(call.func), *map(ast.unparse, call.args[:1])]:
        case ["in_thread", writer]:
            level, text = writer, call.args[1:2]
        case ["Say", severity]:
            level, text = severity.lower(), call.args[1:2]
        case [writer, *_]:
            level, text = writer, call.args[:1]
    return text if re.fullmatch(rf"(.*\blog|warnings|logging)\.({'|'.join(LEVELS)})", level) else []


class _Texts:
    """Reads the texts below a node, those of the module's constants and of the functions that it calls too.

    :param words: the package's functions that return texts.
    """

    def __init__(self, tree: ast.Module, words: dict[str, ast.FunctionDef]) -> None:
        self._words = dict(words)
        self._constants = {
            ast.unparse(node.targets[0]): node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        }

    def of(self, node: ast.AST) -> Iterator[tuple[int, str]]:
        """Yield each text with its line."""
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return  # a docstring
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from self._message(node, re.sub(r"%(\.\d)?[sdrfg]", "…", node.value))
        elif isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
            yield from self._message(node, "".join(parts))
        else:
            if isinstance(node, ast.Name) and node.id in self._constants:
                yield from self.of(self._constants[node.id])
            elif isinstance(node, ast.Call) and (function := self._words.pop(_name(node.func), None)):
                for statement in function.body:
                    yield from self.of(statement)
            for child in ast.iter_child_nodes(node):
                yield from self.of(child)

    def _message(self, node: ast.expr, text: str) -> Iterator[tuple[int, str]]:
        # What begins with a blank is advice that follows a message.
        if not text.startswith(" ") and len(re.findall(r"\w+", text)) >= FEWEST_WORDS:
            yield node.lineno, text
