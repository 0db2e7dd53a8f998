"""JSON values for Hypothesis: such as any program reads, and such as break what stores them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

RESERVED = (
    "__classname__",
    "__version__",
    "__data__",
    "__id__",
    "__cache__",
    "__type",
    "__source",
    "__var",
    "__airflow_state_ref__",
)
_EDGES = (2**63, 2**64, -(2**63), 2**128, 10**400, -(10**4000))
#: What Airflow's deserialisers would make something of, if they were given it.
_LURES = (
    {"__classname__": "airflow.sdk.definitions.connection.Connection", "__version__": 1, "__data__": {"conn_id": "x"}},
    {"__type": "dict", "__var": {"a": 1}},
    {"__type": "timedelta", "__var": 1},
    {"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1]},
    {"__airflow_state_ref__": "x"},
)


def nested(value: Any, levels: int) -> Any:
    """Return ``value`` in so many lists."""
    for _ in range(levels):
        value = [value]
    return value


def ordinary_json() -> st.SearchStrategy[Any]:
    """JSON that Airflow carries as it is."""
    text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
    keys = text.filter(lambda key: not key.startswith("__"))
    numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(-(2.0**63), 2.0**63)
    return _json(st.none() | st.booleans() | numbers | text, keys)


def hostile_json() -> st.SearchStrategy[Any]:
    """Any JSON, with what breaks encoders more often than chance would have it."""
    text = st.text(max_size=20) | st.text(st.sampled_from("\0\ud83d\ude00\udc80\ufffd_a"), max_size=8)
    keys = text | st.builds(lambda n, key: "_" * n + key, st.integers(0, 2), st.sampled_from(RESERVED))
    ints = st.integers() | st.builds(lambda edge, by: edge + by, st.sampled_from(_EDGES), st.integers(-2, 2))
    scalars = st.none() | st.booleans() | ints | st.floats() | text
    values = _json(scalars | st.sampled_from(_LURES), keys)
    return values | st.builds(_deep, values, keys, st.integers(80, 400))


def _json(scalars: st.SearchStrategy[Any], keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars, lambda some: st.lists(some, max_size=4) | st.dictionaries(keys, some, max_size=4), max_leaves=12
    )


def _deep(value: Any, key: str, levels: int) -> Any:
    for number in range(levels):
        value = [value] if number % 2 else {key: value}
    return value
