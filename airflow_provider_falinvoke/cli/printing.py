"""Results on stdout, in the formats that Airflow's own commands have."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.cli.simple_table import AirflowConsole
from rich.markup import escape

from airflow_provider_falinvoke.api.printable import printable, visible
from airflow_provider_falinvoke.cli.streams import writing_to

#: The longest cell of a table, in characters; JSON and YAML have all of it.
_LONGEST = 10_000


def print_rows(rows: Sequence[Mapping[str, Any]], output: str) -> None:
    """Print rows of the same columns.

    :param output: ``json``, ``yaml``, ``table`` or ``plain``.
    """
    if output == "json":
        _print_json(rows)
    elif rows:
        texts = [{_text(name, output): _text(value, output) for name, value in row.items()} for row in rows]
        with writing_to(sys.stdout):
            AirflowConsole().print_as(texts, output)


def print_document(document: Any, output: str) -> None:
    """Print the API's reply: as it came in JSON and YAML, as a row for each of its fields otherwise."""
    if output == "yaml":
        with writing_to(sys.stdout):
            AirflowConsole().print_as_yaml(document)
    elif output == "json" or not isinstance(document, dict):
        _print_json(document)
    else:
        print_rows([{"field": name, "value": value} for name, value in document.items()], output)


def _print_json(data: Any) -> None:
    # AirflowConsole would turn numbers into texts.
    with writing_to(sys.stdout):
        text = json.dumps(data, indent=2, ensure_ascii=False)
        sys.stdout.write("\n".join(map(_as_json, text.split("\n"))) + "\n")


def _as_json(line: str) -> str:
    """Return a line of JSON with what would act on a terminal in JSON's own escapes: for a program it is the same."""
    if line.isprintable():
        return line
    return "".join(one if visible(one) == one else json.dumps(one)[1:-1] for one in line)


def _text(value: Any, output: str) -> Any:
    if output == "yaml":
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = ", ".join(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = printable(text, _LONGEST)
    return escape(text) if output == "table" else text
