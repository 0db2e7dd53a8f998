"""When to look at a job again: by its age, and by what its kind took."""

from __future__ import annotations

import itertools
import random
import statistics

import pytest

from airflow_provider_falinvoke.api.schedule import (
    EARLY,
    ENOUGH,
    FAST_SCHEDULE,
    MODELS,
    REMEMBERED,
    BriefWait,
    Durations,
    PollSchedule,
)


def lowest() -> float:
    return 0.0


def middle() -> float:
    return 0.5


@pytest.mark.parametrize(
    ("elapsed", "plain"), [(0, 0.5), (1, 0.7), (10, 2.5), (60, 12.5), (147.5, 30.0), (3600, 30.0), (-5, 0.5)]
)
def test_a_pause_grows_with_the_age_of_the_job_up_to_the_maximum_and_jitters_by_a_tenth(
    elapsed: float, plain: float
) -> None:
    schedule = PollSchedule()
    assert schedule.pause(elapsed, middle) == pytest.approx(plain)
    assert schedule.pause(elapsed, lowest) == pytest.approx(plain * 0.9)
    assert schedule.pause(elapsed, lambda: 1.0) == pytest.approx(plain * 1.1)
    assert plain * 0.9 <= schedule.pause(elapsed) <= plain * 1.1


def test_a_poll_interval_is_a_fixed_pause_at_any_age_whatever_is_known() -> None:
    schedule = PollSchedule.of(5.0, 30.0)
    assert [schedule.pause(age, middle, known=[45.0] * 50) for age in (0, 60, 3600)] == [5.0, 5.0, 5.0]


def test_a_poll_interval_above_the_maximum_of_growing_pauses_is_kept() -> None:
    assert PollSchedule.of(120.0, 30.0).pause(0, middle) == 120.0


def test_without_a_poll_interval_pauses_grow_up_to_the_given_maximum() -> None:
    schedule = PollSchedule.of(None, 10.0)
    assert schedule.pause(0, middle) == 0.5
    assert schedule.pause(3600, middle) == 10.0


def test_durations_decide_only_when_there_are_enough_of_the_same_model() -> None:
    durations = Durations()
    for seconds in range(ENOUGH - 1):
        durations.add("a", float(seconds))
        durations.add("b", 99.0)
    assert (durations.of("a"), durations.of("never"), durations.of(None)) == ((), (), ())
    durations.add("a", 0.5)
    assert list(durations.of("a"))[:3] == [0.0, 0.5, 1.0]
    assert durations.of("b") == ()


def test_only_the_latest_durations_and_models_are_remembered() -> None:
    """A triggerer runs for months."""
    durations = Durations()
    for seconds in range(10 * REMEMBERED):
        durations.add("a", float(seconds))
    assert durations.of("a") == tuple(float(seconds) for seconds in range(9 * REMEMBERED, 10 * REMEMBERED))
    for number in range(2 * MODELS):
        for _ in range(ENOUGH):
            durations.add(f"model {number}", 1.0)
            durations.add("a", 1.0)
    remembered = [f"model {number}" for number in range(2 * MODELS) if durations.of(f"model {number}")]
    assert remembered == [f"model {number}" for number in range(MODELS + 1, 2 * MODELS)]
    assert durations.of("a")


def test_a_duration_that_cannot_be_is_not_remembered() -> None:
    durations = Durations()
    for _ in range(ENOUGH):
        durations.add("a", -1.0)
        durations.add(None, 1.0)
    assert durations.of("a") == ()


def test_a_job_is_looked_at_early_once_and_then_when_its_kind_may_be_done() -> None:
    """The early look finds a failure; between it and the first end that was ever seen there is nothing to find."""
    schedule, known = PollSchedule(), [25.0 + number / 10 for number in range(50)]
    assert schedule.pause(0, known=known) == EARLY
    assert 25.0 < EARLY + schedule.pause(EARLY, known=known) < 30.0
    assert PollSchedule(maximum=10.0).pause(EARLY, known=known) == 10.0


def test_jobs_that_all_take_the_same_are_looked_at_just_after_that() -> None:
    at = 30 + PollSchedule().pause(30.0, known=[40.0] * 50)
    assert at == pytest.approx(40.0 + 0.01 * 46)


def test_a_job_that_lives_longer_than_its_kind_is_looked_at_by_its_age() -> None:
    known = [10.0] * 48 + [20.0, 30.0]
    assert PollSchedule().pause(15.0, middle, known=known) == 3.5
    assert PollSchedule().pause(1000.0, middle, known=known) == 30.0


#: performance.md's table: the median of log-normal durations, and what each schedule costs in looks and in delay.
TABLE = [
    (2.0, (3.9, 0.24), (3.2, 0.20)),
    (15.0, (11.3, 0.12), (5.3, 0.11)),
    (45.0, (16.7, 0.10), (7.7, 0.08)),
]


