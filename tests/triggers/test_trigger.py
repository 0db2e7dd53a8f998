"""The trigger: on a real socket, on a loop that is watched, to one event."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_falinvoke import exceptions
from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus
from airflow_provider_falinvoke.emulator import Emulator, Fault
from airflow_provider_falinvoke.emulator.faults import FAILURES
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.triggers import falinvoke as module
from airflow_provider_falinvoke.triggers.falinvoke import FalInvokeTrigger, read_event, story_of
from tests.support.loop_watch import run_watched

if TYPE_CHECKING:
    from airflow.sdk.serde import deserialize, serialize
else:
    try:
        from airflow.sdk.serde import deserialize, serialize
    except ImportError:  # Airflow 3.1
        from airflow.serialization.serde import deserialize, serialize

FAST, SLOW, SHORT = "fal-ai/flux/schnell", "fal-ai/flux/slow", "fal-ai/fast-sdxl"


def submitted(model_id: str = FAST, **fields: Any) -> str:
    request_id = FalInvokeHook().submit(model_id, {"prompt": "a fox", **fields}).request_id
    assert request_id is not None
    return request_id


def trigger(request_id: str, *, wait: float = 30.0, **changes: Any) -> FalInvokeTrigger:
    now = time.time()
    given: dict[str, Any] = {"submitted_at": now, "deadline": now + wait, "poll_interval": 0.05, **changes}
    return FalInvokeTrigger(fal_conn_id="falinvoke_default", request_id=request_id, **given)


async def events_of(one: FalInvokeTrigger) -> list[Any]:
    """Return the payloads, having gone through what Airflow does to them on their way to the worker."""
    return [deserialize(serialize(event.payload)) async for event in one.run()]


def event_of(one: FalInvokeTrigger) -> Any:
    (event,) = run_watched(events_of(one))
    assert json.loads(json.dumps(event)) == event
    return event


def test_serialize_says_everything_and_nothing_secret(emulator: Emulator) -> None:
    """Airflow imports the class path, and the keyword arguments travel through its serde and its database."""
    made = FalInvokeTrigger(
        fal_conn_id="c", request_id="r", submitted_at=1.5, deadline=2.5, first_look_at=1.75, poll_interval=3.0
    )
    path, arguments = made.serialize()
    assert path == "airflow_provider_falinvoke.triggers.falinvoke.FalInvokeTrigger"
    travelled: Any = deserialize(json.loads(json.dumps(serialize(arguments))))
    again = FalInvokeTrigger(**travelled)
    assert again.serialize() == (path, arguments)
    assert set(arguments) == {
        "fal_conn_id",
        "request_id",
        "submitted_at",
        "deadline",
        "first_look_at",
        "poll_interval",
        "max_poll_interval",
        "model_id",
    }
    assert emulator.api_key not in json.dumps(arguments)


def test_a_trigger_of_another_class_names_itself() -> None:
    class Mine(FalInvokeTrigger):
        pass

    assert Mine(fal_conn_id="c", request_id="r", submitted_at=0, deadline=1).serialize()[0].endswith("Mine")


def test_a_completed_job_is_one_event_with_the_result(emulator: Emulator) -> None:
    request_id = submitted(SHORT)
    event = event_of(trigger(request_id))
    assert (event["status"], event["request_id"]) == ("completed", request_id)
    invocation = read_event(event, FalInvokeHook())
    assert invocation.status is InvocationStatus.COMPLETED
    ends_at = emulator.jobs[request_id].ends_at
    assert len([poll for poll in emulator.gets() if poll.at >= ends_at]) == 1
    assert len(emulator.posts()) == 1


@pytest.mark.parametrize("shape", FAILURES)
def test_a_failed_job_says_why_in_every_shape(shape: str, emulator: Emulator) -> None:
    emulator.add_fault(Fault("fail", value=shape))
    request_id = submitted()
    event = event_of(trigger(request_id))
    with pytest.raises(exceptions.FalInvokeJobFailedError) as caught:
        read_event(event, FalInvokeHook())
    assert caught.value.request_id == request_id
    said = {"detail_list": "prompt: field required", "null": "the API gave no reason"}
    assert said.get(shape, "could not process the input") in str(caught.value)


def test_a_job_that_takes_too_long_is_named_and_can_be_fetched(emulator: Emulator) -> None:
    request_id = submitted(SLOW)
    event = event_of(trigger(request_id, wait=0.2))
    with pytest.raises(exceptions.FalInvokeTimeoutError, match=request_id):
        read_event(event, FalInvokeHook())


def test_a_deadline_that_is_over_is_looked_at_once(emulator: Emulator) -> None:
    """A triggerer that was down finds the job done, instead of timing out on it."""
    assert event_of(trigger(submitted(), wait=-100))["status"] == "completed"
    assert len(emulator.gets()) == 1
    event = event_of(trigger(submitted(SLOW), wait=-100))
    assert event["error"]["type"] == "FalInvokeTimeoutError"
    assert len(emulator.gets()) == 2


def test_it_does_not_look_before_it_may(emulator: Emulator) -> None:
    request_id = submitted()
    first_look_at = time.time() + 0.4
    event_of(trigger(request_id, first_look_at=first_look_at))
    assert emulator.gets()[0].at >= first_look_at


@pytest.mark.parametrize(
    ("status", "kind"), [(401, "FalInvokeAuthError"), (403, "FalInvokeAuthError"), (400, "FalInvokeAPIError")]
)
def test_a_refusal_ends_the_wait_at_once(status: int, kind: str, emulator: Emulator) -> None:
    request_id = submitted(SLOW)
    emulator.add_fault(Fault("answer", status=status, times=None))
    event = event_of(trigger(request_id))
    assert (event["status"], event["error"]["type"]) == ("failed", kind)
    assert event["error"]["request_id"] == request_id
    assert len(emulator.gets()) == 1


def test_an_unknown_id_ends_the_wait_once_the_job_is_old_enough(emulator: Emulator) -> None:
    event = event_of(trigger("nobody", submitted_at=time.time() - 60))
    assert event["error"]["type"] == "FalInvokeNotFoundError"
    assert len(emulator.gets()) == 1


def test_a_404_just_after_the_submit_is_no_answer(emulator: Emulator) -> None:
    emulator.add_fault(Fault("not_yet", on="post", seconds=0.3))
    assert event_of(trigger(submitted()))["status"] == "completed"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("answer", on="get", status=503, times=2),
        Fault("drop", on="get"),
        Fault("drop", on="get", value="reset"),
        Fault("html", on="get", status=200),
        Fault("html", on="get", status=502),
        Fault("cut", on="get"),
        Fault("answer", on="get", status=429, seconds=0.2),
        Fault("answer", on="get", status=200, body=""),
        Fault("unknown_status", on="get"),
        Fault("slow", on="get", seconds=0.3),
        Fault("spelling", on="get", value="complete", times=None),
        Fault("omit", on="get", value="request_id", times=None),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status or fault.value or ''}",
)
def test_what_passes_does_not_end_the_wait(fault: Fault, emulator: Emulator) -> None:
    emulator.add_fault(fault)
    request_id = submitted()
    event = event_of(trigger(request_id))
    assert (event["status"], event["request_id"]) == ("completed", request_id)
    assert event["invocation"]["request_id"] == request_id


def test_a_result_too_large_for_an_event_is_fetched_again_by_the_worker(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = submitted(sync_mode=True, num_images=2)
    event = event_of(trigger(request_id))
    assert (event["status"], event["request_id"], event["invocation"]) == ("completed", request_id, None)
    invocation = read_event(event, FalInvokeHook())
    assert invocation.output["images"][0]["url"].startswith("data:image/png;base64,")


def test_an_event_tells_the_worker_what_happened_meanwhile(emulator: Emulator) -> None:
    """The triggerer's own log is another file, and on another machine."""
    request_id = submitted(SHORT)
    event = event_of(trigger(request_id, model_id=SHORT))
    assert (event["model_id"], event["looks"]) == (SHORT, len(emulator.gets()))
    assert story_of(event) == (
        f"Resumed: the job {request_id} of {SHORT} is completed {event['waited']} s after its submit; "
        f"the triggerer looked {event['looks']} times"
    )


