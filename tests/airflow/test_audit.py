"""The judge of the chaos: planted faults are seen, and what a user asked for is none."""

from __future__ import annotations

import json
import math
from typing import Any

from tests.airflow.audit import Paid, Try, doubted_for_nothing, silent, unasked, warned_of_the_intent

DOUBT = "It may be running and paid, and no request_id came back to fetch it by."
LEFT = "An earlier try of this task died while it submitted this job at 2026-11-28 10:00:00 UTC: it may be paid"
#: 2026-11-28 10:00:00 UTC.
AT = 1795860000.0
FIRST, SECOND = Paid("a", AT), Paid("b", AT + 60)


def failure(message: str) -> str:
    """Return the line that Airflow logs of a task's error."""
    return line("error", "Task failed with exception", error_detail=[{"exc_value": message}])


def line(level: str, event: str, **fields: Any) -> str:
    """Return a line of a task's log."""
    return json.dumps({"level": level, "event": event, **fields})


def tried(state: str, ended_at: float, *lines: str, number: int = 1) -> Try:
    """Return a try."""
    return Try(number, state, ended_at, "\n".join(lines))


def test_one_job_needs_no_reason() -> None:
    assert unasked([FIRST], [tried("failed", AT + 9)]) == []


def test_a_clear_in_the_middle_of_a_post_is_no_reason() -> None:
    assert unasked([FIRST, SECOND], [tried("failed", AT + 9), tried("success", AT + 90)]) == ["b"]


def test_a_warning_that_was_no_error_is_no_reason() -> None:
    cleared = tried("failed", AT + 9, line("warning", f"The task was ended over a POST. {DOUBT}"))
    assert unasked([FIRST, SECOND], [cleared]) == ["b"]


def test_a_doubt_that_failed_the_task_is_a_reason_for_what_comes_after_it() -> None:
    assert unasked([FIRST, SECOND], [tried("failed", AT + 9, failure(DOUBT))]) == []
    assert unasked([FIRST, SECOND], [tried("failed", AT + 99, failure(DOUBT))]) == ["b"]


def test_a_reason_is_good_for_one_job() -> None:
    third = Paid("c", AT + 70)
    assert unasked([third, SECOND, FIRST], [tried("success", AT + 9)]) == ["c"]


def test_a_success_that_a_user_marked_as_failed_is_a_reason() -> None:
    returned = line("info", "Pushing xcom")
    assert unasked([FIRST, SECOND], [tried("failed", AT + 9, returned)]) == []
    died = line("critical", "Process terminated by signal.")
    assert unasked([FIRST, SECOND], [tried("failed", AT + 9, returned, died)]) == ["b"]
    assert unasked([FIRST, SECOND], [tried("failed", AT + 9, returned, failure("away"))]) == ["b"]


def test_a_job_that_the_api_let_fail_is_a_reason() -> None:
    assert unasked([Paid("a", AT, failed=True), SECOND], [tried("failed", AT + 9)]) == []


def test_what_is_being_tried_is_no_reason() -> None:
    assert unasked([FIRST, SECOND], [tried("running", math.inf)]) == ["b"]


def test_a_job_in_no_log_is_silent_unless_a_doubt_was_said() -> None:
    assert silent([FIRST, SECOND], {"a"}, [tried("success", AT + 9)]) == ["b"]
    assert silent([FIRST, SECOND], {"a"}, [tried("failed", AT + 9, failure(DOUBT))]) == []


def test_an_intent_without_a_post_is_found_unless_its_process_was_struck_then() -> None:
    tries = [tried("failed", AT + 9, failure(LEFT))]
    assert doubted_for_nothing([[]], tries, []) == ["2026-11-28 10:00:00 UTC, item 0, in try 1"]
    assert doubted_for_nothing([[AT - 60]], tries, [(AT + 60, AT + 60)]) == [
        "2026-11-28 10:00:00 UTC, item 0, in try 1"
    ]
    assert doubted_for_nothing([[AT + 0.5]], tries, []) == []
    assert doubted_for_nothing([[]], tries, [(AT - 9, AT + 1)]) == []


def test_an_intent_of_an_item_is_compared_with_its_own_posts() -> None:
    text = (
        "An earlier process ended while it submitted these, so they may be running and paid: items "
        "0 (2026-11-28 10:00:00 UTC), 2 (2026-11-28 10:00:00 UTC)"
    )
    tries = [tried("failed", AT + 9, line("warning", text))]
    assert doubted_for_nothing([[AT], [], [AT]], tries, []) == []
    assert doubted_for_nothing([[AT], [AT], []], tries, []) == ["2026-11-28 10:00:00 UTC, item 2, in try 1"]


def test_a_warning_names_the_time_of_the_intent() -> None:
    text = "Submitting again, though the submit of 2026-11-28 10:00:00 UTC may have been paid"
    assert warned_of_the_intent([tried("success", AT, line("warning", text))])
    assert not warned_of_the_intent([tried("success", AT, line("info", text))])
    assert not warned_of_the_intent([tried("failed", AT, failure(LEFT))])
    assert not warned_of_the_intent([tried("failed", AT, line("warning", f"{LEFT}; it is not submitted again"))])
