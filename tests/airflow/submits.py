"""Rows of what happens around the submit: where a clear, a kill or a freeze meets a POST, or a result that is not told.

What is right here is the table of docs/paid-work.md: a clear in the middle of a POST stops the next try, which says so,
and only a clear after that pays again; nothing is in doubt while a task pauses between two POSTs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.airflow.chaos import PATHS, Row
from tests.airflow.job import Job

ALL_PATHS = (*PATHS, "batch")
Act = Callable[[Job], None]


def _clear(job: Job) -> None:
    job.clear()


def _kill(job: Job) -> None:
    job.kill_task()


def _mark_failed_and_clear(job: Job) -> None:
    job.mark("failed")
    job.until_run_failed()
    job.clear()


def _slow(act: Act) -> Act:
    """Act while a POST waits for its reply; the task has to stop, and another clear asks for another job."""

    def acts(job: Job) -> None:
        job.fault("slow", on="post", seconds=20)
        job.start()
        job.until_posted()
        act(job)
        job.until_stopped()
        job.clear()

    return acts


def _refused(act: Act) -> Act:
    """Act while the task pauses because connections are refused, which then ends."""

    def acts(job: Job) -> None:
        door = job.behind_a_door()
        door.shut()
        job.start()
        job.until_pausing()
        act(job)
        door.open()

    return acts


def _over_the_quota(act: Act) -> Act:
    """Act while the task pauses because a POST was answered 429."""

    def acts(job: Job) -> None:
        job.fault("answer", on="post", status=429, seconds=10, times=2)
        job.start()
        job.until_pausing()
        act(job)

    return acts


def _frozen_while_refused(job: Job) -> None:
    door = job.behind_a_door()
    door.shut()
    job.start()
    job.until_pausing()
    with job.frozen():
        job.until_try(2)
        door.open()
        job.until_posted()


def _frozen_over_a_post(job: Job) -> None:
    job.fault("slow", on="post", seconds=5)
    job.start()
    job.until_posted()
    with job.frozen():
        job.until_failed()
    # The reply lies there for the process that goes on.
    time.sleep(10)


def _result_not_taken(job: Job) -> None:
    job.start()
    with job.lab.xcom_away(job.run_id):
        job.until_failed()
    job.clear()


def _killed_over_its_result(job: Job) -> None:
    job.start()
    job.until_waiting()
    with job.lab.xcom_away(job.run_id, hangs=True):
        job.until_saving()
        time.sleep(4)
        job.kill_task()
        job.clear()


def _storage_away_over_posts(seconds: float) -> Act:
    def act(job: Job) -> None:
        job.fault("slow", on="post", seconds=5)
        door = job.on_s3()
        job.start()
        job.until_posted()
        with door.shut_while():
            time.sleep(seconds)
        _clear_if_failed(job)

    return act


def _storage_away_over_files(job: Job) -> None:
    door = job.on_s3()
    job.start()
    job.until_waiting()
    with door.shut_while():
        time.sleep(30)
    _clear_if_failed(job)


def _clear_if_failed(job: Job) -> None:
    """Clear the task where its retries were over before the storage was there again."""
    if job.until_ended() == "failed" and not job.tries()[-1].reported:
        time.sleep(8)
        job.clear()


SUBMITS = (
    Row("cleared in the middle of a slow POST, and again", _slow(_clear), paid=2, paths=ALL_PATHS, warned=True),
    Row(
        "marked failed and cleared in the middle of a slow POST, and cleared again",
        _slow(_mark_failed_and_clear),
        paid=2,
        paths=ALL_PATHS,
        warned=True,
    ),
    Row("connection refused, task cleared", _refused(_clear), paths=ALL_PATHS),
    Row("connection refused, task marked failed and cleared", _refused(_mark_failed_and_clear), paths=ALL_PATHS),
    Row("connection refused, kill -9 of the task", _refused(_kill), paths=ALL_PATHS),
    Row("429, task cleared", _over_the_quota(_clear), paths=ALL_PATHS),
    Row("429, kill -9 of the task", _over_the_quota(_kill), paths=ALL_PATHS),
    Row("XCom backend away until the task failed, then cleared", _result_not_taken, paths=ALL_PATHS),
    Row("kill -9 while Airflow stores the result, then cleared", _killed_over_its_result),
    Row("worker frozen while connections are refused, given up, goes on", _frozen_while_refused, paths=ALL_PATHS),
    Row("worker frozen over a POST, given up, goes on", _frozen_over_a_post, "ambiguous", paths=ALL_PATHS),
    Row("storage away for 20 s while POSTs are in the air", _storage_away_over_posts(20), paths=("batch",)),
    Row("storage away for 100 s while POSTs are in the air", _storage_away_over_posts(100), "known", paths=("batch",)),
    Row("storage away while files are saved", _storage_away_over_files, paths=ALL_PATHS),
)
