"""Waiting for some of many jobs: what an answer means is pure, the rest runs on a socket with the loop watched."""

from __future__ import annotations

import time
from typing import Any

import pytest

from airflow_provider_falinvoke._compat import AirflowException
from airflow_provider_falinvoke.api.account import Account
from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus
from airflow_provider_falinvoke.api.outcomes import Reply
from airflow_provider_falinvoke.api.schedule import PollSchedule
from airflow_provider_falinvoke.batch import waiting
from airflow_provider_falinvoke.batch.waiting import Ended, Job, Wait, Waited, first_look, judged
from airflow_provider_falinvoke.emulator import Emulator, Fault
from airflow_provider_falinvoke.exceptions import (
    FalInvokeAuthError,
    FalInvokeNotFoundError,
    FalInvokeRateLimitError,
    FalInvokeTimeoutError,
    FalInvokeUnreachableError,
)
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from tests.support.loop_watch import run_watched

EVERY_SECOND = PollSchedule(initial=1.0, growth=0.0, maximum=1.0, jitter=0.0)
QUICK = PollSchedule(initial=0.05, growth=0.0, maximum=0.05, jitter=0.0)
FAST, SLOW = "fal-ai/fast-sdxl", "fal-ai/flux/slow"


def judgement(answer: Any, *, asked_at: float = 20.0, failures: int = 0) -> Ended | Job:
    job = Job("r", submitted_at=10.0, deadline=100.0, look_at=asked_at)
    now = asked_at + 0.5
    return judged(job, answer, asked_at=asked_at, now=now, schedule=EVERY_SECOND, failures=failures, account=Account())


def invocation(status: InvocationStatus, **fields: Any) -> Invocation:
    return Invocation(request_id="r", status=status, **fields)


@pytest.mark.parametrize("status", [InvocationStatus.COMPLETED, InvocationStatus.FAILED])
def test_an_invocation_that_ended_is_the_end(status: InvocationStatus) -> None:
    assert judgement(invocation(status)) == Ended("r", invocation(status))
    assert judgement(invocation(status), asked_at=500.0) == Ended("r", invocation(status)), "also past the deadline"


@pytest.mark.parametrize("status", [InvocationStatus.QUEUED, InvocationStatus.IN_PROGRESS, InvocationStatus.UNKNOWN])
def test_a_pending_job_is_looked_at_again_and_once_at_its_deadline(status: InvocationStatus) -> None:
    again = judgement(invocation(status))
    assert isinstance(again, Job)
    assert again.look_at == 21.5
    last = judgement(invocation(status), asked_at=99.0)
    assert isinstance(last, Job)
    assert last.look_at == 100.0
    late = judgement(invocation(status, raw_status="BREWING"), asked_at=100.0)
    assert isinstance(late, Ended)
    assert isinstance(late.error, FalInvokeTimeoutError)
    assert "BREWING 90 s after the submit" in str(late.error)
    assert late.error.request_id == "r"


@pytest.mark.parametrize("kind", [FalInvokeUnreachableError, FalInvokeRateLimitError])
def test_an_answer_that_could_not_be_had_is_no_end_until_the_deadline(kind: type[Exception]) -> None:
    again = judgement(kind("away"), failures=1)
    assert isinstance(again, Job)
    assert again.look_at >= 21.5
    much_later = judgement(kind("away"), failures=12)
    assert isinstance(much_later, Job)
    assert much_later.look_at > 45.0, "an API that is away is not asked by every job every second"
    late = judgement(kind("away"), asked_at=100.0, failures=1)
    assert isinstance(late, Ended)
    assert isinstance(late.error, FalInvokeTimeoutError)


def test_a_refusal_is_the_end_of_the_wait_for_this_job() -> None:
    error = FalInvokeNotFoundError("404", request_id="r")
    assert judgement(error) == Ended("r", error=error)


def account(durations: list[float], *, scarce: bool = False) -> Account:
    """Return what is known after jobs that took so long, and a reply that says whether requests are scarce."""
    made = Account()
    for seconds in durations:
        made.durations.add(FAST, seconds)
    if scarce:
        headers = {"ratelimit-limit": "250", "ratelimit-remaining": "0", "ratelimit-reset": "600", "retry-after": "600"}
        made.gate.hear(Reply(429, headers, b"", 10.0))
        assert made.gate.is_scarce(16.0)
    return made


KNOWN = [20.0] * 40


@pytest.mark.parametrize(
    ("soonest", "known", "expected"),
    [
        (16.0, [], 16.0),  # nothing is known: as soon as it makes sense
        (16.0, [2.0] * 40, 16.0),  # it most likely ended by now
        (500.0, KNOWN, 500.0),
    ],
)
def test_a_job_that_most_likely_ended_is_looked_at_at_once(soonest: float, known: list[float], expected: float) -> None:
    assert first_look(Job("r", 10.0, 100.0, 0.0), soonest, PollSchedule(), account(known), FAST) == expected


def test_a_job_that_most_likely_runs_is_looked_at_when_it_most_likely_ended() -> None:
    assert 29.0 < first_look(Job("r", 10.0, 100.0, 0.0), 16.0, PollSchedule(), account(KNOWN), FAST) < 32.0


