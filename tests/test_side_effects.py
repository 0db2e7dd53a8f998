"""What is not about the result of a paid job does not end its task, and is said."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from airflow_provider_falinvoke._compat import AirflowFailException, TaskDeferred
from airflow_provider_falinvoke.side_effects import not_stopping_the_task


@pytest.mark.parametrize("error", [ValueError("no\nluck"), AirflowFailException("no luck"), RecursionError("no luck")])
def test_what_fails_is_a_warning_that_names_the_job(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with not_stopping_the_task("The link could not be made", "the-id"):
        raise error
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"The link could not be made ({type(error).__name__}: no luck). The task goes on; its job is the-id."
    )
    assert record.exc_info is not None, "whoever reads the log wants to know where"


@pytest.mark.parametrize(
    "ending",
    [lambda: TaskDeferred(trigger=None, method_name="x"), KeyboardInterrupt, SystemExit],
    ids=["deferral", "interrupt", "exit"],
)
def test_what_ends_a_task_on_purpose_passes(ending: Callable[[], BaseException]) -> None:
    with pytest.raises(BaseException) as caught, not_stopping_the_task("The link could not be made"):
        raise ending()
    assert not isinstance(caught.value, Exception)


def test_nothing_is_said_of_what_works(caplog: pytest.LogCaptureFixture) -> None:
    with not_stopping_the_task("The link could not be made"):
        pass
    assert not caplog.records
