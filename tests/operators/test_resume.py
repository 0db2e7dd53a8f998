"""What a try does about the job of an earlier one, and about a wait that Airflow ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke import exceptions
from airflow_provider_falinvoke._compat import AirflowFailException, TaskDeferralError, TaskDeferralTimeout
from airflow_provider_falinvoke.api import drivers, protocol
from airflow_provider_falinvoke.api.account import forget_accounts
from airflow_provider_falinvoke.api.outcomes import Failure, Reply, Say, Send
from airflow_provider_falinvoke.durable import STORE_KEY
from airflow_provider_falinvoke.emulator import Emulator, Fault
from tests.support.execution import SLOW, Context, Memory, execute, operator

FAST, SHORT = "fal-ai/flux/schnell", "fal-ai/fast-sdxl"

pytestmark = pytest.mark.usefixtures("quick_deferral", "impatient_storage")


@pytest.fixture
def context() -> Context:
    context = Context()
    context["task_state_store"] = Memory()
    return context


def leave_running(context: Context, **changes: Any) -> None:
    """Submit a slow job and give it up on the worker, as a kill does: it is stored, and it goes on."""
    with pytest.raises(exceptions.FalInvokeTimeoutError):
        execute(operator(timeout=0.1, deferrable=False, **changes), context)


def test_a_404_moments_after_the_submit_is_no_reason_to_pay_again(emulator: Emulator, context: Context) -> None:
    """The API may not have heard of the job everywhere yet."""
    leave_running(context)
    emulator.add_fault(Fault("answer", on="get", status=404, times=2))
    leave_running(context)
    assert len(emulator.posts()) == 1


@pytest.mark.parametrize("kind", ["html", "text"])
def test_a_404_of_something_before_the_api_is_no_reason_to_pay_again(
    kind: str, emulator: Emulator, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_running(context)
    monkeypatch.setattr(protocol, "NOT_FOUND_GRACE", 0.0)
    emulator.add_fault(Fault(kind, on="get", status=404))
    with pytest.raises(AirflowFailException, match=r"not the API's own answer.* Its result can still be fetched"):
        execute(operator(), context)
    leave_running(context)
    assert len(emulator.posts()) == 1


@pytest.mark.parametrize("duration", [0, 0.3])
def test_an_id_that_the_store_did_not_take_is_stored_before_the_task_ends(
    duration: float, emulator: Emulator, context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is away for some seconds just after the POST; the files cannot be saved, and the next try saves them."""
    model_id = FAST if duration == 0 else SHORT
    store, sets = context["task_state_store"], 0

    def set(key: str, value: Any) -> None:
        nonlocal sets
        sets += 1
        if 2 <= sets <= 5:
            raise OSError("away")
        Memory.set(store, key, value)

    monkeypatch.setattr(store, "set", set)
    saves = {"model_id": model_id, "deferrable": False, "output_path": tmp_path.as_uri()}
    with pytest.raises(AirflowFailException, match="max_file_size"):
        execute(operator(**saves, max_file_size=1), context)
    assert sets == 6
    assert len(execute(operator(**saves), context)["files"]) == 1
    assert len(emulator.posts()) == 1


def test_a_refused_job_is_not_submitted_again_by_a_retry(emulator: Emulator, context: Context) -> None:
    """A user who clears the task asks for it."""
    emulator.add_fault(Fault("fail", on="post", value="detail_list"))
    refusal = {"model_id": SHORT, "deferrable": False}
    with pytest.raises(AirflowFailException):
        execute(operator(**refusal), context)
    for _ in range(2):
        with pytest.raises(AirflowFailException, match="will fail again"):
            execute(operator(**refusal), context)
    assert len(emulator.posts()) == 1
    context.max_tries = 4
    assert execute(operator(**refusal), context)["status"] == "COMPLETED"
    assert len(emulator.posts()) == 2


def test_files_that_are_gone_are_asked_for_by_retries_and_made_anew_after_a_clear(
    emulator: Emulator, context: Context, tmp_path: Path
) -> None:
    one = {"model_id": FAST, "output_path": tmp_path.as_uri()}
    emulator.add_fault(Fault("answer", on="media", status=410, times=2))
    for _ in range(2):
        with pytest.raises(exceptions.FalInvokeMediaGoneError, match="clearing the task"):
            execute(operator(**one), context)
    assert len(emulator.posts()) == 1
    context.max_tries = 4
    assert len(execute(operator(**one), context)["files"]) == 1
    assert len(emulator.posts()) == 2


