"""No event comes before the scheduler has heard that the task's first half is over (apache/airflow #71580)."""

from __future__ import annotations

import logging
import math
import os
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_falinvoke.get_provider_info import get_provider_info
from airflow_provider_falinvoke.triggers import falinvoke
from airflow_provider_falinvoke.triggers.falinvoke import safe_first_look_at

DEFERRED_AT = 1000.0
NAMES = {
    "linger": "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL",
    "idle": "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME",
    "margin": "AIRFLOW__FALINVOKE__RESUME_MARGIN",
}
SHARES = st.floats(0, 1)


def first_look_at(**configured: object) -> float:
    """Return when a task that defers now is looked at first, where Airflow is configured so."""
    with mock.patch.dict(os.environ, {NAMES[name]: str(value) for name, value in configured.items()}):
        return safe_first_look_at(DEFERRED_AT)


def heard_at(reported_at: float, *, loop_began_at: float, work: float, idle: float) -> float:
    """Return when a scheduler reads a report: at the end of the work of a loop, after which it sleeps."""
    reads_at = loop_began_at + work
    return reads_at + (work + idle) * max(0, math.ceil((reported_at - reads_at) / (work + idle)))


@given(linger=st.integers(0, 30), idle=st.floats(0.1, 10), margin=st.floats(0, 30), chances=st.tuples(*[SHARES] * 3))
@example(linger=5, idle=1.0, margin=0.0, chances=(1.0, 1.0, 0.99))
@settings(max_examples=500, deadline=None)
def test_the_scheduler_has_read_the_first_halfs_report_before_any_event(
    linger: int, idle: float, margin: float, chances: tuple[float, float, float]
) -> None:
    """Whatever part of its time a supervisor lingers, and wherever in its loop the scheduler is."""
    lingered, loop_took, phase = chances
    work = 0.01 + loop_took * (2.0 + margin - 0.02)
    began_at = DEFERRED_AT - phase * (work + idle)
    heard = heard_at(DEFERRED_AT + lingered * linger, loop_began_at=began_at, work=work, idle=idle)
    assert heard < first_look_at(linger=linger, idle=idle, margin=margin)


def test_a_margin_of_one_second_beyond_the_supervisors_time_was_too_little_where_a_loop_begins_late() -> None:
    """Or the model above shows nothing."""
    assert heard_at(DEFERRED_AT + 5, loop_began_at=DEFERRED_AT + 3.8, work=1.1, idle=1.0) > DEFERRED_AT + 5 + 1


def test_by_default_that_is_eight_seconds() -> None:
    assert first_look_at() == DEFERRED_AT + 8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["soon", "5 s", ""])
def test_a_setting_that_cannot_be_read_ends_no_paid_job(
    name: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is read after the submit."""
    assert first_look_at(**{name: value}) == first_look_at()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "cannot be read" in record.getMessage()


@pytest.mark.parametrize(("value", "added"), [("-5", 0.0), ("nan", 0.0), ("inf", 3600.0)])
def test_a_setting_that_makes_no_sense_is_none_that_airflow_could_not_store(value: str, added: float) -> None:
    assert first_look_at(margin=value) == first_look_at() + added


def test_airflow_knows_the_setting_and_its_default() -> None:
    from airflow.configuration import conf

    option = get_provider_info()["config"]["falinvoke"]["options"]["resume_margin"]
    assert float(option["default"]) == 0.0
    assert conf.getfloat("falinvoke", "resume_margin", fallback=7.0) in (0.0, 7.0), "older ones load it only when asked"
    assert str(falinvoke.RESUME_MARGIN).removesuffix(".0") in option["description"]
