"""An account in stepped time: processes that share a token, and know nothing of one another, against the emulator's
decisions."""

from __future__ import annotations

import dataclasses
import functools
import logging
import random
from typing import Any, NamedTuple

import pytest

from airflow_provider_falinvoke.api import protocol
from airflow_provider_falinvoke.api.account import Account, account_of, forget_accounts
from airflow_provider_falinvoke.api.endpoint import Endpoint
from airflow_provider_falinvoke.api.gate import gated
from airflow_provider_falinvoke.api.models import Invocation, InvokeRequest
from airflow_provider_falinvoke.api.outcomes import Call, Reply
from airflow_provider_falinvoke.api.schedule import BriefWait, PollSchedule
from tests.api.play import T0
from tests.support.simulation import START, Simulation

IMAGE, SPEECH = "fal-ai/flux/schnell", "fal-ai/elevenlabs/tts/multilingual-v2"
AUDIO = "fal-ai/stable-audio-25/text-to-audio"


class Found(NamedTuple):
    """A job that was found done.

    :param at: when, in seconds since the start.
    :param delay: seconds since its end.
    :param duration: seconds that it took.
    """

    at: float
    delay: float
    duration: float


class Load:
    """Jobs of one simulation: submitted and awaited as Airflow's processes do.

    :param per_minute: the quota, which the connection names too.
    :param given: the simulation's latency and weather.
    """

    def __init__(self, *, per_minute: int = 250, per_hour: int = 5000, **given: Any) -> None:
        self.quota = (per_minute, per_hour)
        self.simulation = Simulation(quota_per_minute=per_minute, quota_per_hour=per_hour, **given)
        self.rng = random.Random(5)

    def account(self) -> Account:
        """Return what a process that has just begun knows."""
        account = Account()
        account.gate.set_quota(*self.quota)
        return account

    def submit(self, account: Account, model_id: str, median: float) -> Call[Invocation]:
        """Submit a job whose duration is log-normal."""
        seconds = median * self.rng.lognormvariate(0, 0.5)
        request = InvokeRequest.build(model_id, {"text" if model_id == SPEECH else "prompt": "x"})
        invocation = yield from gated(protocol.submit(request, patience=36_000), account.gate)
        jobs = self.simulation.state.jobs
        assert invocation.request_id is not None
        jobs[invocation.request_id] = dataclasses.replace(jobs[invocation.request_id], duration=seconds)
        return invocation

    def wait(self, account: Account, request_id: str, model_id: str, *, first_look: float) -> Call[Invocation]:
        """Wait for a job that was submitted just now."""
        now = self.simulation.clock()
        wait = protocol.wait(
            request_id,
            submitted_at=now,
            deadline=now + 36_000,
            schedule=PollSchedule(),
            first_look_at=now + first_look,
            model_id=model_id,
            account=account,
        )
        return gated(wait, account.gate)

    def found(self, request_id: str) -> Found:
        """Return how a job was found that is found just now."""
        job = self.simulation.state.jobs[request_id]
        return Found(self.simulation.now, self.simulation.clock() - job.ends_at, job.duration)

    @property
    def rejections(self) -> list[float]:
        """When requests were answered 429, in seconds since the start."""
        return [request.at - START for request in self.simulation.requests if request.status == 429]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Hundreds of jobs would log each of their states."""
    caplog.set_level(logging.ERROR, logger="airflow_provider_falinvoke")


def crowd(
    processes: int, jobs: int, *, median: float, over: float = 0.0, **given: Any
) -> tuple[Load, list[list[Found]]]:
    """Submit jobs and wait for them, in processes that each do both; return what each one found."""
    load = Load(**given)
    accounts = [load.account() for _ in range(processes)]
    found: list[list[Found]] = [[] for _ in range(processes)]

    def one(number: int) -> None:
        account, mine = accounts[number % processes], found[number % processes]

        def submitted(invocation: Invocation) -> None:
            request_id = str(invocation.request_id)
            wait = load.wait(account, request_id, IMAGE, first_look=0.5)
            load.simulation.start(wait, lambda _: mine.append(load.found(request_id)), at=load.simulation.now)

        load.simulation.start(load.submit(account, IMAGE, median), submitted, at=load.rng.random() * over)

    for number in range(jobs):
        one(number)
    load.simulation.run()
    return load, found


@pytest.mark.parametrize("processes", [1, 3, 8])
def test_processes_that_share_a_token_meet_no_429_and_starve_nobody(processes: int) -> None:
    """600 jobs at once need 1,200 requests and five minutes; nobody's delay is longer than that, whoever it is."""
    load, found = crowd(processes, 600, median=45)
    assert load.rejections == []
    assert sum(map(len, found)) == 600
    worst = [max(one.delay for one in mine) for mine in found]
    assert max(worst) < 240
    assert max(worst) < 1.5 * min(worst)
    assert len(load.simulation.requests) / 600 < 2.4


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("processes", [3, 8])
def test_nor_do_they_where_replies_are_late(processes: int, seed: int) -> None:
    """What a process has heard is old then, and so many more have gone since: half a window each is three halves."""
    load, found = crowd(processes, 300, median=45, latency=0.3, weather=random.Random(seed))
    assert load.rejections == []
    assert sum(map(len, found)) == 300
    assert max(one.delay for mine in found for one in mine) < 240