def test_a_result_that_came_without_an_id_is_returned_at_once(
    emulator: Emulator, context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no asking for it later, whether the task would wait or not; a lost one is not paid for twice."""
    emulator.add_fault(Fault("no_envelope", on="post", times=None))
    result = execute(operator(model_id=FAST, wait_for_completion=False), context)
    assert result["request_id"] is None
    assert result["output"]["images"]
    assert "cannot be fetched again" in capsys.readouterr().out
    with pytest.raises(AirflowFailException, match="may pay twice"):
        execute(operator(model_id=FAST), context)
    assert len(emulator.posts()) == 1


def test_prices_that_were_edited_after_the_submit_do_not_cost_the_result(emulator: Emulator, context: Context) -> None:
    leave_running(context)
    request_id = next(iter(emulator.jobs))
    emulator.add_fault(Fault("spelling", on="get", value={"QUEUED": "COMPLETED"}, times=None))
    wrong = operator(prices={SLOW: {"per_day": 1.0}})
    result = execute(wrong, context)
    assert (result["request_id"], result["estimated_cost"]) == (request_id, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"timeout": timedelta.max},
        {"timeout": 1e15},
        {"timeout": 0},
        {"timeout": "soon"},
        {"poll_interval": 0},
        {"max_poll_interval": 0},
        {"defer_after": -1},
    ],
)
def test_a_time_that_makes_no_sense_is_refused_before_it_is_paid(
    changes: dict[str, Any], emulator: Emulator, context: Context
) -> None:
    with pytest.raises(AirflowFailException, match=f"^{next(iter(changes))} must be"):
        execute(operator(**changes), context)
    assert emulator.posts() == []


@pytest.mark.parametrize("ended", [TaskDeferralTimeout("Trigger timeout"), TaskDeferralError("Trigger failure")])
def test_a_wait_that_airflow_ended_is_looked_at_once_more(
    ended: Exception, emulator: Emulator, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_running(context)
    request_id = next(iter(emulator.jobs))

    def ends(*_: object) -> None:
        raise ended

    one = operator()
    monkeypatch.setattr("airflow.sdk.BaseOperator.resume_execution", ends)
    with pytest.raises(exceptions.FalInvokeTimeoutError, match=f"{request_id}.*goes on.*FalInvokeSensor"):
        one.resume_execution("execute_complete", None, context)  # type: ignore[arg-type]  # a context of the test's
    emulator.add_fault(Fault("spelling", on="get", value={"QUEUED": "COMPLETED"}, times=None))
    result = one.resume_execution("execute_complete", None, context)  # type: ignore[arg-type]  # as above
    assert result["request_id"] == request_id
    assert context["task_state_store"][STORE_KEY]["phase"] == "done"


class Killed(BaseException):
    """What a kill looks like from within."""


def dies(*_: object, **__: object) -> None:
    raise Killed


def test_a_death_during_a_post_stops_the_next_try_until_a_user_who_was_told_clears_the_task(
    emulator: Emulator, context: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("airflow_provider_falinvoke.api.drivers._perform", dies_at_a_post)
        execute(operator(model_id=FAST), context)
    context.max_tries = 2  # cleared in the middle, by a user who cannot know
    for _ in range(2):
        with pytest.raises(AirflowFailException, match=r"or was cleared, while it submitted.*may pay twice"):
            execute(operator(model_id=FAST), context)
    assert emulator.posts() == []
    context.max_tries = 4
    assert execute(operator(model_id=FAST), context)["status"] == "COMPLETED"
    assert "Submitting again, though" in caplog.text
    assert len(emulator.posts()) == 1


def dies_at_a_post(step: Any, *arguments: Any) -> Any:
    if getattr(step, "method", "") == "POST":
        raise Killed
    return drivers_perform(step, *arguments)


drivers_perform = drivers._perform


@pytest.mark.parametrize(
    "not_taken",
    [Failure("refused", arrived=False, at=0.0), Reply(429, {"retry-after": "30"}, b"", 0.0)],
    ids=["refused", "429"],
)
def test_a_death_while_a_submit_pauses_leaves_no_doubt(
    not_taken: Failure | Reply, emulator: Emulator, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was taken, and nothing is on its way."""

    def dies_in_the_pause(step: Any, client: Any, clock: Callable[[], float] | None) -> Any:
        if isinstance(step, Send):
            assert context["task_state_store"][STORE_KEY]["phase"] == "intent"
            return replace(not_taken, at=(clock or time.monotonic)())
        if isinstance(step, Say):
            raise Killed
        return drivers_perform(step, client, clock)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("airflow_provider_falinvoke.api.drivers._perform", dies_in_the_pause)
        execute(operator(model_id=FAST), context)
    assert context["task_state_store"] == {}
    forget_accounts()
    assert execute(operator(model_id=FAST), context)["status"] == "COMPLETED"
    assert len(emulator.posts()) == 1


def test_a_submit_that_is_killed_in_the_air_says_so(
    emulator: Emulator, context: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = operator(model_id=FAST)

    def killed(step: Any, *arguments: Any) -> Any:
        if getattr(step, "method", "") == "POST":
            one.on_kill()
            raise Killed
        return drivers_perform(step, *arguments)

    monkeypatch.setattr("airflow_provider_falinvoke.api.drivers._perform", killed)
    with pytest.raises(Killed):
        execute(one, context)
    assert "ended while it submitted a job, which may be running and paid" in capsys.readouterr().out


def test_a_clear_that_drops_the_store_is_said_where_it_may_pay_twice(
    emulator: Emulator, context: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "holds nothing of an earlier try: a clear drops it"
    context.max_tries = 1
    execute(operator(model_id=FAST), context)
    assert words not in capsys.readouterr().out, "Airflow 3.3 keeps it"
    monkeypatch.setattr("airflow.__version__", "3.4.0b2")
    execute(operator(model_id=FAST), context)
    assert words not in capsys.readouterr().out, "the store was kept"
    context["task_state_store"].clear()
    execute(operator(model_id=FAST), context)
    assert words in capsys.readouterr().out
    context["task_state_store"].clear()
    context.max_tries = 0
    execute(operator(model_id=FAST), context)
    assert words not in capsys.readouterr().out, "a first try"


def test_a_result_that_airflow_could_not_store_is_taken_again_after_a_clear(
    emulator: Emulator, context: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("airflow_provider_falinvoke.durable.hears_of_success", lambda: True)  # as from Airflow 3.3 on
    first = execute(operator(model_id=FAST), context)
    context.max_tries = 2
    again = operator(model_id=FAST)
    assert execute(again, context)["request_id"] == first["request_id"]
    assert "Airflow never stored that try's success" in capsys.readouterr().out
    again.acknowledge_success()
    context.max_tries = 4
    assert execute(operator(model_id=FAST), context)["request_id"] != first["request_id"]
    assert len(emulator.posts()) == 2


def test_a_process_that_was_frozen_before_its_submit_sees_what_the_next_try_did(
    emulator: Emulator, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = StorageCheck(lambda: execute(operator(model_id=FAST, output_path=tmp_path.as_uri()), context))
    monkeypatch.setattr("airflow_provider_falinvoke.media.Saving.check_folder", checks)
    result = execute(operator(model_id=FAST, output_path=tmp_path.as_uri()), context)
    assert len(emulator.posts()) == 1
    assert result["request_id"] in emulator.jobs


class StorageCheck:
    """Stands for a slow check of the folder, during which the next try does all its work."""

    def __init__(self, next_try: Callable[[], object]) -> None:
        self._next_try = next_try
        self._entered = False

    def __call__(self) -> None:
        if not self._entered:
            self._entered = True
            self._next_try()


def test_a_process_that_was_frozen_at_its_submit_sends_nothing(emulator: Emulator, context: Context) -> None:
    """After a clear the store says "nothing" to the old process, and takes nothing from it."""
    context["task_state_store"] = Lost()
    with pytest.raises(exceptions.FalInvokeError, match="not submitted and nothing is paid"):
        execute(operator(model_id=FAST), context)
    assert emulator.posts() == []


class Lost(Memory):
    """The store as the process of an older try sees it on Airflow 3.3."""

    def get(self, key: str, default: Any = None) -> Any:
        return default

    def set(self, key: str, value: Any) -> None:
        raise RuntimeError("404")

    def delete(self, key: str) -> None:
        raise RuntimeError("404")


def test_a_wait_that_airflow_ended_needs_no_xcom_to_find_its_job(
    emulator: Emulator, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_running(context)
    context.pushed.clear()
    emulator.add_fault(Fault("spelling", on="get", value={"QUEUED": "COMPLETED"}, times=None))

    def ends(*_: object) -> None:
        raise TaskDeferralTimeout("Trigger timeout")

    monkeypatch.setattr("airflow.sdk.BaseOperator.resume_execution", ends)
    result = operator().resume_execution("execute_complete", None, context)  # type: ignore[arg-type]  # the test's
    assert result["request_id"] in emulator.jobs


def test_an_xcom_that_cannot_be_read_does_not_hide_why_the_wait_ended(
    emulator: Emulator, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(*_: object) -> None:
        raise TaskDeferralTimeout("Trigger timeout")

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no XCom today")

    monkeypatch.setattr("airflow.sdk.BaseOperator.resume_execution", ends)
    monkeypatch.setattr(Context, "xcom_pull", fails)
    with pytest.raises(TaskDeferralTimeout):
        operator().resume_execution("execute_complete", None, context)  # type: ignore[arg-type]  # the test's


def test_a_request_id_that_cannot_be_pushed_does_not_stop_the_task(
    emulator: Emulator, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no XCom today")

    monkeypatch.setattr(Context, "xcom_push", fails)
    assert execute(operator(model_id=FAST), context)["request_id"] in emulator.jobs


def test_inline_files_that_nobody_saves_are_named(
    emulator: Emulator, context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    result = execute(operator(model_id=FAST, input={"prompt": "x", "sync_mode": True}), context)
    assert "set output_path" in capsys.readouterr().out
    assert "base64" not in json.dumps(result)


def test_a_broken_proxy_of_the_environment_leaves_nothing_stored(
    monkeypatch: pytest.MonkeyPatch, emulator: Emulator, context: Context
) -> None:
    """Else each later try would take it for a job that may be running and paid."""
    for name in ("https_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "ftp://proxy.test")
    there = json.dumps({"conn_type": "falinvoke", "password": "some-key", "host": "https://api.invalid"})
    monkeypatch.setenv("AIRFLOW_CONN_FALINVOKE_DEFAULT", there)
    for _ in range(2):
        with pytest.raises(AirflowFailException, match="HTTPS_PROXY names a proxy that cannot be used"):
            execute(operator(), context)
    assert context["task_state_store"].get(STORE_KEY) is None
    assert emulator.posts() == []