def simulate(median: float, *, learn: bool, jobs: int = 1500) -> tuple[float, float, float]:
    """Return the looks a job, the mean delay in shares of its duration, and the share found later than promised."""
    rng = random.Random(7)
    schedule, durations = PollSchedule(), Durations()
    looks, delays, late = 0, [], 0
    for number in range(jobs + REMEMBERED):
        duration, age = median * rng.lognormvariate(0, 0.5), 0.0
        while age < duration:
            age += schedule.pause(age, rng.random, known=durations.of("m") if learn else ())
            looks += number >= REMEMBERED
        durations.add("m", duration)
        if number >= REMEMBERED:
            delays.append((age - duration) / duration)
            late += age - duration > 0.25 * duration + 1
    return looks / jobs, statistics.mean(delays), late / jobs


@pytest.mark.parametrize(("median", "plain", "learned"), TABLE)
def test_both_schedules_cost_what_was_measured_for_them(
    median: float, plain: tuple[float, float], learned: tuple[float, float]
) -> None:
    looks, delay, late = simulate(median, learn=False)
    assert looks == pytest.approx(plain[0], rel=0.1)
    assert delay == pytest.approx(plain[1], abs=0.02)
    assert late == 0
    looks, delay, late = simulate(median, learn=True)
    assert looks == pytest.approx(learned[0], rel=0.25)
    assert delay == pytest.approx(learned[1], abs=0.03)
    assert late <= 0.05


def test_a_schedule_follows_a_model_that_has_become_slower() -> None:
    durations = Durations()
    for _ in range(REMEMBERED):
        durations.add("m", 4.0)
    looks_before = _looks_of(40.0, durations)
    for _ in range(REMEMBERED):
        durations.add("m", 40.0)
    assert _looks_of(40.0, durations) <= 3 < looks_before


def _looks_of(duration: float, durations: Durations) -> int:
    looks, age = 0, 0.0
    while age < duration:
        age += PollSchedule().pause(age, middle, known=durations.of("m"))
        looks += 1
    return looks


@pytest.mark.parametrize("model_id", ["fal-ai/flux/schnell", "fal-ai/fast-sdxl", "fal-ai/flux/dev"])
def test_a_worker_sees_a_fast_model_through_unless_its_job_does_not_start(model_id: str) -> None:
    assert BriefWait.of(model_id, None, PollSchedule()) == BriefWait(6.0, FAST_SCHEDULE, first_look=1.8, started_by=1.0)
    own = PollSchedule.of(0.5, 30.0)
    assert BriefWait.of(model_id, None, own) == BriefWait(6.0, own, started_by=1.0)


@pytest.mark.parametrize("model_id", ["fal-ai/stable-audio-25/text-to-audio", "fal-ai/some/video", "x"])
def test_a_worker_does_not_wait_for_any_other_model(model_id: str) -> None:
    assert BriefWait.of(model_id, None, PollSchedule()).seconds == 0


def test_a_worker_waits_as_long_as_it_is_told() -> None:
    assert BriefWait.of("fal-ai/flux/schnell", 0.0, PollSchedule()).seconds == 0
    own = PollSchedule.of(2.0, 30.0)
    assert BriefWait.of("x", 60.0, own) == BriefWait(60.0, own)


def test_no_look_of_a_worker_finds_a_fast_job_much_later_than_it_was_done() -> None:
    """By 1 s and a quarter of the job's duration, jitter apart; and all of them together are few.

    One of 100 jobs that take 2 s in the median, log-normal with a sigma of 0.5, takes less than 0.65 s.
    """
    brief, looks = BriefWait.of("fal-ai/flux/schnell", None, PollSchedule()), [0.65]
    age = brief.first_look
    while age <= brief.seconds:
        looks.append(age)
        age += brief.schedule.pause(age, middle)
    assert len(looks) == 4
    assert looks[1] <= 1.25 * looks[0] + 1
    assert all(later == pytest.approx(1.25 * look + 1) for look, later in itertools.pairwise(looks[1:]))


def test_where_requests_are_scarce_a_job_is_looked_at_when_most_of_its_kind_are_done() -> None:
    schedule, known = PollSchedule(maximum=100.0), [40.0 + number / 2 for number in range(50)]
    plenty = 10 + schedule.pause(10.0, known=known)
    scarce = 10 + schedule.pause(10.0, known=known, scarce=True)
    assert sum(duration < plenty for duration in known) < 15
    assert sum(duration < scarce for duration in known) > 40
    assert PollSchedule(maximum=4.0).pause(10.0, known=known, scarce=True) == 20.0


def test_where_requests_are_scarce_there_is_no_early_look() -> None:
    assert PollSchedule().pause(0.0, known=[20.0] * 50, scarce=True) > 20.0


def test_where_requests_are_scarce_pauses_by_age_are_five_times_as_long() -> None:
    schedule = PollSchedule()
    assert schedule.pause(10.0, middle, scarce=True) == pytest.approx(12.5)
    assert schedule.pause(100.0, middle, scarce=True) == pytest.approx(102.5)
    assert schedule.pause(300.0, middle, scarce=True) == 150.0
    assert PollSchedule.of(5.0, 30.0).pause(10.0, middle, scarce=True) == 5.0