def test_jobs_that_come_at_the_rate_the_quota_allows_are_found_soon() -> None:
    load, (found,) = crowd(1, 150, median=15, over=750)
    assert load.rejections == []
    assert sum(one.delay <= 0.25 * one.duration + 1 for one in found) >= 0.95 * 150


def test_an_hour_of_jobs_stays_within_the_quota_of_the_hour() -> None:
    load, found = crowd(2, 300, median=5, per_hour=500)
    assert load.rejections == []
    assert sum(map(len, found)) == 300


def backlog(*, slots: int, in_flight: int, hours: float, **quota: int) -> tuple[Load, list[Found]]:
    """Work on jobs without end as a deployment does: each submitted by a worker process of its own, all awaited by one.

    :param slots: worker processes at a time.
    :param in_flight: jobs at a time.
    """
    load, found = Load(**quota), list[Found]()
    triggerer, begun, flying, busy = load.account(), 0, 0, 0
    kinds = [(IMAGE, 2.0), (SPEECH, 15.0), (AUDIO, 45.0)]

    def work(model_id: str, median: float) -> Call[tuple[str, Invocation | float]]:
        account = load.account()
        request_id = str((yield from load.submit(account, model_id, median)).request_id)
        now = load.simulation.clock()
        brief = protocol.wait_briefly(
            request_id,
            submitted_at=now,
            brief=BriefWait.of(model_id, None, PollSchedule()),
            deadline=now + 3600,
            account=account,
        )
        return request_id, (yield from gated(brief, account.gate))

    def begin() -> None:
        nonlocal begun, flying, busy
        while flying < in_flight and busy < slots:
            model_id, median = kinds[begun % len(kinds)]
            begun, flying, busy = begun + 1, flying + 1, busy + 1
            load.simulation.start(work(model_id, median), functools.partial(defer, model_id), at=load.simulation.now)

    def defer(model_id: str, ended: tuple[str, Invocation | float]) -> None:
        nonlocal busy
        busy -= 1
        request_id, done = ended
        if isinstance(done, Invocation):
            end(request_id)
            return
        first_look = max(6.0, done - load.simulation.clock())
        wait = load.wait(triggerer, request_id, model_id, first_look=first_look)
        load.simulation.start(wait, lambda _: end(request_id), at=load.simulation.now)
        begin()

    def end(request_id: str) -> None:
        nonlocal flying
        flying -= 1
        found.append(load.found(request_id))
        begin()

    begin()
    load.simulation.run(until=3600.0 * hours)
    return load, found


def test_a_backlog_without_end_gets_nearly_all_the_jobs_that_its_quota_allows() -> None:
    """At a tenth of the published quota: 25 requests a minute, 500 an hour, so 250 jobs an hour are the limit."""
    load, found = backlog(slots=2, in_flight=10, hours=3, per_minute=25, per_hour=500)
    later = [one for one in found if one.at >= 3600]
    sent = [request for request in load.simulation.requests if request.at - START >= 3600]
    assert len(later) / 2 >= 0.85 * 250
    assert len(sent) / len(later) <= 2.4
    # An hour's requests are used up before it ends, and one a minute finds out whether that is still so.
    assert len([at for at in load.rejections if at >= 3600]) <= 0.05 * len(sent)


def test_a_thousand_tasks_whose_worker_processes_know_nothing_meet_no_429() -> None:
    """Sixteen slots with a new process for each job: what one of them heard of the quota ends with it."""
    load, found = backlog(slots=16, in_flight=1000, hours=0.25)
    assert load.rejections == []
    assert len(found) / 0.25 >= 0.85 * 2500


def test_what_is_known_of_an_account_is_the_same_for_all_who_use_its_connection() -> None:
    assert account_of("a") is account_of("a")
    assert account_of("a") is not account_of("b")
    before = account_of("a")
    forget_accounts()
    assert account_of("a") is not before


@pytest.mark.parametrize(
    ("changes", "begins_anew"),
    [({"key": "another"}, True), ({"host": "https://elsewhere"}, True), ({"extra": {"read_timeout": 5}}, False)],
)
def test_another_key_or_host_has_another_quota(changes: dict[str, Any], begins_anew: bool) -> None:
    account = Account()
    given: dict[str, Any] = {"host": "https://here", "key": "the-key"}
    account.adopt(Endpoint.of("c", **given))
    account.gate.hear(Reply(429, {"retry-after": "1000"}, b"", T0))
    account.adopt(Endpoint.of("c", **{**given, **changes}))
    with account.gate.turn(T0) as turn:
        assert (turn.opens_at(T0 + 1) == T0 + 1) is begins_anew


def test_the_quota_is_the_connections() -> None:
    account = Account()
    account.adopt(Endpoint.of("c", key="the-key", extra={"requests_per_minute": 2, "requests_per_hour": 100}))
    account.gate.hear(Reply(200, {}, b"", T0))
    went: list[float] = []
    now = T0
    for _ in range(3):
        with account.gate.turn(now) as turn:
            while (at := turn.opens_at(now)) > now:
                now = at
            went.append(now - T0)
    assert went == [0.0, 30.0, 60.0]
