from __future__ import annotations

import pytest

from airflow_provider_falinvoke.api.pacing import MAX_BACKOFF, Gate, PollSchedule, backoff, rejected_pause

NOW = 1_800_000_000.0


def lowest() -> float:
    return 0.0


def middle() -> float:
    return 0.5


def highest() -> float:
    return 1.0


@pytest.mark.parametrize(
    ("elapsed", "plain"), [(0, 0.5), (1, 0.7), (10, 2.5), (60, 12.5), (147.5, 30.0), (3600, 30.0), (-5, 0.5)]
)
def test_a_pause_grows_with_the_age_of_the_job_up_to_the_maximum_and_jitters_by_a_tenth(
    elapsed: float, plain: float
) -> None:
    schedule = PollSchedule()
    assert schedule.pause(elapsed, middle) == pytest.approx(plain)
    assert schedule.pause(elapsed, lowest) == pytest.approx(plain * 0.9)
    assert schedule.pause(elapsed, highest) == pytest.approx(plain * 1.1)
    assert plain * 0.9 <= schedule.pause(elapsed) <= plain * 1.1


def test_a_poll_interval_is_a_fixed_pause_at_any_age() -> None:
    schedule = PollSchedule.of(5.0, 30.0)
    assert [schedule.pause(age, middle) for age in (0, 60, 3600)] == [5.0, 5.0, 5.0]


def test_a_poll_interval_above_the_maximum_of_growing_pauses_is_kept() -> None:
    assert PollSchedule.of(120.0, 30.0).pause(0, middle) == 120.0


def test_without_a_poll_interval_pauses_grow_up_to_the_given_maximum() -> None:
    schedule = PollSchedule.of(None, 10.0)
    assert schedule.pause(0, middle) == 0.5
    assert schedule.pause(3600, middle) == 10.0


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


def test_a_gate_lets_some_pass_at_once_and_then_holds_the_rate() -> None:
    gate = Gate(per_minute=60, at_once=3)
    assert [gate.reserve(100.0) for _ in range(6)] == [100.0, 100.0, 100.0, 100.0, 101.0, 102.0]
    assert gate.reserve(200.0) == 200.0


def test_a_gate_never_lets_more_pass_than_its_rate_and_its_lead() -> None:
    gate, now, passed = Gate(per_minute=250, at_once=10), 0.0, []
    for _ in range(1000):
        now = gate.reserve(now)
        passed.append(now)
    assert max(sum(start <= at < start + 60 for at in passed) for start in passed) <= 250 + 11