def test_a_job_that_an_earlier_wait_has_looked_at_keeps_its_time() -> None:
    for known in (account(KNOWN), account([], scarce=True)):
        assert first_look(Job("r", 10.0, 100.0, 40.0), 16.0, PollSchedule(), known, FAST) == 40.0
        assert first_look(Job("r", 10.0, 100.0, 12.0), 16.0, PollSchedule(), known, FAST) == 16.0


def test_where_requests_are_scarce_a_batch_polls_as_rarely_as_a_single_job() -> None:
    steady, job = PollSchedule(jitter=0.0), Job("r", 10.0, 1000.0, 0.0)
    scarce = account([], scarce=True)
    assert first_look(job, 16.0, steady, scarce, FAST) == scarce.look_at(steady, FAST, 10.0, 16.0) == 16.0 + 5 * 1.7
    for known, factor in ((scarce, 5), (account([]), 1)):
        again = judged(
            job,
            invocation(InvocationStatus.IN_PROGRESS),
            asked_at=20.0,
            now=20.0,
            schedule=steady,
            failures=0,
            account=known,
        )
        assert isinstance(again, Job)
        assert again.look_at == 20.0 + factor * 2.5


def test_what_is_known_of_a_models_jobs_says_when_to_look_again() -> None:
    again = judged(
        Job("r", 10.0, 1000.0, 0.0),
        invocation(InvocationStatus.IN_PROGRESS, model_id=FAST),
        asked_at=12.5,
        now=12.5,
        schedule=PollSchedule(),
        failures=0,
        account=account(KNOWN),
    )
    assert isinstance(again, Job)
    assert 29.0 < again.look_at < 32.0


def submitted(hook: FalInvokeHook, count: int, model_id: str = FAST, **fields: Any) -> list[Job]:
    jobs = []
    for number in range(count):
        small = {"prompt": str(number), "image_size": {"width": 64, "height": 64}, **fields}
        request_id = hook.submit(model_id, small).request_id
        assert request_id is not None
        now = time.time()
        jobs.append(Job(request_id, now, now + 60, now))
    return jobs


def wait(jobs: list[Job], **options: Any) -> Waited:
    return run_watched(Wait(FalInvokeHook(), jobs, **{"schedule": QUICK, **options}).run())


def test_all_jobs_are_waited_for_and_the_event_loop_is_never_blocked(emulator: Emulator) -> None:
    jobs = submitted(FalInvokeHook(), 40)
    waited = wait(jobs)
    assert {one.request_id for one in waited.ended} == {job.request_id for job in jobs}
    assert all(one.invocation and one.invocation.status is InvocationStatus.COMPLETED for one in waited.ended)
    assert waited.looks == {}
    assert len(emulator.posts()) == 40, "it never submits"


def test_jobs_that_ended_meanwhile_take_one_request_each(emulator: Emulator) -> None:
    """The floor: one POST and one GET a job."""
    jobs = submitted(FalInvokeHook(), 30)
    time.sleep(max(0.0, jobs[-1].submitted_at + 0.35 - time.time()))
    wait(jobs)
    assert len(emulator.gets()) == 30


