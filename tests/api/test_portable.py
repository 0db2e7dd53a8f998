"""Property: what Airflow can carry is left as it is, and what it cannot carry becomes what the documentation says."""

from __future__ import annotations

import json
import math
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings

from airflow_provider_falinvoke.api.models import InvokeRequest
from airflow_provider_falinvoke.api.portable import (
    DEEPEST,
    LEAST,
    MOST,
    TOO_DEEP,
    NotPortableError,
    carried,
    for_airflow,
    sendable,
)
from airflow_provider_falinvoke.exceptions import FalInvokeInputError
from tests.support.hostile import hostile_json, nested, ordinary_json

UNFIT = re.compile("[\0\ud800-\udfff]")


def depth_of(value: Any) -> int:
    depth, level = 0, [value]
    while level := [node for node in level if isinstance(node, (dict, list))]:
        depth += 1
        level = [item for node in level for item in (node.values() if isinstance(node, dict) else node)]
    return depth


def leaves(value: Any) -> list[Any]:
    """Return each scalar and each key of a JSON value."""
    found, waiting = [], [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            waiting += [*node.values(), *node.keys()]
        elif isinstance(node, list):
            waiting += node
        else:
            found.append(node)
    return found


def hex_of(number: float) -> str:
    """Return a short name of a number that Python may not write in tens."""
    return (hex(number) if isinstance(number, int) else str(number))[:20]


def assert_portable(value: Any, *, deepest: int = DEEPEST) -> None:
    """Say what no encoder of Airflow stumbles over, without any of them."""
    assert depth_of(value) <= deepest
    for leaf in leaves(value):
        if isinstance(leaf, str):
            assert not UNFIT.search(leaf)
        elif leaf is not None:
            assert type(leaf) in (bool, int, float)
            assert LEAST <= leaf <= MOST


class TestReplies:
    @given(value=ordinary_json())
    def test_ordinary_json_is_left_as_it_is(self, value: Any) -> None:
        assert carried(value) == for_airflow(value) == value
        assert json.dumps(carried(value)) == json.dumps(value)

    @settings(max_examples=150)
    @given(value=hostile_json())
    def test_any_json_becomes_what_airflow_can_carry(self, value: Any) -> None:
        assert_portable(carried(value))

    @given(value=hostile_json())
    def test_what_is_handed_over_has_passed_already_and_is_not_escaped_twice(self, value: Any) -> None:
        once = carried(value)
        assert for_airflow(once) == once
        around = {"event": {"invocation": {"output": once}}}
        assert for_airflow(around) == around
        assert_portable(for_airflow(value), deepest=DEEPEST + 20)

    @pytest.mark.parametrize(
        ("number", "text"),
        [
            (2**64, "18446744073709551616"),
            (-(2**63) - 1, "-9223372036854775809"),
            (1e300, "1e+300"),  # JSONB makes an integer of 301 digits of it
            (math.nan, "NaN"),
            (-math.inf, "-Infinity"),
        ],
    )
    def test_a_number_out_of_range_becomes_its_text(self, number: float, text: str) -> None:
        assert carried({"seed": number}) == {"seed": text}

    def test_an_integer_that_python_does_not_write_becomes_its_text_all_the_same(self) -> None:
        assert int(carried([10**5000])[0], 16) == 10**5000

    @pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 1e16, 0.1, 5e-324, 0, True])
    def test_any_other_number_stays_one(self, number: float) -> None:
        assert carried([number]) == [number]

    @pytest.mark.parametrize(
        ("text", "fit"),
        [
            ("a\0b", "a\ufffdb"),
            ("\ud800", "\ufffd"),
            ("a\udc00b\ud83d", "a\ufffdb\ufffd"),
            ("\ud83d\ude00", "\U0001f600"),  # two halves side by side are one character
            ("naïve \U0001f600 \u2028", "naïve \U0001f600 \u2028"),
        ],
    )
    def test_a_character_that_cannot_be_stored_becomes_the_sign_for_that(self, text: str, fit: str) -> None:
        assert carried({text: [text]}) == {fit: [fit]}

    @pytest.mark.parametrize(
        "key", ["__classname__", "__version__", "__data__", "__id__", "__type", "__var", "__airflow_x"]
    )
    def test_a_key_that_airflow_reserves_gets_one_more_underscore_anywhere(self, key: str) -> None:
        assert carried([{"a": {key: 1}}]) == [{"a": {f"_{key}": 1}}]

    @given(value=hostile_json())
    def test_the_escape_of_keys_can_be_undone(self, value: Any) -> None:
        """Told by the documentation: take one underscore from each key that begins with three."""
        keys = {key for key in leaves(value) if isinstance(key, str) and not UNFIT.search(key)}
        escaped = carried(dict.fromkeys(keys, 1))
        assert {key[1:] if key.startswith("___") else key for key in escaped} == keys

    def test_what_is_too_deep_becomes_its_json(self) -> None:
        found = carried(nested({"x": "\ud800"}, DEEPEST + 2))
        for _ in range(DEEPEST):
            (found,) = found
        assert found == json.dumps([[{"x": "\ud800"}]])
        assert carried(nested(1, DEEPEST)) == nested(1, DEEPEST)

    @pytest.mark.parametrize("levels", [500, 3_000, 100_000])
    def test_however_deep_it_is_it_never_raises(self, levels: int) -> None:
        # Which of them is a matter of the process, whose limit of recursion some library may have raised.
        left = levels - DEEPEST
        assert leaves(carried(nested("x", levels))) in ([TOO_DEEP], ["[" * left + '"x"' + "]" * left])

    def test_a_long_text_takes_no_time(self) -> None:
        began = time.process_time()
        carried({"output": ["\ud800" * 4_000_000, "_" * 4_000_000, "x" * 20_000_000]})
        assert time.process_time() - began < 2


