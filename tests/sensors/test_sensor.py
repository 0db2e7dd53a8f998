"""The sensor: in each mode, one answer about a job that somebody else submitted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from airflow.sdk import DAG
from PIL import Image

from airflow_provider_falinvoke import exceptions
from airflow_provider_falinvoke._compat import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferralError,
)
from airflow_provider_falinvoke.api.outcomes import Failure
from airflow_provider_falinvoke.emulator import Emulator, Fault
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.sensors.falinvoke import FalInvokeSensor
from airflow_provider_falinvoke.triggers.falinvoke import failed_event
from tests.support.dags import Ran, run_tasks
from tests.support.execution import Context

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_deferral")

FAST, SHORT, SLOW = "fal-ai/flux/schnell", "fal-ai/fast-sdxl", "fal-ai/flux/slow"
MODES: dict[str, dict[str, Any]] = {
    "deferrable": {"poll_interval": 0.05},
    "poke": {"mode": "poke", "poke_interval": 0.05},
    "reschedule": {"mode": "reschedule", "poke_interval": 0.05},
}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    return MODES[request.param]


def submitted(model_id: str = FAST) -> str:
    given = {"prompt": "a fox", "image_size": {"width": 64, "height": 64}}
    request_id = FalInvokeHook().submit(model_id, given).request_id
    assert request_id is not None
    return request_id


def run(request_id: str, **changes: Any) -> Ran:
    return run_tasks(lambda: FalInvokeSensor(task_id="await", request_id=request_id, **changes))


@pytest.fixture
def one_look_too_early(emulator: Emulator) -> None:
    """The first look that would find the job done is told that it is not, however long Airflow took to look."""
    emulator.add_fault(Fault("spelling", on="get", value={"COMPLETED": "IN_PROGRESS"}))


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 404 is believed soon, as it is in truth after ten seconds."""
    monkeypatch.setattr("airflow_provider_falinvoke.sensors.falinvoke.NOT_FOUND_GRACE", 0.3)
    monkeypatch.setattr("airflow_provider_falinvoke.api.protocol.NOT_FOUND_GRACE", 0.3)


def test_a_job_that_is_done_is_one_get_and_no_deferral(
    mode: dict[str, Any], emulator: Emulator, tmp_path: Path
) -> None:
    request_id = submitted()
    ran = run(request_id, output_path=tmp_path.as_uri(), **mode)
    assert (ran.state, ran.deferred) == ("success", []), ran.errors
    assert ran.results["await"]["request_id"] == request_id
    assert len(emulator.gets()) == 1
    (path,) = tmp_path.rglob(f"{request_id}-1.png")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
    assert emulator.leaks == []


@pytest.mark.usefixtures("one_look_too_early")
def test_a_job_that_takes_a_while_is_awaited(mode: dict[str, Any], emulator: Emulator) -> None:
    request_id = submitted(SHORT)
    ran = run(request_id, **mode)
    assert ran.state == "success", ran.errors
    assert ran.results["await"]["status"] == "COMPLETED"
    ends_at = emulator.jobs[request_id].ends_at
    assert len([poll for poll in emulator.gets() if poll.at >= ends_at]) == 2
    assert len(ran.deferred) == (1 if "mode" not in mode else 0)
    for arguments in ran.deferred:
        # The pauses between looks go by the job's age, and not by the sensor's.
        assert arguments["submitted_at"] == pytest.approx(emulator.jobs[request_id].created_at, abs=0.001)
    assert len(emulator.posts()) == 1


def test_a_failed_job_fails_the_sensor_for_good(mode: dict[str, Any], emulator: Emulator) -> None:
    emulator.add_fault(Fault("fail"))
    request_id = submitted(SHORT)
    ran = run(request_id, retries=2, **mode)
    assert (ran.state, ran.tries["await"]) == ("failed", 1)
    assert isinstance(ran.errors["await"], AirflowFailException)
    assert request_id in str(ran.errors["await"])
    assert "could not process the input" in str(ran.errors["await"])


@pytest.mark.usefixtures("no_grace")
def test_an_unknown_id_fails_for_good_after_the_grace(mode: dict[str, Any], emulator: Emulator) -> None:
    ran = run("nobody", retries=2, **mode)
    assert (ran.state, ran.tries["await"]) == ("failed", 1)
    assert isinstance(ran.errors["await"], AirflowFailException)
    assert "nobody" in str(ran.errors["await"])
    first, last = emulator.gets()[0], emulator.gets()[-1]
    assert last.at - first.at >= 0.2


def test_an_id_that_the_api_has_not_heard_of_yet_is_no_failure(emulator: Emulator) -> None:
    """The sensor may ask a moment after the POST."""
    emulator.add_fault(Fault("not_yet", on="post", seconds=0.3))
    assert run(submitted(), **MODES["poke"]).state == "success"