def test_no_look_is_wasted_before_the_wait_may_end(emulator: Emulator) -> None:
    jobs = submitted(FalInvokeHook(), 3)
    not_before = time.time() + 0.8
    wait(jobs, not_before=not_before)
    assert len(emulator.gets()) == 3
    assert all(get.at >= not_before - 0.01 for get in emulator.gets())
    assert time.time() >= not_before


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_wall_clock_that_steps_an_hour_stops_no_poll(
    step: float, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, jobs = time.time, submitted(FalInvokeHook(), 3)
    poll = FalInvokeHook.async_get

    async def stepping(self: FalInvokeHook, request_id: str, **options: Any) -> Invocation:
        monkeypatch.setattr(time, "time", lambda: wall() + step)
        return await poll(self, request_id, **options)

    monkeypatch.setattr(FalInvokeHook, "async_get", stepping)
    waited = wait(jobs)
    assert [one.error for one in waited.ended] == [None] * 3


def test_half_of_the_jobs_end_the_wait_while_more_items_wait(emulator: Emulator) -> None:
    hook = FalInvokeHook()
    fast, slow = submitted(hook, 3), submitted(hook, 3, SLOW)
    waited = wait([*fast, *slow], more=True)
    assert {one.request_id for one in waited.ended} == {job.request_id for job in fast}
    assert set(waited.looks) == {job.request_id for job in slow}
    assert all(at > time.time() - 1 for at in waited.looks.values())


def test_a_wait_with_nothing_in_flight_ends_when_the_next_submit_is_due() -> None:
    until = time.time() + 0.2
    assert wait([], until=until) == Waited()
    assert time.time() >= until


def test_a_wait_ends_when_the_next_submit_is_due_though_nothing_ended(emulator: Emulator) -> None:
    jobs = submitted(FalInvokeHook(), 2, SLOW)
    waited = wait(jobs, more=True, until=time.time() + 0.3)
    assert waited.ended == []
    assert set(waited.looks) == {job.request_id for job in jobs}


def test_failed_and_unknown_jobs_and_those_past_their_deadline_end_each_for_itself(emulator: Emulator) -> None:
    hook = FalInvokeHook()
    emulator.add_fault(Fault("fail", on="post", times=1))
    failed, fine = submitted(hook, 2)
    (late,) = submitted(hook, 1, SLOW)
    late = late._replace(deadline=time.time() + 0.2)
    unknown = Job("6590784a-ce47-4556-9ff4-53baff2693fb", 0.0, time.time() + 60, 0.0)
    ended = {one.request_id: one for one in wait([failed, fine, late, unknown]).ended}
    assert ended[failed.request_id].invocation.status is InvocationStatus.FAILED  # type: ignore[union-attr]  # an error would fail here
    assert ended[fine.request_id].invocation.status is InvocationStatus.COMPLETED  # type: ignore[union-attr]  # an error would fail here
    assert isinstance(ended[late.request_id].error, FalInvokeTimeoutError)
    assert isinstance(ended[unknown.request_id].error, FalInvokeNotFoundError)


def test_an_api_that_stumbles_is_asked_again(emulator: Emulator) -> None:
    jobs = submitted(FalInvokeHook(), 2)
    emulator.add_fault(Fault("answer", on="get", status=503, times=3))
    emulator.add_fault(Fault("drop", on="get", times=2))
    assert len(wait(jobs).ended) == 2


def test_a_key_that_is_refused_ends_the_wait_for_all(emulator: Emulator) -> None:
    jobs = submitted(FalInvokeHook(), 3, SLOW)
    emulator.add_fault(Fault("answer", on="get", status=401, times=None))
    waited = wait(jobs)
    assert isinstance(waited.error, FalInvokeAuthError)
    assert (waited.ended, set(waited.looks)) == ([], {job.request_id for job in jobs})


def test_a_connection_that_cannot_be_read_for_a_moment_is_asked_for_again(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = submitted(FalInvokeHook(), 2)
    failures: list[int] = []
    get = FalInvokeHook.async_get

    async def away_at_first(self: FalInvokeHook, *arguments: Any, **options: Any) -> Invocation:
        if len(failures) < 3:
            failures.append(1)
            raise AirflowException("The conn_id isn't defined")
        return await get(self, *arguments, **options)

    monkeypatch.setattr(FalInvokeHook, "async_get", away_at_first)
    monkeypatch.setattr(waiting, "backoff", lambda _: 0.0)
    waited = wait(jobs)
    assert (len(waited.ended), waited.error) == (2, None)


def test_a_connection_that_is_gone_ends_the_wait_for_all_and_a_retry_takes_the_jobs_up(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "CONNECTION_PATIENCE", 0.0)
    jobs = submitted(FalInvokeHook(), 1, SLOW)
    monkeypatch.delenv("AIRFLOW_CONN_FALINVOKE_DEFAULT")
    waited = run_watched(Wait(FalInvokeHook("nowhere"), jobs, schedule=QUICK).run())
    assert isinstance(waited.error, FalInvokeUnreachableError)
    assert "The connection 'nowhere' cannot be read" in str(waited.error)
    assert waited.error.may_pass
    assert set(waited.looks) == {jobs[0].request_id}


def test_a_large_invocation_is_left_for_the_worker_to_fetch(emulator: Emulator) -> None:
    hook = FalInvokeHook()
    large, small = submitted(hook, 1, sync_mode=True, image_size="square_hd"), submitted(hook, 1)
    emulator.add_fault(Fault("output_shape", on="get", value="data_uri", request_id=large[0].request_id, times=None))
    ended = {one.request_id: one for one in wait([*large, *small]).ended}
    assert ended[large[0].request_id] == Ended(large[0].request_id)
    assert ended[small[0].request_id].invocation is not None


def test_an_event_comes_early_rather_than_grow_too_large(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOKS_AT_ONCE", 1)
    monkeypatch.setattr(waiting, "MAX_INVOCATION_BYTES", 1_000)
    monkeypatch.setattr(waiting, "MAX_CARRIED_BYTES", 3_000)
    jobs = submitted(FalInvokeHook(), 10)
    time.sleep(max(0.0, jobs[-1].submitted_at + 0.35 - time.time()))
    waited = wait(jobs)
    assert 2 <= len(waited.ended) <= 5
    assert len(waited.looks) == 10 - len(waited.ended)


def test_an_event_never_exceeds_its_limit(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen answers may arrive at one moment."""
    monkeypatch.setattr(waiting, "MAX_CARRIED_BYTES", 2_000)
    monkeypatch.setattr(waiting, "MAX_INVOCATION_BYTES", 1_000)
    jobs = submitted(FalInvokeHook(), 12)
    time.sleep(max(0.0, jobs[-1].submitted_at + 0.35 - time.time()))
    waited = wait(jobs)
    carried = [one.invocation.model_dump_json() for one in waited.ended if one.invocation is not None]
    assert sum(map(len, carried)) <= 2_000
    assert carried