class TestWhatIsHandedOver:
    def test_what_is_no_json_becomes_its_text(self) -> None:
        given: Any = {1: (b"\xff", ValueError("\udcff"))}
        assert for_airflow(given) == {"1": ["b'\\xff'", "\ufffd"]}

    def test_keys_of_airflows_own_are_escaped_once(self) -> None:
        assert for_airflow({"__type": {"___type": 1}}) == {"___type": {"___type": 1}}


class TestRequests:
    @given(value=ordinary_json())
    def test_ordinary_json_is_sent_as_it_is(self, value: Any) -> None:
        assert sendable(value) == (value, [])

    @settings(max_examples=150)
    @given(value=hostile_json())
    def test_what_is_accepted_always_encodes(self, value: Any) -> None:
        try:
            request = InvokeRequest.build("fal-ai/x", {"further": value}, {"a\0": "\ud800b"})
        except FalInvokeInputError as error:
            str(error).encode()
            assert "nothing was sent" in str(error)
            return
        body = json.loads(request.body())
        assert body == json.loads(request.body().decode("ascii"))
        assert_portable(body["input"])
        assert body["tags"] == [{"key": "a", "value": "b"}]

    @pytest.mark.parametrize(
        "number", [2**64, -(2**63) - 1, 2**128, 1 << 20_000, 1e300, math.nan, math.inf], ids=hex_of
    )
    def test_a_number_out_of_range_is_refused_by_name(self, number: float) -> None:
        with pytest.raises(NotPortableError, match=r"^input\.loras\.0\.scale: a number must lie between -92.* and 184"):
            sendable({"input": {"loras": [{"scale": number}]}})

    def test_depth_is_refused_by_name(self) -> None:
        with pytest.raises(NotPortableError, match=r"^input: it is nested more than 100 levels deep"):
            sendable({"input": nested(1, DEEPEST)})
        assert sendable({"input": nested(1, DEEPEST - 1)})[0] == {"input": nested(1, DEEPEST - 1)}

    def test_characters_that_cannot_be_stored_are_removed_and_named(self) -> None:
        value = {"prompt": "a\0 fox", "list": ["\ud83d\ude00", "\udc00"], "k\0ey": 1}
        clean, removed = sendable(value)
        assert clean == {"prompt": "a fox", "list": ["\U0001f600", ""], "key": 1}
        assert sorted(removed) == ["k\ufffdey", "list.0", "list.1", "prompt"]
