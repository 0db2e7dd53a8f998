"""What Airflow learns about the package from its provider info."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import airflow
import jsonschema  # type: ignore[import-untyped]  # no stubs
import pytest

from airflow_provider_falinvoke.api.endpoint import ConnectionExtra
from airflow_provider_falinvoke.get_provider_info import CONN_FIELDS, get_provider_info
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook

INFO = get_provider_info()
#: Airflow 3.3's UI takes the form from the provider info alone; older ones ask the hook.
FROM_INFO = tuple(int(part) for part in airflow.__version__.split(".")[:2]) >= (3, 3)


def test_it_is_what_airflows_schema_asks_for() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    if not FROM_INFO:
        pytest.skip("an older schema does not know conn-fields")
    jsonschema.validate(INFO, schema)


def test_the_entry_point_is_found() -> None:
    points = importlib.metadata.entry_points(group="apache_airflow_provider")
    (point,) = [point for point in points if point.value.startswith("airflow_provider_falinvoke")]
    assert point.load()() == INFO
    assert importlib.metadata.distribution(INFO["package-name"]).version


def paths(node: Any) -> Iterator[str]:
    """Yield every dotted name of this package in the info."""
    if isinstance(node, dict):
        for value in node.values():
            yield from paths(value)
    elif isinstance(node, list):
        for value in node:
            yield from paths(value)
    elif isinstance(node, str) and node.startswith("airflow_provider_falinvoke."):
        yield node


def test_everything_it_names_can_be_imported() -> None:
    named = list(paths(INFO))
    assert len(named) >= 5
    for name in named:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            module, attribute = name.rsplit(".", 1)
            assert hasattr(importlib.import_module(module), attribute), name


def test_every_module_with_operators_sensors_and_the_like_is_named() -> None:
    root = Path(importlib.import_module("airflow_provider_falinvoke").__file__ or "").parent
    for kind in ("hooks", "operators", "sensors", "triggers"):
        named = {module for entry in INFO[kind] for module in entry["python-modules"]}
        there = {path.stem for path in (root / kind).glob("*.py")} - {"__init__"}
        assert named == {f"airflow_provider_falinvoke.{kind}.{stem}" for stem in there}


def test_the_forms_fields_are_those_that_the_connection_reads() -> None:
    assert set(CONN_FIELDS) == set(ConnectionExtra.model_fields)


@pytest.mark.parametrize("name", CONN_FIELDS)
def test_a_default_of_the_form_is_the_default_of_the_connection(name: str) -> None:
    """And where the form leaves a field empty, the text says the default."""
    field, default = CONN_FIELDS[name], ConnectionExtra.model_fields[name].default
    if "default" in field["schema"]:
        assert field["schema"]["default"] == default
    elif isinstance(default, int | float):
        assert f"default {default:.10g}" in field["description"]


# Airflow 3.3 deprecates these names of its own, and its UI uses them still.
@pytest.mark.filterwarnings("ignore:ProvidersManager.hooks is deprecated")
def test_airflow_lists_the_provider_and_its_hook() -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    assert manager.providers[INFO["package-name"]].data["name"] == INFO["name"]
    hook = manager.hooks["falinvoke"]
    assert hook is not None
    assert (hook.connection_type, hook.connection_id_attribute_name) == ("falinvoke", "fal_conn_id")
    assert hook.hook_name == INFO["connection-types"][0]["hook-name"]


@pytest.mark.skipif(not FROM_INFO, reason="older ones ask the hook")
def test_the_form_reaches_the_ui() -> None:
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    (shown,) = [meta for meta in HookMetaService.hook_meta_data() if meta.connection_type == "falinvoke"]
    assert set(shown.extra_fields or {}) == set(CONN_FIELDS)
    standard = shown.standard_fields
    assert standard is not None
    assert standard.login is not None
    assert standard.login.hidden
    assert standard.password is not None
    assert standard.password.title == "Model access key"
    assert standard.host is not None
    assert standard.host.placeholder == "https://inference.do-ai.run"


def test_the_hook_says_the_same_to_older_airflows(monkeypatch: pytest.MonkeyPatch) -> None:
    class Field:
        kind = ""

        def __init__(self, label: str, description: str, default: Any) -> None:
            self.said = (label, self.kind, description, default)

    kinds = {f"{name}Field": type(name, (Field,), {"kind": name.lower()}) for name in ("Boolean", "Integer", "String")}
    monkeypatch.setitem(sys.modules, "wtforms", SimpleNamespace(**kinds))
    widgets = FalInvokeHook.get_connection_form_widgets()
    assert {name: widget.said for name, widget in widgets.items()} == {
        name: (field["label"], field["schema"]["type"][0], field["description"], field["schema"].get("default"))
        for name, field in CONN_FIELDS.items()
    }
    behaviour, info = FalInvokeHook.get_ui_field_behaviour(), INFO["connection-types"][0]["ui-field-behaviour"]
    assert behaviour == {
        "hidden_fields": info["hidden-fields"],
        "relabeling": info["relabeling"],
        "placeholders": info["placeholders"],
    }
    schema_path = Path(airflow.__file__).parent / "customized_form_field_behaviours.schema.json"
    jsonschema.validate(behaviour, json.loads(schema_path.read_text()))
