"""What one user of a token knows of its quota: what it sent, what it is told, and what others take."""

from __future__ import annotations

import pytest

from airflow_provider_falinvoke.api.quota import Quota, Window
from tests.api.play import T0


def headers(left: float, resets_at: float, *, limit: float = 250) -> dict[str, str]:
    return {"ratelimit-limit": str(limit), "ratelimit-remaining": str(left), "ratelimit-reset": str(resets_at)}


def test_a_window_is_free_for_its_first_half_then_even_then_closed() -> None:
    assert Window(100, 51, T0 + 60).opens_at(0, T0 + 10, T0 + 10) == T0 + 10
    assert Window(100, 49, T0 + 60).opens_at(0, T0 + 10, T0 + 10) == T0 + 11
    assert Window(100, 49, T0 + 60).opens_at(9, T0 + 10, T0 + 10) == T0 + 20
    assert Window(100, 0.5, T0 + 60).opens_at(0, T0 + 10, T0 + 10) == T0 + 60
    assert Window(100, 0, T0 + 60).opens_at(0, T0 + 10, T0 + 60) == T0 + 60


def test_what_others_take_is_left_to_them_but_no_more_than_half() -> None:
    window = Window(100, 48, T0 + 60)
    assert window.opens_at(0, T0 + 10, T0 + 10, others=0.48) == T0 + 12  # 24 of 48 are theirs
    assert window.opens_at(0, T0 + 10, T0 + 10, others=9.0) == T0 + 12
    assert window.opens_at(0, T0 + 10, T0 + 10, others=0.16) == pytest.approx(T0 + 10 + 50 / 41)


@pytest.mark.parametrize(
    ("now", "used"), [(T0, 40 + 80), (T0 + 30, 40 + 40), (T0 + 60, 40), (T0 + 90, 20), (T0 + 120, 0), (T0 + 999, 0)]
)
def test_what_was_used_lately_counts_the_window_before_by_the_share_that_is_still_of_the_last_minute(
    now: float, used: float
) -> None:
    assert Window(100, 60, T0 + 60, before=80).used(60, now) == pytest.approx(used)


def busy(quota: Quota, *, others: int, seconds: int) -> None:
    """Send a request a second, while others send so many."""
    left = 4900.0
    for second in range(seconds):
        quota.count(T0 + second)
        left -= 1 + others
        quota.read(headers(left, T0 + 3600, limit=5000), T0 + second)


def test_what_others_send_counts_against_the_connections_own_quota() -> None:
    """The vendor's headers tell of the hour alone; the minute's limit has to be kept all the same."""
    alone, crowded = Quota(250, 5000), Quota(250, 5000)
    busy(alone, others=0, seconds=30)
    busy(crowded, others=5, seconds=30)
    assert alone.opens_at(0, T0 + 29) == T0 + 29
    assert crowded.opens_at(0, T0 + 29) > T0 + 29


def test_what_two_families_of_headers_tell_is_counted_once() -> None:
    quota = Quota(250, 5000)
    for left in (240, 180):
        both = headers(left, T0 + 60) | {f"x-{name}-requests": value for name, value in headers(left, T0 + 60).items()}
        quota.count(T0)
        quota.read(both, T0)
    once = Quota(250, 5000)
    for left in (240, 180):
        once.count(T0)
        once.read(headers(left, T0 + 60), T0)
    assert quota.opens_at(0, T0) == once.opens_at(0, T0)
    assert quota._others == once._others > 0


def test_a_reset_that_is_rounded_now_up_now_down_is_one_window_and_nothing_that_others_took() -> None:
    """Else a reply that comes late brings back what is in flight, and the next one takes it for somebody else's."""
    quota = Quota(250, 5000)
    for left in range(120, 60, -3):
        for _ in range(3):
            quota.count(T0)
        quota.read(headers(left, T0 + 60 + left % 2), T0)
        quota.read(headers(left + 2, T0 + 61 - left % 2), T0)
    assert quota._others == 0
    (told,) = quota._told.values()
    assert (told.left, told.resets_at) == (63 - 10, T0 + 60)


def test_a_new_window_is_nothing_that_others_took() -> None:
    quota = Quota(250, 5000)
    for minute in range(5):
        quota.count(T0 + 60 * minute)
        quota.read(headers(249, T0 + 60 * minute + 60), T0 + 60 * minute)
    assert quota._others == 0


def test_what_others_took_is_forgotten_after_a_while() -> None:
    quota = Quota(250, 5000)
    busy(quota, others=5, seconds=30)
    assert quota._others_rate(T0 + 30) == pytest.approx(5 * (1 - 2.7 ** (-1)), rel=0.2)
    assert quota._others_rate(T0 + 300) < 0.01


def test_a_light_use_is_not_scarce_and_neither_is_a_burst() -> None:
    quota = Quota(250, 5000)
    for request in range(100):
        quota.count(T0 + request / 10)
    assert not quota.is_scarce(T0 + 10)


def test_a_minute_at_full_speed_is_scarce_and_passes() -> None:
    quota = Quota(250, 5000)
    for request in range(240):
        quota.count(T0 + request / 12)
    assert quota.is_scarce(T0 + 20)
    assert quota.is_scarce(T0 + 65)
    assert not quota.is_scarce(T0 + 75)


def test_an_hours_requests_are_saved_as_soon_as_it_is_clear_that_they_will_not_last() -> None:
    quota = Quota(250, 5000)
    for request in range(1500):
        now = T0 + request * 600 / 1500  # 150 a minute, of which 83 are an even use
        quota.count(now)
        assert quota.is_scarce(now) is (request >= 1123), "a tenth of the hour's ahead after 7.5 minutes"
    assert quota.is_scarce(T0 + 700)
    assert not quota.is_scarce(T0 + 750)


def test_an_hour_that_follows_a_busy_one_is_busy_until_it_shows_otherwise() -> None:
    quota = Quota(250, 5000)
    for request in range(4800):
        quota.count(T0 + request * 3600 / 4800)
    for request in range(70):
        now = T0 + 3600 + request * 10
        quota.count(now)
        assert quota.is_scarce(now) is (4800 * (1 - request * 10 / 3600) + request + 1 > 4000)
    assert not quota.is_scarce(now)


@pytest.mark.parametrize(
    ("left", "seconds", "limit", "scarce"),
    [
        (200, 50, 250, False),
        (100, 50, 250, True),
        (100, 20, 250, False),
        (249, 60, 250, False),
        (3000, 3000, 5000, False),
        (2000, 3000, 5000, True),
        (2000, 600, 5000, False),
    ],
)
def test_a_process_that_has_just_begun_goes_by_what_an_even_use_would_leave(
    left: float, seconds: float, limit: float, scarce: bool
) -> None:
    quota = Quota(250, 5000)
    quota.read(headers(left, T0 + seconds, limit=limit), T0)
    assert quota.is_scarce(T0) is scarce


def test_where_nobody_speaks_of_a_quota_and_the_connection_allows_a_lot_nothing_is_scarce() -> None:
    quota = Quota(1e9, 1e9)
    for request in range(5000):
        quota.count(T0 + request / 100)
        quota.read({}, T0 + request / 100)
    assert not quota.is_scarce(T0 + 50)
    assert quota.opens_at(99, T0 + 50) == T0 + 50