@pytest.mark.parametrize("soft_fail", [False, True])
def test_soft_fail_skips_where_the_time_is_up(soft_fail: bool, mode: dict[str, Any], emulator: Emulator) -> None:
    request_id = submitted(SLOW)
    ran = run(request_id, timeout=0.3, soft_fail=soft_fail, **mode)
    assert ran.states["await"] == ("skipped" if soft_fail else "failed")
    if not soft_fail:
        assert isinstance(ran.errors["await"], AirflowSensorTimeout)
        assert ran.tries["await"] == 1


def test_the_deferred_timeout_names_the_job(emulator: Emulator) -> None:
    request_id = submitted(SLOW)
    ran = run(request_id, timeout=0.3, **MODES["deferrable"])
    assert request_id in str(ran.errors["await"])
    assert "can still be fetched" in str(ran.errors["await"])


@pytest.mark.parametrize("model_id", [FAST, SHORT])
@pytest.mark.parametrize("kind", ["fail", "401"])
@pytest.mark.parametrize("mode", [MODES["deferrable"], MODES["poke"]], ids=["deferrable", "poke"])
def test_soft_fail_means_in_each_mode_what_it_means_in_airflow(
    kind: str, model_id: str, mode: dict[str, Any], emulator: Emulator
) -> None:
    """A sensor that fails for good is skipped, whether it fails before its deferral or after."""
    emulator.add_fault(Fault("fail") if kind == "fail" else Fault("answer", on="get", status=401, times=None))
    ran = run(submitted(model_id), soft_fail=True, retries=2, **mode)
    assert (ran.states["await"], ran.tries["await"]) == ("skipped", 1)


