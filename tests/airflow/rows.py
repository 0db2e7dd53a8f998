"""Rows of what breaks a job anywhere from its POST to its files, and rows of what breaks all jobs at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tests.airflow.chaos import Row, SharedRow, ending
from tests.airflow.job import Job
from tests.airflow.lab import Lab, outage, small_disk

# --- the submit ---


def _submit_fault(kind: str, **options: object) -> Callable[[Job], None]:
    def act(job: Job) -> None:
        job.fault(kind, on="post", **options)
        job.start()

    return act


def _ambiguous_then_cleared(job: Job) -> None:
    job.fault("answer", on="post", status=500, accepted=True)
    job.start()
    job.until_failed()
    job.clear()
    job.until_state("success")


def _killed_between_post_and_reply(job: Job) -> None:
    job.fault("slow", on="post", seconds=20)
    job.start()
    job.until_posted()
    job.kill_task()


# --- the wait ---


def _poll_fault(kind: str, times: int, **options: object) -> Callable[[Job], None]:
    def act(job: Job) -> None:
        job.fault(kind, on="get", times=times, **options)
        job.start()

    return act


def _key_revoked_while_waiting(job: Job) -> None:
    job.fault("answer", on="get", status=401, times=1)
    job.start()
    job.until_failed()
    job.clear()
    job.until_state("success")


def _timed_out_then_cleared(job: Job) -> None:
    job.start()
    job.until_failed()
    job.lab.until("the job is done", lambda: job.lab.emulator.jobs[job.paid[0]].status == "COMPLETED", 120)
    job.clear()


def _kill_on_worker(job: Job) -> None:
    job.start()
    job.until_looked_at()
    job.kill_task()


def _kill_while_saving(job: Job) -> None:
    job.fault("slow", on="media", seconds=15)
    job.start()
    job.until_saving()
    job.kill_task()


def _failed(shape: str) -> Callable[[Job], None]:
    def act(job: Job) -> None:
        job.fault("fail", on="post", value=shape)
        job.start()

    return act


def _refused_content(job: Job) -> None:
    job.fault("fail", on="post", body={"detail": [{"loc": ["prompt"], "msg": "refused", "type": "content_policy"}]})
    job.start()


def _full_disk(job: Job) -> None:
    folder = Path(job.output.removeprefix("file://"))
    with small_disk(folder, "4k") as resize:
        job.start()
        job.lab.until("the disk is full", lambda: "could not be saved" in job.log(), 120)
        resize("10m")
        job.until_ended()
        # The files must be looked at while the disk is there.
        assert ending(job, str(job.state())) == "result"
        kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for path, content in kept.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


# --- the user ---


def _user(*actions: str, when: Literal["running", "waiting"]) -> Callable[[Job], None]:
    def act(job: Job) -> None:
        job.start()
        job.until_waiting() if when == "waiting" else job.until_looked_at()
        for action in actions:
            if action == "clear":
                job.clear()
            else:
                job.mark(action)
                job.until_state(action)
                time.sleep(2)

    return act


def _clear_a_success(job: Job) -> None:
    job.start()
    job.until_state("success")
    job.clear()
    job.lab.until("the second job is submitted", lambda: len(job.paid) == 2)


TOGETHER = (
    Row("POST answered 500, though it was accepted", _submit_fault("answer", status=500, accepted=True), "ambiguous"),
    Row("POST answered 502 by a proxy, not accepted", _submit_fault("text", status=502), "ambiguous"),
    Row("POST answered 503, not accepted", _submit_fault("answer", status=503), "ambiguous"),
    Row("POST: connection dropped after it was accepted", _submit_fault("drop", accepted=True), "ambiguous"),
    Row("POST: connection reset before it was accepted", _submit_fault("drop", value="reset"), "ambiguous"),
    Row("POST: reply cut off behind its request_id", _submit_fault("cut")),
    Row("POST: 200 without a request_id", _submit_fault("omit", value="request_id"), "ambiguous"),
    Row("POST: HTML page with 200, though it was accepted", _submit_fault("html", accepted=True), "ambiguous"),
    Row("POST: 429 for a minute", _submit_fault("answer", status=429, seconds=10, times=6)),
    Row("kill -9 between the POST and its reply", _killed_between_post_and_reply, "ambiguous"),
    Row("kill -9 of the task while the worker waits", _kill_on_worker),
    Row("kill -9 of the task while it saves the files", _kill_while_saving),
    Row("polls answered 500 for a minute", _poll_fault("answer", 7, status=500)),
    Row("polls answered 429 for a minute", _poll_fault("answer", 6, status=429, seconds=10)),
    Row("polls answered with HTML", _poll_fault("html", 5)),
    Row("polls dropped", _poll_fault("drop", 5)),
    Row("polls cut off", _poll_fault("cut", 5)),
    Row("key revoked while waiting, restored, task cleared", _key_revoked_while_waiting),
    Row("timeout, task cleared", _timed_out_then_cleared, seconds=90, timeout=10),
    Row("job FAILED for a passing reason: the retry asks for another", _failed("string"), paid=2),
    Row("job FAILED for refused content", _refused_content, "refused"),
    Row("disk full at output_path, then freed", _full_disk),
    Row("POST answered 500, then cleared by a user: asked for again", _ambiguous_then_cleared, paid=2),
    Row("marked failed on the worker, then cleared", _user("failed", "clear", when="running"), seconds=20),
    Row("marked success on the worker", _user("success", when="running"), "user", seconds=20),
    Row("cleared on the worker", _user("clear", when="running"), seconds=20),
    Row("marked failed while waiting, then cleared", _user("failed", "clear", when="waiting"), seconds=30),
    Row("marked success while waiting", _user("success", when="waiting"), "user", seconds=30),
    Row("cleared while waiting", _user("clear", when="waiting"), seconds=30),
    Row("a success is cleared: the user asks for another", _clear_a_success, paid=2),
)


# --- what all jobs share ---


def _one_triggerer(lab: Lab) -> None:
    lab.airflow.kill("triggerer-1")
    time.sleep(40)
    lab.airflow.start("triggerer-1")


def _both_triggerers(lab: Lab) -> None:
    for name in lab.airflow.triggerers:
        lab.airflow.kill(name)
    time.sleep(10)
    for name in lab.airflow.triggerers:
        lab.airflow.start(name)


def _stalled_triggerer(lab: Lab) -> None:
    lab.airflow.send_signal("triggerer-2", signal.SIGSTOP)
    time.sleep(50)
    lab.airflow.send_signal("triggerer-2", signal.SIGCONT)


def _scheduler(lab: Lab) -> None:
    lab.airflow.kill("scheduler")
    time.sleep(5)
    lab.airflow.start("scheduler")


def _api_server(lab: Lab) -> None:
    lab.airflow.kill("api-server")
    time.sleep(5)
    lab.airflow.start("api-server")


def _api_away(lab: Lab) -> None:
    lab.emulator.stop()
    time.sleep(60)
    lab.emulator.start()


def _database(lab: Lab) -> None:
    outage(lab.database, 10)


ALONE = (
    SharedRow("kill -9 of a triggerer", _one_triggerer),
    SharedRow("kill -9 of both triggerers, restarted after 10 s", _both_triggerers),
    SharedRow("a triggerer stalled for 50 s (SIGSTOP), its triggers taken over", _stalled_triggerer),
    SharedRow("kill -9 of the scheduler and its tasks, restarted after 5 s", _scheduler),
    SharedRow("kill -9 of Airflow's api-server, restarted after 5 s", _api_server),
    SharedRow("the vendor's API away for a minute", _api_away, seconds=20),
    SharedRow("Airflow's database away for 10 s", _database),
)
