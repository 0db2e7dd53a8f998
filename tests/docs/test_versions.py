"""The page on versions says what this Airflow has, and what it has not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import airflow
import pytest
from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin
from airflow.providers_manager import ProvidersManager
from airflow.sdk import Context
from airflow.triggers.base import BaseTrigger
from packaging.specifiers import SpecifierSet

from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "versions.md").read_text()
ROWS = [re.split(r" *\| *", line)[1:5] for line in PAGE.splitlines() if re.search(r"\| (yes|no) \| (yes|no) \|", line)]
MINOR = ".".join(airflow.__version__.split(".")[:2])


def provider_schema() -> dict[str, object]:
    schema: dict[str, object] = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    properties = schema["properties"]
    assert isinstance(properties, dict)
    return properties


#: How each row is found out.
HAS: dict[str, Callable[[], bool]] = {
    "the task state store": lambda: "task_state_store" in Context.__annotations__,
    "`on_kill` of triggers": lambda: hasattr(BaseTrigger, "on_kill"),
    "commands of providers": lambda: "cli" in provider_schema(),
    "the connection form from the provider's description": lambda: hasattr(ProvidersManager, "_to_api_format"),
    "teams (`[core] multi_team`)": lambda: conf.has_option("core", "multi_team"),
    "pages of plugins on a task's page": lambda: hasattr(AirflowPlugin, "external_views"),
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_table_says_what_this_airflow_has(row: list[str]) -> None:
    name, *versions = row
    assert dict(zip(("3.1", "3.2", "3.3"), versions, strict=True))[MINOR] == ("yes" if HAS[name]() else "no")


def test_each_row_can_be_found_out() -> None:
    assert [row[0] for row in ROWS] == list(HAS)


def test_the_versions_are_those_that_are_pinned_and_that_the_matrix_runs() -> None:
    matrix = (ROOT / ".ci" / "matrix").read_text()
    airflows = re.findall(r"[\d.]+", re.search(r"^airflows=\((.*)\)", matrix, re.M)[1])  # type: ignore[index]  # it is there
    pythons = re.findall(r"[\d.]+", re.search(r"^pythons=\((.*)\)", matrix, re.M)[1])  # type: ignore[index]  # as above
    assert airflows == sorted(path.stem.removeprefix("airflow-") for path in (ROOT / "constraints").glob("*.txt"))
    for version in airflows:
        assert re.search(
            rf"^apache-airflow=={version}\.\d+$", (ROOT / f"constraints/airflow-{version}.txt").read_text(), re.M
        )
    project = (ROOT / "pyproject.toml").read_text()
    classifiers = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    assert pythons == classifiers
    admitted = SpecifierSet(re.findall(r'^requires-python = "(.*)"', project, re.M)[0])
    assert [python for python in pythons if f"{python}.0" not in admitted] == []
    assert "cells+=(next:" in matrix, "the newest pre-release of Airflow too"