def test_a_look_that_gets_no_answer_says_nothing_about_the_job(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In poke mode the next look comes after ``poke_interval``; the sensor's own timeout bounds how many may fail."""
    monkeypatch.setattr("airflow_provider_falinvoke.sensors.falinvoke.NOT_FOUND_GRACE", 0.0)
    for fault in (Fault("answer", on="get", status=503), Fault("drop", on="get"), Fault("html", on="get")):
        emulator.add_fault(fault)
    emulator.add_fault(Fault("answer", on="get", status=429))
    ran = run(submitted(), **MODES["poke"])
    assert ran.state == "success", ran.errors
    assert len(emulator.gets()) == 5


def test_a_result_that_is_too_large_fails_for_good_and_names_the_limit(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each later look would meet the same."""
    request_id = submitted()
    monkeypatch.setattr("airflow_provider_falinvoke.api.clients.Client.exchange", _too_large)
    ran = run(request_id, retries=2, **MODES["poke"])
    assert isinstance(ran.errors["await"], AirflowFailException)
    assert "max_reply_size" in str(ran.errors)
    assert request_id in str(ran.errors)


def _too_large(client: object, step: object, clock: Callable[[], float]) -> Failure:
    return Failure("the reply is larger than 1 byte; raise max_reply_size", True, clock(), lasting=True, oversized=True)


def test_a_wrong_key_fails_for_good(mode: dict[str, Any], emulator: Emulator) -> None:
    emulator.add_fault(Fault("answer", on="get", status=401, times=None))
    ran = run(submitted(), retries=2, **mode)
    assert isinstance(ran.errors["await"], AirflowFailException)
    assert len(emulator.gets()) == 1


class TestWhereAirflowEndedTheWait:
    """No triggerer ran in time, or the trigger died; the job may have ended all the same."""

    @staticmethod
    def resumed(request_id: str, error: str, **changes: Any) -> Any:
        sensor = FalInvokeSensor(task_id="await", request_id=request_id, **changes)
        return sensor.resume_execution("__fail__", {"error": error}, cast("Any", Context()))

    @pytest.mark.parametrize("policy", [{}, {"soft_fail": True}, {"never_fail": True}], ids=str)
    @pytest.mark.parametrize("error", ["Trigger timeout", "Trigger failure"])
    def test_a_job_that_is_completed_is_a_result_whatever_the_policy(
        self, error: str, policy: dict[str, bool], emulator: Emulator, tmp_path: Path
    ) -> None:
        request_id = submitted()
        result = self.resumed(request_id, error, output_path=tmp_path.as_uri(), **policy)
        assert (result["request_id"], len(result["files"])) == (request_id, 1)

    @pytest.mark.parametrize("policy", ["soft_fail", "never_fail"])
    @pytest.mark.parametrize("error", ["Trigger timeout", "Trigger failure"])
    def test_one_that_is_pending_or_failed_is_skipped_where_the_policy_says_so(
        self, error: str, policy: str, emulator: Emulator
    ) -> None:
        pending = submitted(SLOW)
        emulator.add_fault(Fault("fail"))
        for request_id in (pending, submitted()):
            with pytest.raises(AirflowSkipException):
                self.resumed(request_id, error, **{policy: True})
        assert len(emulator.gets()) == 2, "each was looked at first"

    @pytest.mark.parametrize(
        ("error", "raised"), [("Trigger timeout", AirflowSensorTimeout), ("Trigger failure", TaskDeferralError)]
    )
    def test_without_one_a_pending_job_fails_for_good_if_its_time_is_up_and_is_awaited_again_if_the_trigger_died(
        self, error: str, raised: type[Exception], emulator: Emulator
    ) -> None:
        request_id = submitted(SLOW)
        with pytest.raises(raised, match=request_id):
            self.resumed(request_id, error)

    def test_a_job_that_failed_fails_for_good(self, emulator: Emulator) -> None:
        emulator.add_fault(Fault("fail"))
        with pytest.raises(AirflowFailException, match="could not process the input"):
            self.resumed(submitted(), "Trigger failure")


def test_a_mode_of_the_dags_default_args_is_honoured() -> None:
    with DAG("of_default_args", schedule=None, default_args={"mode": "reschedule"}):
        sensor = FalInvokeSensor(task_id="await", request_id="r")
        deferrable = FalInvokeSensor(task_id="defer", request_id="r", deferrable=True)
    assert (sensor.mode, sensor.deferrable, deferrable.deferrable) == ("reschedule", False, True)


def test_deferrable_is_the_default_unless_a_mode_is_given() -> None:
    assert FalInvokeSensor(task_id="a", request_id="r").deferrable
    assert not FalInvokeSensor(task_id="b", request_id="r", mode="poke").deferrable
    assert FalInvokeSensor(task_id="c", request_id="r", mode="reschedule", deferrable=True).deferrable


@pytest.mark.usefixtures("one_look_too_early")
def test_every_template_field_is_rendered(emulator: Emulator, tmp_path: Path) -> None:
    request_id = submitted(SHORT)
    ran = run(
        "{{ '" + request_id + "' }}",
        fal_conn_id="{{ 'falinvoke_default' }}",
        output_path=tmp_path.as_uri() + "/{{ 'sub' }}",
        file_name="{{ 'made' }}-{number}{extension}",
        max_file_size="{{ 10 ** 6 }}",
        download_timeout="{{ 60 }}",
        max_files="{{ 3 }}",
        max_total_size="{{ 10 ** 7 }}",
        save_timeout="{{ 600 }}",
        poll_interval="{{ 0.05 }}",
        max_poll_interval="{{ 1 }}",
    )
    assert ran.state == "success", ran.errors
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["made-1.png"]
    assert ran.deferred[0]["poll_interval"] == 0.05


def test_an_operator_without_waiting_feeds_a_sensor(emulator: Emulator) -> None:
    from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator

    def build() -> None:
        submit = FalInvokeOperator(task_id="submit", model_id=SHORT, input={"prompt": "x"}, wait_for_completion=False)
        FalInvokeSensor(task_id="await", request_id=submit.output, poll_interval=0.05)

    ran = run_tasks(build)
    assert ran.state == "success", ran.errors
    assert ran.results["submit"] == ran.results["await"]["request_id"]
    assert len(emulator.posts()) == 1


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (exceptions.FalInvokeTimeoutError("late", request_id="r"), AirflowSensorTimeout),
        (exceptions.FalInvokeJobFailedError("failed", request_id="r"), AirflowFailException),
        (exceptions.FalInvokeAuthError("no", request_id="r"), AirflowFailException),
        (exceptions.FalInvokeUnreachableError("away", request_id="r"), exceptions.FalInvokeUnreachableError),
    ],
)
def test_the_triggers_error_becomes_the_sensors(
    error: exceptions.FalInvokeError, raised: type[Exception], emulator: Emulator
) -> None:
    sensor = FalInvokeSensor(task_id="a", request_id="r")
    with pytest.raises(raised, match="r"):
        sensor.execute_complete({}, failed_event("r", error))


@pytest.mark.parametrize("event", [None, {}, [], "x", {"status": "exploded"}])
def test_an_event_that_cannot_be_read_names_the_job(event: Any) -> None:
    sensor = FalInvokeSensor(task_id="a", request_id="the-id")
    with pytest.raises(exceptions.FalInvokeError, match="the-id"):
        sensor.execute_complete({}, event)


@pytest.mark.usefixtures("one_look_too_early")
def test_the_deadline_is_the_timeout_from_the_first_look_on(emulator: Emulator) -> None:
    request_id = submitted(SHORT)
    before = time.time()
    ran = run(request_id, timeout=60, **MODES["deferrable"])
    (arguments,) = ran.deferred
    assert before + 59 < arguments["deadline"] <= time.time() + 60
