"""Between an accepted POST and the stored result nothing ends the task but what is about that result."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_falinvoke import budget, metrics, reuse
from airflow_provider_falinvoke.emulator import Emulator
from airflow_provider_falinvoke.exceptions import FalInvokeInputError, FalInvokeMediaError
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator
from airflow_provider_falinvoke.operators.image import FalImageOperator
from airflow_provider_falinvoke.sensors.falinvoke import FalInvokeSensor
from airflow_provider_falinvoke.triggers.falinvoke import completed_event
from tests.support.dags import run_tasks
from tests.support.execution import Context, Memory, execute

pytestmark = pytest.mark.usefixtures("impatient_storage")

FAST = "fal-ai/flux/schnell"
SMALL = {"prompt": "a fox", "image_size": {"width": 32, "height": 32}, "seed": 7}


def broken(*_: Any, **__: Any) -> Any:
    raise OSError("away")


class Broken(dict[str, Any]):
    """A store, or a mapping, of which nothing works any more; what Airflow's own raise is of no known kind either."""

    __getitem__ = broken


def xcom(_: pytest.MonkeyPatch, context: Context) -> None:
    context.xcom_push = broken  # type: ignore[method-assign]  # it breaks there


def outlet_events(_: pytest.MonkeyPatch, context: Context) -> None:
    context["outlet_events"] = Broken()


def state_store(_: pytest.MonkeyPatch, context: Context) -> None:
    """It takes the intent, and fails from then on."""
    store = Memory()

    def set_once(key: str, value: Any) -> None:
        store.set = broken  # type: ignore[method-assign]  # it breaks there
        store[key] = value

    store.set = set_once  # type: ignore[method-assign]  # it breaks there
    context["task_state_store"] = store


def statistics(monkeypatch: pytest.MonkeyPatch, _: Context) -> None:
    monkeypatch.setattr(metrics, "find_stats", broken)
    monkeypatch.setattr(metrics, "_said_in", None)


def prices(monkeypatch: pytest.MonkeyPatch, _: Context) -> None:
    """They can be read before the submit, and not any more after it."""
    monkeypatch.setattr(FalInvokeHook, "submit_request", then(monkeypatch, FalInvokeHook.submit_request))


def then(monkeypatch: pytest.MonkeyPatch, submit: Callable[..., Any]) -> Callable[..., Any]:
    def submit_request(*arguments: Any, **named: Any) -> Any:
        invocation = submit(*arguments, **named)
        monkeypatch.setattr(budget, "_prices", broken)
        return invocation

    return submit_request


def reuse_folder(monkeypatch: pytest.MonkeyPatch, _: Context) -> None:
    monkeypatch.setattr(reuse.Kept, "keep", broken)


Breaking = Callable[[pytest.MonkeyPatch, Context], None]
BREAKINGS: list[Breaking] = [xcom, outlet_events, state_store, statistics, prices, reuse_folder]


@pytest.fixture(params=BREAKINGS, ids=lambda breaking: breaking.__name__)
def context(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Context:
    made = Context()
    made["outlet_events"] = OutletEventAccessors()
    request.param(monkeypatch, made)
    return made


def draw(tmp_path: Path, **changes: Any) -> FalInvokeOperator:
    given = {"model_id": FAST, "input": SMALL, "output_path": tmp_path.as_uri(), "reuse": True, **changes}
    return FalInvokeOperator(task_id="draw", outlets=[Asset("picture"), AssetAlias("files")], **given)


def test_a_job_that_is_done_at_once_is_a_result(
    context: Context, emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = execute(draw(tmp_path), context)
    (request_id,) = emulator.jobs
    assert (result["request_id"], len(result["files"]), len(emulator.posts())) == (request_id, 1, 1)
    assert any(record.levelno == logging.WARNING and "away" in record.getMessage() for record in caplog.records)


def test_a_job_that_was_deferred_for_is_a_result(context: Context, emulator: Emulator, tmp_path: Path) -> None:
    invocation = FalInvokeHook().submit(FAST, SMALL)
    event = completed_event(str(invocation.request_id), invocation)
    result = draw(tmp_path).execute_complete(cast("Any", context), event)
    assert (result["request_id"], len(result["files"]), len(emulator.posts())) == (invocation.request_id, 1, 1)


def test_a_submit_alone_returns_its_id(context: Context, emulator: Emulator, tmp_path: Path) -> None:
    assert execute(draw(tmp_path, wait_for_completion=False, reuse=False), context) in emulator.jobs
    assert len(emulator.posts()) == 1


def test_a_sensor_returns_the_result(context: Context, emulator: Emulator, tmp_path: Path) -> None:
    request_id = str(FalInvokeHook().submit(FAST, SMALL).request_id)
    sensor = FalInvokeSensor(
        task_id="fetch", request_id=request_id, output_path=tmp_path.as_uri(), outlets=[Asset("picture")]
    )
    answer: Any = sensor.poke(cast("Any", context))
    assert (answer.xcom_value["request_id"], len(answer.xcom_value["files"])) == (request_id, 1)


@pytest.mark.parametrize("wrong", [{"file_name": "{number}"}, {"output_path": " "}, {"max_file_size": "many"}])
def test_where_files_go_is_asked_for_again_at_a_retry_if_it_cannot_be_read_after_the_deferral(
    wrong: dict[str, Any], emulator: Emulator, tmp_path: Path
) -> None:
    """A template is rendered once more then. Before the submit the same is refused for good."""
    invocation = FalInvokeHook().submit(FAST, SMALL)
    event = completed_event(str(invocation.request_id), invocation)
    changed = draw(tmp_path, **wrong)
    with pytest.raises(FalInvokeMediaError, match="completed and paid") as caught:
        changed.execute_complete(cast("Any", Context()), event)
    assert caught.value.may_pass
    assert str(invocation.request_id) in str(caught.value)
    assert "nothing was sent" not in str(caught.value)
    sensor = FalInvokeSensor(task_id="fetch", request_id=str(invocation.request_id), **{"output_path": None, **wrong})
    with pytest.raises(FalInvokeMediaError, match="completed and paid"):
        sensor.execute_complete(cast("Any", Context()), event)


@pytest.mark.usefixtures("airflow_db", "quick_deferral")
def test_typed_parameters_that_render_to_something_wrong_after_the_deferral_end_no_paid_job(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[Any] = []

    def made_of(self: FalImageOperator, further: Any) -> dict[str, Any]:
        rendered.append(further)
        if len(rendered) > 2:  # at the parsing, before the submit, and after the deferral
            raise FalInvokeInputError("further_input: it must be a dict, not 7")
        return {"prompt": "a fox"}

    monkeypatch.setattr(FalImageOperator, "_made_of", made_of)
    ran = run_tasks(
        lambda: FalImageOperator(task_id="draw", prompt="a fox", model_id="fal-ai/fast-sdxl", defer_after=0)
    )
    assert len(rendered) == 3, "or this shows nothing of a deferral"
    assert ran.state == "success", ran.errors
    assert len(emulator.posts()) == 1


def test_a_result_that_came_without_an_id_is_still_a_result(emulator: Emulator, tmp_path: Path) -> None:
    done = FalInvokeHook().submit(FAST, SMALL).model_copy(update={"request_id": None})
    result = draw(tmp_path).execute_complete(
        cast("Any", Context()), {**completed_event("x", done), "request_id": None}, "x"
    )
    assert len(result["files"]) == 1
