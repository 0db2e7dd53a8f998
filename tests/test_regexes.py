"""No regex of the package takes more time than its text is long, used as the package uses it."""

from __future__ import annotations

import ast
import importlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import airflow_provider_falinvoke
from airflow_provider_falinvoke.media.find import _DATA_HEADER
from tests.media.test_hostile import SIZE, TEXTS, limited

pytestmark = pytest.mark.serial

ROOT = Path(airflow_provider_falinvoke.__file__).parent
#: What is called with a pattern, or is a pattern's own.
USES = ("match", "fullmatch", "search", "sub", "split", "findall", "finditer")


class Use(NamedTuple):
    """How the package has a regex meet a text.

    :param how: the function of ``re``.
    """

    pattern: re.Pattern[Any]
    how: str


#: What it meets is cut to 256 characters.
SHORT = {Use(_DATA_HEADER, "match")}


def uses() -> Iterator[Use]:
    """Yield each, but those of the emulator: it meets what tests send."""
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).with_suffix("")
        for node in ast.walk(ast.parse(path.read_text())) if name.parts[0] != "emulator" else ():
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in USES):
                continue
            owner, how = node.func.value, node.func.attr
            if isinstance(owner, ast.Name) and owner.id == "re":
                flags = [argument.attr for argument in node.args[2:] if isinstance(argument, ast.Attribute)]
                if isinstance(node.args[0], ast.Constant):
                    yield Use(re.compile(node.args[0].value, getattr(re, flags[0]) if flags else 0), how)
            elif isinstance(owner, ast.Name):
                pattern = getattr(importlib.import_module(".".join((ROOT.name, *name.parts))), owner.id, None)
                if isinstance(pattern, re.Pattern):
                    yield Use(pattern, how)


def words_of(pattern: str) -> list[str]:
    """Return what a pattern itself says, the longest first."""
    bare = re.sub(r"\\[a-zA-Z]|\(\?[a-z:]+|\{[\d,]*\}|\[[^\]]*\]", "\0", pattern).replace("\\", "")
    return sorted(filter(None, set(re.split(r"[\0()|*+?^$.]+", bare))), key=len, reverse=True)


def test_each_regex_is_linear() -> None:
    found = set(uses()) - SHORT
    assert len(found) > 40
    for pattern, how in found:
        binary = isinstance(pattern.pattern, bytes)
        words = words_of(pattern.pattern.decode() if binary else pattern.pattern)
        for unit, start in itertools.product([*TEXTS.values(), *words], ["", *words[:1]]):
            text: Any = start + unit * (SIZE // len(unit))
            text = text.encode("utf-8", "replace") if binary else text
            with limited(f"{pattern.pattern!r}: {how} of {text[:20]!r}"):
                met = pattern.sub(text[:0], text) if how == "sub" else getattr(pattern, how)(text)
                if how == "finditer":
                    list(met)
