"""What a try does about the job of an earlier one, and about a wait that Airflow ended."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke import exceptions
from airflow_provider_falinvoke._compat import AirflowFailException, TaskDeferralError, TaskDeferralTimeout
from airflow_provider_falinvoke.durable import STORE_KEY
from airflow_provider_falinvoke.emulator import Emulator, Fault
from tests.support.execution import SLOW, Context, Memory, execute, operator

FAST, SHORT = "fal-ai/flux/schnell", "fal-ai/fast-sdxl"

pytestmark = pytest.mark.usefixtures("quick_deferral")


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
