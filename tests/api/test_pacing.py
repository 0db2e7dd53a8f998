from __future__ import annotations

import pytest

from airflow_provider_falinvoke.api.pacing import MAX_BACKOFF, backoff, rejected_pause

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
        {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"},
        {"retry-after": ""},
        {"retry-after": "0"},
        {"retry-after": "0.0"},
    ],
)
def test_headers_that_tell_nothing_mean_a_growing_backoff(headers: dict[str, str]) -> None:
    """A zero tells nothing either: taken at its word, it makes a busy loop that uses up the quota."""
    for failures in (1, 3, 20):
        assert rejected_pause(headers, NOW, failures, middle) == backoff(failures, middle)


def test_a_retry_after_that_tells_nothing_leaves_the_resets_to_count() -> None:
    headers = {"retry-after": "later", "ratelimit-reset": str(NOW + 5)}
    assert rejected_pause(headers, NOW, 1, lowest) == pytest.approx(5.25)
