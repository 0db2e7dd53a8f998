"""The batch's trigger: plain data in, one event of plain data out."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus
from airflow_provider_falinvoke.batch.waiting import Ended, Waited
from airflow_provider_falinvoke.emulator import Emulator
from airflow_provider_falinvoke.exceptions import FalInvokeAuthError, FalInvokeError, FalInvokeTimeoutError
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.triggers.batch import FalInvokeBatchTrigger, read_event, to_event
from tests.support.loop_watch import run_watched


def trigger(**changes: Any) -> FalInvokeBatchTrigger:
    given = {"fal_conn_id": "falinvoke_default", "jobs": [], "poll_interval": 0.05, "folder": "file:///f", **changes}
    return FalInvokeBatchTrigger(**given)


def first_event(of: FalInvokeBatchTrigger) -> Any:
    async def run() -> Any:
        return [event.payload async for event in of.run()]

    (payload,) = run_watched(run())
    return json.loads(json.dumps(payload))


def test_it_can_be_made_again_from_what_it_serializes() -> None:
    one = trigger(jobs=[["r-1", 1.04, 2.06, 3.0]], more=True, not_before=5.0, until=6.0, max_poll_interval=9.0)
    path, arguments = one.serialize()
    assert path == "airflow_provider_falinvoke.triggers.batch.FalInvokeBatchTrigger"
    assert arguments["jobs"] == [["r-1", 1.0, 2.1, 3.0]]
    assert json.loads(json.dumps(arguments)) == arguments
    assert FalInvokeBatchTrigger(**arguments).serialize() == (path, arguments)


def test_its_arguments_fit_into_mysql_with_as_many_jobs_as_there_may_be() -> None:
    """MySQL keeps them, encrypted, in a TEXT of 65,535 bytes."""
    from airflow.models.trigger import Trigger
    from cryptography.fernet import Fernet

    from airflow_provider_falinvoke.operators.waves import MOST_IN_FLIGHT

    now = time.time()
    jobs = [["6590784a-ce47-4556-9ff4-53baff2693fb", now, now + 3600, now + 30]] * MOST_IN_FLIGHT
    row = Trigger(*trigger(jobs=jobs, folder="s3://conn@bucket/" + "folder/" * 100).serialize())
    # Without a key, as in this test, Airflow does not encrypt; encrypted twice would only be longer.
    assert 20_000 < len(Fernet(Fernet.generate_key()).encrypt(row.encrypted_kwargs.encode())) < 65_535


def test_it_reports_what_ended_in_one_event(emulator: Emulator) -> None:
    hook, now = FalInvokeHook(), time.time()
    ids = [str(hook.submit("fal-ai/fast-sdxl", {"prompt": str(n)}).request_id) for n in range(5)]
    waited = read_event(first_event(trigger(jobs=[[one, now, now + 60, now] for one in ids])))
    assert {one.request_id for one in waited.ended} == set(ids)
    for one in waited.ended:
        assert one.invocation is not None
        assert one.invocation.request_id == one.request_id
        assert one.invocation.status is InvocationStatus.COMPLETED
        assert one.invocation.output["images"]
    assert len(emulator.posts()) == 5


def test_everything_that_came_of_a_wait_survives_the_way_to_the_worker() -> None:
    done = Invocation(request_id="a", status=InvocationStatus.COMPLETED, output={"images": []})
    waited = Waited(
        ended=[Ended("a", done), Ended("b"), Ended("c", error=FalInvokeTimeoutError("late", request_id="c"))],
        looks={"d": 12.3},
        error=FalInvokeAuthError("401", status_code=401),
    )
    found = read_event(json.loads(json.dumps(to_event(waited))))
    assert found.ended[:2] == waited.ended[:2]
    assert isinstance(found.ended[2].error, FalInvokeTimeoutError)
    assert found.looks == waited.looks
    assert isinstance(found.error, FalInvokeAuthError)


@pytest.mark.parametrize(
    "event",
    [None, {}, [], "text", 7, {"status": "unheard of"}, {"ended": 5, "looks": 7, "error": "x"}, {"ended": [{}]}],
)
def test_an_event_that_cannot_be_read_says_nothing(event: Any) -> None:
    """The journal knows the jobs; they are looked at again."""
    assert read_event(event) == Waited()


def test_an_ended_job_whose_invocation_cannot_be_read_is_fetched_again() -> None:
    event = {"ended": [{"request_id": "a", "invocation": {"status": []}}, {"request_id": "b", "error": {"type": "?"}}]}
    first, second = read_event(event).ended
    assert first == Ended("a")
    assert type(second.error) is FalInvokeError


def test_a_kill_is_said_to_leave_the_jobs_running(caplog: pytest.LogCaptureFixture) -> None:
    run_watched(trigger(jobs=[["r-1", 1.0, 2.0, 3.0]] * 7).on_kill())
    assert "7 jobs" in caplog.text
    assert "file:///f" in caplog.text