@pytest.mark.parametrize("event", [None, {}, {"status": "strange"}, {"status": "failed", "looks": None}])
def test_the_story_of_an_event_of_another_version_names_the_job(event: Any) -> None:
    assert story_of(event, "r-1") == "Resumed: the wait for the job r-1 ended without its result"


def test_state_changes_are_logged_and_polls_are_not(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="airflow_provider_falinvoke")
    request_id = submitted(SHORT)
    caplog.clear()
    event_of(trigger(request_id, poll_interval=0.02))
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("airflow_provider_falinvoke")]
    assert 1 <= len(lines) <= 3
    assert len(emulator.gets()) > len(lines)
    assert f"Invocation {request_id} is COMPLETED" in lines[-1]


def test_it_never_submits(emulator: Emulator) -> None:
    request_id = submitted(SHORT)
    one = trigger(request_id)
    event_of(one)
    event_of(FalInvokeTrigger(**one.serialize()[1]))
    assert len(emulator.posts()) == 1


def test_a_cancelled_trigger_leaves_nothing_open(emulator: Emulator) -> None:
    """Airflow cancels a trigger whose task was cleared; an open client would be a ResourceWarning, thus an error."""
    request_id = submitted(SLOW)

    async def cancel() -> None:
        task = asyncio.ensure_future(events_of(trigger(request_id)))
        while not emulator.gets():  # noqa: ASYNC110 - the emulator runs in another thread
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others

    run_watched(cancel())
    gc.collect()
    polls = len(emulator.gets())
    time.sleep(0.15)
    assert len(emulator.gets()) == polls


