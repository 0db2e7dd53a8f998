"""The decisions of a batch: pure, without a clock."""

from __future__ import annotations

import math

import pytest

from airflow_provider_falinvoke.batch.phases import Asked, Item, Phase
from airflow_provider_falinvoke.batch.plan import (
    LINGER,
    QUOTA_PATIENCE,
    QUOTA_PAUSE,
    RATE_WINDOW,
    Progress,
    Tally,
    after_wave,
    event_at,
    progress,
    room,
    submits,
)

SAME = Asked("same", "m")


def tally(**phases: int) -> Tally:
    return Tally.of(Item(0, SAME, Phase(phase)) for phase, count in phases.items() for _ in range(count))


def test_a_tally_counts() -> None:
    mixed = tally(waiting=4, intent=1, submitted=2, done=3, failed=1, ambiguous=2)
    assert (mixed.items, mixed.waiting, mixed.in_flight, mixed.done, mixed.trouble) == (13, 4, 3, 3, 3)


@pytest.mark.parametrize(
    ("phase", "passes"),
    [("failed", True), ("late", True), ("unsaved", True), ("gone", True), ("refused", False), ("ambiguous", False)],
)
def test_airflow_retries_where_a_retry_may_do_better(phase: str, passes: bool) -> None:
    assert tally(done=1, **{phase: 1}).may_pass("fail") is passes
    assert tally(done=1, **{phase: 1}).may_pass("retry") is (passes or phase == "ambiguous")


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        ({"waiting": 9}, 5),
        ({"waiting": 3}, 3),
        ({"waiting": 9, "submitted": 2, "intent": 1}, 2),
        ({"waiting": 9, "submitted": 7}, 0),
        ({"submitted": 2, "done": 8}, 0),
    ],
)
def test_there_is_room_for_what_may_be_in_flight(standing: dict[str, int], expected: int) -> None:
    assert room(tally(**standing), 5) == expected


def test_only_stop_lets_one_failure_keep_the_others_from_being_submitted() -> None:
    bad = tally(waiting=5, failed=1)
    assert submits(bad, "fail", None)
    assert submits(bad, "ignore", None)
    assert not submits(bad, "stop", None)
    assert submits(tally(waiting=5, done=1), "stop", None)
    assert not submits(tally(waiting=5), "fail", "ten in a row")


def following(standing: dict[str, int], **changes: object) -> tuple[bool, bool, bool, float]:
    given = {"submits": True, "blocked": False, "blocked_since": None, "cut": False, "now": 1000.0, **changes}
    return tuple(after_wave(tally(**standing), 5, **given))  # type: ignore[arg-type,return-value]  # rows of a table


def test_a_wave_follows_at_once_where_jobs_ended_within_it() -> None:
    assert following({"waiting": 3, "done": 5})[0]
    assert following({"waiting": 3, "submitted": 4})[0]
    assert not following({"waiting": 3, "submitted": 5})[0]
    assert not following({"done": 5})[0]
    assert not following({"waiting": 3}, submits=False)[0]


def test_jobs_in_flight_are_waited_for_whatever_else_happens() -> None:
    for changes in ({}, {"submits": False}, {"blocked": True}, {"blocked": True, "blocked_since": 0.0}):
        assert following({"waiting": 3, "submitted": 5}, **changes)[1]


def test_more_is_to_come_only_while_this_try_submits() -> None:
    assert following({"waiting": 3, "submitted": 5})[2]
    assert not following({"waiting": 3, "submitted": 5}, submits=False)[2]
    assert not following({"submitted": 5})[2]


def test_a_batch_with_nothing_in_flight_waits_for_its_quota_and_not_for_ever() -> None:
    again, wait, _, until = following({"waiting": 3}, blocked=True, blocked_since=1000.0)
    assert (again, wait, until) == (False, True, 1000.0 + QUOTA_PAUSE)
    assert not following({"waiting": 3}, blocked=True, blocked_since=1000.0 - QUOTA_PATIENCE)[1]


def test_a_batch_with_nothing_in_flight_does_not_wait_for_an_api_that_is_out_of_reach() -> None:
    """Airflow's retries do that."""
    assert not following({"waiting": 3}, blocked=True)[1]
    assert following({"waiting": 3, "submitted": 1}, blocked=True)[3] == 1000.0 + QUOTA_PAUSE


def test_a_wave_that_lasted_long_enough_lets_what_ended_come_home_and_then_goes_on() -> None:
    assert following({"waiting": 3, "submitted": 1}, cut=True) == (False, True, True, 1000.0)
    assert following({"waiting": 3, "done": 1}, cut=True)[0], "there is nothing to wait for"
    assert following({"submitted": 1}, cut=True) == (False, True, False, math.inf)


def due(ended: int, *, awaited: int = 10, more: bool = True, not_before: float = 0.0, until: float = math.inf) -> float:
    return event_at(awaited=awaited, ended=ended, first_ended_at=100.0, more=more, not_before=not_before, until=until)


@pytest.mark.parametrize(
    ("ended", "expected"), [(0, math.inf), (1, 100 + LINGER), (4, 100 + LINGER), (5, 100), (9, 100)]
)
def test_half_of_the_jobs_are_worth_a_wave_while_more_wait(ended: int, expected: float) -> None:
    assert due(ended) == expected


@pytest.mark.parametrize(("ended", "expected"), [(0, math.inf), (5, 100 + LINGER), (9, 100 + LINGER), (10, 100)])
def test_the_last_jobs_are_worth_a_wave_when_all_ended_or_their_files_may_expire(ended: int, expected: float) -> None:
    assert due(ended, more=False) == expected


def test_one_job_alone_is_worth_a_wave() -> None:
    assert due(1, awaited=1) == 100
    assert due(1, awaited=2) == 100
    assert due(1, awaited=3) == 100 + LINGER


def test_no_event_comes_before_its_time() -> None:
    """Airflow fails a task whose event comes too soon after its deferral (#71580)."""
    assert due(10, not_before=106.0) == 106.0
    assert due(0, until=50.0, not_before=106.0) == 106.0
    assert due(0, awaited=0, not_before=106.0) == 106.0


def test_an_event_comes_when_a_new_try_to_submit_is_due() -> None:
    assert due(0, until=160.0) == 160.0
    assert due(1, until=130.0) == 130.0
    assert due(5, until=130.0) == 100.0
    assert due(0, awaited=0, until=160.0) == 160.0


def ended(at: float, submitted_at: float = 1.0) -> Item:
    return Item(0, SAME, Phase.DONE, "r", submitted_at=submitted_at, ended_at=at)


def test_progress_is_that_of_the_last_quarter_of_an_hour() -> None:
    now = 10_000.0
    waiting = [Item(0, SAME)] * 90
    recent = [ended(now - 100, now - 400), ended(now - 200, now - 500)] * 5
    assert progress([*recent, *waiting], now) == Progress(10 * 3600 / 500, 90 * 50)
    old = [ended(now - RATE_WINDOW - 1)] * 1000
    assert progress([*old, *recent, *waiting], now) == progress([*recent, *waiting], now)


def test_progress_knows_nothing_before_anything_ended() -> None:
    assert progress([Item(0, SAME)], 5.0) == Progress(0.0, None)
    assert progress([], 5.0) == Progress(0.0, None)
    assert progress([ended(5.0, 5.0)], 5.0) == Progress(0.0, None)
