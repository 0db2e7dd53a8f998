from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_falinvoke.api.pacing import (
    LONGEST_WINDOW,
    MAX_BACKOFF,
    backoff,
    rejected_pause,
    seconds_to_reset,
)

NOW = 1_800_000_000.0


def lowest() -> float:
    return 0.0


def middle() -> float:
    return 0.5


def highest() -> float:
    return 1.0


@pytest.mark.parametrize(("failures", "plain"), [(0, 0.5), (1, 0.5), (2, 1), (3, 2), (7, 32), (8, 60), (10_000, 60)])
def test_the_backoff_doubles_up_to_a_minute_and_jitters_by_a_quarter(failures: int, plain: float) -> None:
    assert backoff(failures, middle) == pytest.approx(plain)
    assert backoff(failures, lowest) == pytest.approx(plain * 0.75)
    assert backoff(failures, highest) == pytest.approx(plain * 1.25)


def test_backoff_needs_no_rng() -> None:
    assert 0.375 <= backoff(1) <= 0.625
    assert backoff(99) <= MAX_BACKOFF * 1.25


def test_retry_after_wins_over_resets() -> None:
    headers = {"retry-after": "7", "x-ratelimit-reset-requests": str(NOW + 50)}
    assert rejected_pause(headers, NOW, 1, lowest) == 7.0
    assert rejected_pause(headers, NOW, 9, highest) == 7.25


@pytest.mark.parametrize(
    "name",
    [
        "x-ratelimit-reset-requests",
        "x-ratelimit-reset-tokens-per-minute",
        "x-ratelimit-reset-tokens-per-day",
        "ratelimit-reset",
    ],
)
def test_each_reset_header_is_waited_for(name: str) -> None:
    assert rejected_pause({name: str(NOW + 12)}, NOW, 1, lowest) == pytest.approx(12.25)
    assert rejected_pause({name: str(NOW + 12)}, NOW, 1, highest) == pytest.approx(12.5)


def test_the_soonest_reset_counts() -> None:
    headers = {
        "x-ratelimit-reset-requests": str(NOW + 40),
        "x-ratelimit-reset-tokens-per-minute": str(NOW + 20),
        "x-ratelimit-reset-tokens-per-day": "0",
        "ratelimit-reset": str(NOW - 30),
    }
    assert rejected_pause(headers, NOW, 1, lowest) == pytest.approx(20.25)


def test_a_reset_that_is_almost_there_is_waited_for_a_second() -> None:
    assert rejected_pause({"ratelimit-reset": str(NOW + 0.1)}, NOW, 1, lowest) == 1.25
    assert rejected_pause({"ratelimit-reset": str(NOW + 0.1)}, NOW, 1, highest) == 1.5


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ratelimit-reset": "0"},
        {"x-ratelimit-reset-requests": "0", "x-ratelimit-reset-tokens-per-day": "0"},
        {"ratelimit-reset": str(NOW - 1)},
        {"ratelimit-reset": str(NOW)},
        {"ratelimit-reset": "nan"},
        {"ratelimit-reset": "inf"},
        {"ratelimit-reset": "-inf"},
        {"ratelimit-reset": "soon"},
        {"ratelimit-reset": ""},
        {"ratelimit-reset": "-5"},
        {"retry-after": "nan"},
        {"retry-after": "inf"},
        {"retry-after": "-3"},
        {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"},
        {"retry-after": "Wed, 99 Oct 2999 07:28:00 GMT"},
        {"retry-after": "Wed, 21 Oct 999999 07:28:00 GMT"},
        {"retry-after": "9" * 64_000 + " GMT"},
        {"ratelimit-reset": "1e300"},
        {"ratelimit-reset": "nan", "retry-after": "nan"},
        {"retry-after": ""},
        {"retry-after": "0"},
        {"retry-after": "0.0"},
    ],
)
def test_headers_that_tell_nothing_mean_a_growing_backoff(headers: dict[str, str]) -> None:
    """A zero tells nothing either: taken at its word, it makes a busy loop that uses up the quota."""
    for failures in (1, 3, 20):
        assert rejected_pause(headers, NOW, failures, middle) == backoff(failures, middle)


def test_a_retry_after_may_be_a_date() -> None:
    headers = {"retry-after": formatdate(NOW + 30, usegmt=True)}
    assert rejected_pause(headers, NOW, 1, lowest) == 30.0


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "1e9"},
        {"retry-after": "86400"},
        {"retry-after": "Fri, 31 Dec 2999 23:59:59 GMT"},
        {"ratelimit-reset": str(NOW + 86_400)},
        {"ratelimit-reset": str(NOW * 1000 + 86_400_000)},
        {"x-ratelimit-reset-requests": "86400"},
    ],
)
def test_whatever_a_header_says_a_window_is_an_hour_at_the_most(headers: dict[str, str]) -> None:
    assert LONGEST_WINDOW <= rejected_pause(headers, NOW, 1) <= LONGEST_WINDOW + 1


@pytest.mark.parametrize("scale", [1, 1e3, 1e6, 1e9], ids=["s", "ms", "µs", "ns"])
def test_a_reset_may_count_thousandths_of_seconds(scale: float) -> None:
    assert seconds_to_reset(str((NOW + 40) * scale), NOW) == pytest.approx(40, abs=1e-3)
    assert seconds_to_reset(str((NOW - 40) * scale), NOW) is None


def test_a_reset_may_count_from_now() -> None:
    assert seconds_to_reset("40", NOW) == 40.0


@pytest.mark.parametrize(
    ("remaining", "binds"), [({}, True), ({"x": "4000"}, True), ({"": "0"}, True), ({"": "4000"}, False)]
)
@pytest.mark.parametrize("reset", ["ratelimit-reset", "x-ratelimit-reset-requests"])
def test_a_reset_binds_only_where_nothing_remains(reset: str, remaining: dict[str, str], binds: bool) -> None:
    """A 429 for the minute says what is left of the hour, and when the oldest request of that expires."""
    left = {reset.replace("reset", "remaining") + name: value for name, value in remaining.items()}
    pause = rejected_pause({reset: str(NOW + 3000), **left}, NOW, 1, lowest)
    assert (pause > 3000) is binds
    assert binds or pause == backoff(1, lowest)


@given(st.dictionaries(st.sampled_from(["retry-after", "ratelimit-reset", "ratelimit-remaining"]), st.text()))
def test_any_headers_give_a_pause_within_bounds(headers: dict[str, str]) -> None:
    assert 0 < rejected_pause(headers, NOW, 1) <= LONGEST_WINDOW + 1


def test_a_retry_after_that_tells_nothing_leaves_the_resets_to_count() -> None:
    headers = {"retry-after": "later", "ratelimit-reset": str(NOW + 5)}
    assert rejected_pause(headers, NOW, 1, lowest) == pytest.approx(5.25)