def test_several_triggers_share_a_loop(emulator: Emulator) -> None:
    ids = [submitted(SHORT) for _ in range(8)]

    async def all_of_them() -> list[list[Any]]:
        return await asyncio.gather(*(events_of(trigger(one)) for one in ids))

    started = time.monotonic()
    events = run_watched(all_of_them())
    assert [event["request_id"] for (event,) in events] == ids
    assert all(event["status"] == "completed" for (event,) in events)
    assert time.monotonic() - started < 3


def test_one_loop_after_the_other_works(emulator: Emulator) -> None:
    """``dag.test()`` runs each trigger on a new loop; nothing may be kept from the last one."""
    for _ in range(3):
        assert event_of(trigger(submitted()))["status"] == "completed"


def test_a_dropped_connection_to_a_stopped_host_ends_in_a_timeout(emulator: Emulator) -> None:
    request_id = submitted(SLOW)
    emulator.stop()
    one = trigger(request_id, submitted_at=time.time() - 60, wait=-9.7)
    event = event_of(one)
    assert event["error"]["type"] == "FalInvokeTimeoutError"
    assert "could not be read" in event["error"]["message"]


def test_a_wrong_connection_is_an_event_that_names_it(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FALINVOKE_DEFAULT", '{"conn_type": "falinvoke"}')
    with pytest.raises(exceptions.FalInvokeConfigError, match="key is missing"):
        read_event(event_of(trigger("some-id")), FalInvokeHook())


def test_an_error_of_another_kind_is_airflows_to_report(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(FalInvokeHook, "async_wait", broken)
    with pytest.raises(ZeroDivisionError):
        run_watched(events_of(trigger("x")))


def failed(**fields: Any) -> dict[str, Any]:
    return {"status": "failed", "request_id": "the-id", **fields}


@pytest.mark.parametrize(
    "event",
    [
        None,
        {},
        [],
        "x",
        0,
        {"status": "exploded"},
        {"status": "completed", "request_id": "the-id", "invocation": "garbage"},
        {"status": "completed", "request_id": "the-id", "invocation": {"status": "NO_SUCH"}},
        {"status": "completed", "request_id": "the-id", "invocation": []},
        failed(),
        failed(error="words"),
        failed(error={}),
        failed(error={"type": "NoSuchError", "message": "m"}),
        failed(error={"type": "FalInvokeJobFailedError"}),
        {"status": "failed", "error": {"type": "FalInvokeAuthError", "message": "m"}},
        {"status": "completed", "request_id": ["the-id"], "invocation": {}},
        {"status": ["completed"], "request_id": "the-id"},
    ],
    ids=str,
)
def test_an_event_that_cannot_be_read_is_an_error_that_names_the_job(event: Any) -> None:
    """An event may come from another version; the job behind it is paid."""
    with pytest.raises(exceptions.FalInvokeError) as caught:
        read_event(event, FalInvokeHook(), "the-id")
    assert "the-id" in str(caught.value)
    assert caught.value.request_id == "the-id"


def test_an_event_that_cannot_be_read_and_no_known_job_is_still_our_error() -> None:
    with pytest.raises(exceptions.FalInvokeError, match="cannot read"):
        read_event(None, FalInvokeHook())


def test_a_completed_event_without_an_invocation_is_fetched(emulator: Emulator) -> None:
    request_id = submitted()
    for event in ({"status": "completed", "request_id": request_id}, {"status": "completed"}):
        assert read_event(event, FalInvokeHook(), request_id).request_id == request_id
    with pytest.raises(exceptions.FalInvokeError, match="cannot read"):
        read_event({"status": "completed"}, FalInvokeHook())


def test_every_error_survives_the_way_to_the_worker() -> None:
    for kind in vars(exceptions).values():
        if isinstance(kind, type) and issubclass(kind, exceptions.FalInvokeError):
            error = kind("what happened", request_id="the-id", status_code=418)
            event = module.failed_event("the-id", error)
            with pytest.raises(kind) as caught:
                read_event(json.loads(json.dumps(event)), FalInvokeHook())
            assert type(caught.value) is kind
            assert vars(caught.value) == vars(error)


def test_the_size_limit_counts_the_bytes_of_the_stored_event(emulator: Emulator) -> None:
    invocation = FalInvokeHook().get(submitted())
    large = invocation.model_copy(update={"output": {"text": "ü" * module.MAX_EVENT_BYTES}})
    assert module.completed_event("x", large)["invocation"] is None
    assert module.completed_event("x", invocation)["invocation"] is not None


def test_a_port_that_nobody_listens_on_is_asked_again(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API comes back while the trigger waits."""
    request_id = submitted()
    emulator.stop()

    async def comes_back() -> list[Any]:
        task = asyncio.ensure_future(events_of(trigger(request_id)))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(emulator.start)
        return await task

    (event,) = run_watched(comes_back())
    assert event["status"] == "completed"


def test_a_connection_that_the_triggerer_cannot_read_is_an_error_that_names_the_job(emulator: Emulator) -> None:
    """Nor does it come sooner than a result may."""
    started = time.time()
    one = FalInvokeTrigger(
        fal_conn_id="only_on_workers",
        request_id="job-1",
        submitted_at=started,
        deadline=started + 60,
        first_look_at=started + 0.3,
    )
    (event,) = run_watched(events_of(one))
    assert time.time() >= started + 0.3
    with pytest.raises(exceptions.FalInvokeUnreachableError, match=r"only_on_workers.*job-1.*FalInvokeSensor"):
        read_event(event, FalInvokeHook())
    assert emulator.requests == []


def test_an_output_nested_too_deeply_for_an_event_is_left_to_the_worker() -> None:
    output: Any = "x"
    for _ in range(600):
        output = [output]
    invocation = Invocation(request_id="job-1", status=InvocationStatus.COMPLETED, output=output)
    assert module.completed_event("job-1", invocation)["invocation"] is None


def test_a_log_that_is_not_read_does_not_stop_the_loop(emulator: Emulator) -> None:
    """A triggerer's supervisor reads no line of the log before its own message has been read, by that very loop."""
    read, waited = threading.Event(), []

    class Unread(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            waited.append(read.wait(2.0))

    one = trigger(submitted(SLOW), wait=60.0)

    async def main() -> None:
        running = asyncio.ensure_future(events_of(one))
        await asyncio.sleep(0.1)
        read.set()  # now it looks
        await asyncio.sleep(0.5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    package, handler = logging.getLogger("airflow_provider_falinvoke"), Unread(logging.INFO)
    package.addHandler(handler)
    try:
        asyncio.run(main())
    finally:
        package.removeHandler(handler)
    assert emulator.requests[-1].route == "get"
    assert waited == [True], "a line was written on the event loop, and waited for what only the loop could bring about"


def test_no_line_of_a_wait_is_written_on_the_event_loop(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """Nor those that a triggerer writes which finds a thousand jobs ended when it starts, or the API away."""
    caplog.set_level(logging.INFO)
    emulator.add_fault(Fault("answer", on="poll", status=503))
    one = trigger(submitted(FAST), wait=60.0)

    async def main() -> int:
        await events_of(one)
        await one.on_kill()
        return threading.get_ident()

    caplog.clear()
    loop = asyncio.run(main())
    lines = [record for record in caplog.records if record.name.startswith("airflow_provider_falinvoke")]
    assert len(lines) >= 4, [line.getMessage() for line in lines]
    assert [line.getMessage() for line in lines if line.thread == loop] == []


def test_a_job_that_is_still_pending_at_the_first_look_is_no_line_of_the_log(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a thousand lines at once where a triggerer takes up a thousand jobs, and tells nothing new."""
    one = trigger(submitted(SLOW), wait=0.5)
    caplog.clear()
    caplog.set_level(logging.INFO)
    event_of(one)
    assert [record.getMessage() for record in caplog.records if "Invocation" in record.getMessage()] == []
