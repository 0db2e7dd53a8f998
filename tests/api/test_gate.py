"""The gate: when a request may go, by stepped time alone."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from typing import Any

import httpx
import pytest

from airflow_provider_falinvoke.api import drivers, protocol
from airflow_provider_falinvoke.api.account import Account
from airflow_provider_falinvoke.api.clients import Client
from airflow_provider_falinvoke.api.endpoint import Endpoint
from airflow_provider_falinvoke.api.gate import FASTEST_MINUTE, LONGEST_WAIT, Gate, gated
from airflow_provider_falinvoke.api.models import InvokeRequest
from airflow_provider_falinvoke.api.outcomes import Call, Failure, Outcome, Pause, Reply, Resumed, Say, Send, Step
from airflow_provider_falinvoke.api.quota import IN_FLIGHT, PROBES
from airflow_provider_falinvoke.api.schedule import PollSchedule
from airflow_provider_falinvoke.exceptions import FalInvokeTimeoutError
from tests.api.play import T0, failure, play, reply
from tests.support.simulation import START, Simulation

GET = Send("GET", "/x")
SPACING = FASTEST_MINUTE / 250


def told(left: float, seconds: float, *, at: float = T0, limit: float = 250, status: int = 200) -> Reply:
    """Return a reply whose headers say that so many requests are left for so many seconds."""
    headers = {"ratelimit-limit": limit, "ratelimit-remaining": left, "ratelimit-reset": at + seconds}
    return Reply(status, {name: str(value) for name, value in headers.items()}, b"", at)


def heard(gate: Gate, outcome: Outcome, *, at: float = T0) -> None:
    """Send one request that is answered so."""
    with gate.turn(at) as turn:
        assert turn.opens_at(at) == at
        turn.heard(outcome)


def sure(gate: Gate | None = None) -> Gate:
    """Return a gate that has heard that the replies say nothing about a quota."""
    gate = gate or Gate()
    heard(gate, Reply(200, {}, b"", T0))
    return gate


def times(gate: Gate, count: int, *, now: float, answer: Reply | None = None) -> list[float]:
    """Send so many requests one after the other, each as soon as it may go; return when they went."""
    went = []
    for _ in range(count):
        with gate.turn(now) as turn:
            while (at := turn.opens_at(now)) > now:
                now = at
            went.append(now)
            if answer is not None:
                turn.heard(answer)
    return went


# ---- whose turn it is -----------------------------------------------------------------------------------------------


def test_a_request_on_a_free_gate_goes_at_once() -> None:
    with Gate().turn(T0) as turn:
        assert turn.opens_at(T0) == T0


def test_the_first_due_is_the_first_served_whoever_asked_first() -> None:
    gate = Gate()
    with gate.turn(T0 + 2) as later, gate.turn(T0 + 1) as sooner:
        assert later.opens_at(T0 + 5) > T0 + 5
        assert sooner.opens_at(T0 + 5) == T0 + 5
        assert later.opens_at(T0 + 5 + SPACING) == T0 + 5 + SPACING


def test_of_two_that_were_due_at_one_moment_the_one_that_came_first_goes_first() -> None:
    gate = Gate()
    with gate.turn(T0) as first, gate.turn(T0) as second:
        assert second.opens_at(T0) > T0
        assert first.opens_at(T0) == T0


def test_who_leaves_the_queue_holds_up_nobody() -> None:
    gate = Gate()
    with gate.turn(T0) as patient:
        with gate.turn(T0 - 1):
            assert patient.opens_at(T0) > T0
        assert patient.opens_at(T0) == T0


def test_a_hundred_requests_of_one_moment_are_kept_apart() -> None:
    went = times(sure(), 100, now=T0 + 1)
    assert [after - before for before, after in itertools.pairwise(went)] == [pytest.approx(SPACING)] * 99


def test_threads_may_share_a_gate() -> None:
    """A batch submits from a few threads."""
    gate, went, tick = sure(Gate(per_minute=1e6, per_hour=1e6)), [], itertools.count(1)

    def send_some() -> None:
        for _ in range(100):
            with gate.turn(T0) as turn:
                while (at := turn.opens_at(now := T0 + next(tick))) > now:
                    pass
                went.append(at)
                turn.heard(told(100, 60, at=now))

    threads = [threading.Thread(target=send_some) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(went) == 800
    with gate.turn(T0) as turn:
        assert turn.opens_at(T0 + 1e9) == T0 + 1e9


# ---- the connection's own quota -------------------------------------------------------------------------------------


def within(went: list[float], seconds: float) -> int:
    """Return the most requests in any so many seconds."""
    return max(sum(start <= at < start + seconds for at in went[place:]) for place, start in enumerate(went))


def test_without_headers_a_connection_never_sends_more_than_its_quota_in_any_minute() -> None:
    """The API's minute may begin at any moment of ours."""
    went = times(sure(), 2000, now=T0)
    assert 240 <= within(went, 60) <= 251


def test_nor_more_than_its_quota_in_any_hour() -> None:
    """Give or take what the limit of a minute moves from one into the next."""
    went = times(sure(Gate(per_minute=50, per_hour=1000)), 3000, now=T0)
    assert 990 <= within(went, 3600) <= 1050


def test_half_of_a_quota_may_go_as_fast_as_it_comes_and_the_rest_is_spread() -> None:
    went = times(sure(Gate(per_minute=40, per_hour=5000)), 38, now=T0 + 1)
    gaps = [after - before for before, after in itertools.pairwise(went)]
    assert gaps[:17] == [pytest.approx(FASTEST_MINUTE / 40)] * 17
    assert all(2.5 < gap < 3.1 for gap in gaps[19:])
    assert went[-1] < T0 + 61


def test_a_quota_that_the_connection_changes_counts_from_the_next_window_on() -> None:
    gate = sure(Gate(per_minute=10, per_hour=5000))
    gate.set_quota(1000, 5000)
    assert within(times(gate, 300, now=T0 + 60), 60) >= 290


# ---- what the replies say -------------------------------------------------------------------------------------------


def test_what_is_left_is_spread_over_the_time_until_the_reset_with_a_little_for_others() -> None:
    gate = Gate()
    heard(gate, told(60, 100))
    went = times(gate, 50, now=T0)
    gaps = [after - before for before, after in itertools.pairwise(went)]
    assert gaps == [pytest.approx(100 / 51)] * 49  # 50 of the 60: a twenty-fifth of 250 is for others
    assert went[-1] < T0 + 100


def test_where_only_the_reserve_is_left_nobody_goes_until_the_reset() -> None:
    gate = Gate()
    heard(gate, told(10, 40))
    with gate.turn(T0) as turn:
        assert turn.opens_at(T0 + 1) == T0 + 40
        assert turn.opens_at(T0 + 40) == T0 + 40


@pytest.mark.parametrize("prefix", ["ratelimit-{}", "x-ratelimit-{}-requests"])
def test_both_families_of_headers_are_read(prefix: str) -> None:
    gate = Gate()
    headers = {prefix.format("limit"): "250", prefix.format("remaining"): "0", prefix.format("reset"): str(T0 + 40)}
    heard(gate, Reply(200, headers, b"", T0))
    with gate.turn(T0) as turn:
        assert turn.opens_at(T0 + 1) == T0 + 40


def test_what_others_have_spent_slows_this_process_down() -> None:
    gate = Gate()
    heard(gate, told(60, 100))
    with gate.turn(T0) as turn:
        assert turn.opens_at(T0 + 2) == T0 + 2
        turn.heard(told(20, 98, at=T0 + 2))
    with gate.turn(T0) as turn:
        assert turn.opens_at(T0 + 3) == pytest.approx(T0 + 2 + 98 / 10)


def test_a_reply_that_comes_late_does_not_bring_back_what_was_spent_since() -> None:
    gate = Gate()
    heard(gate, told(20, 100))
    with gate.turn(T0) as turn:
        assert turn.opens_at(T0 + 10) == T0 + 10
        turn.heard(told(200, 90, at=T0 + 10))
    with gate.turn(T0) as turn:
        assert turn.opens_at(T0 + 11) == pytest.approx(T0 + 10 + 90 / 9)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ratelimit-remaining": "0"},
        {"ratelimit-remaining": "0", "ratelimit-reset": "0"},
        {"ratelimit-remaining": "0", "ratelimit-reset": str(T0 - 1)},
        {"ratelimit-remaining": "0", "ratelimit-reset": "soon"},
        {"ratelimit-remaining": "none", "ratelimit-reset": str(T0 + 50)},
        {"ratelimit-remaining": "nan", "ratelimit-reset": "inf"},
    ],
)
def test_headers_that_tell_nothing_leave_the_connections_own_quota(headers: dict[str, str]) -> None:
    gate = Gate()
    heard(gate, Reply(200, headers, b"", T0))
    assert times(gate, 20, now=T0 + 1)[-1] == pytest.approx(T0 + 1 + 19 * SPACING)


def test_headers_without_a_limit_still_say_what_is_left() -> None:
    gate = Gate()
    heard(gate, Reply(200, {"ratelimit-remaining": "1", "ratelimit-reset": str(T0 + 50)}, b"", T0))
    assert times(gate, 2, now=T0 + 1) == [pytest.approx(T0 + 1), pytest.approx(T0 + 50)]


@pytest.mark.parametrize("at_the_start", [True, False], ids=["at the start", "after a reset"])
def test_only_a_few_go_while_nobody_knows_what_is_left(at_the_start: bool) -> None:
    """Every process that shares the token begins its new window at the same moment."""
    gate, now = Gate(), T0
    if not at_the_start:
        heard(gate, told(5, 60))
        now = T0 + 60
    turns = [gate.turn(now).__enter__() for _ in range(PROBES + 3)]
    for turn in turns[:PROBES]:
        assert turn.opens_at(now) == now
        now += 2 * SPACING
    assert turns[PROBES].opens_at(now) > now
    turns[0].heard(told(240, 60, at=now))
    for turn in turns[PROBES:]:
        assert turn.opens_at(now) == now
        now += 2 * SPACING


def flying(gate: Gate, count: int, now: float) -> int:
    """Try to send so many requests that nobody answers; return how many go."""
    gone = 0
    for _ in range(count):
        now += 2 * SPACING
        gone += gate.turn(now).__enter__().opens_at(now) == now
    return gone


def test_what_is_in_flight_is_a_share_of_what_is_left() -> None:
    """While replies are late, each process that shares the token would send all that it takes for its own."""
    gate = Gate()
    heard(gate, told(250, 60))
    assert flying(gate, 200, T0) == int(IN_FLIGHT * (240 - 14)) == 14


def test_one_request_may_always_be_in_flight_and_the_next_goes_when_its_place_is_given_back() -> None:
    gate = Gate()
    heard(gate, told(15, 60))
    with gate.turn(T0 + 2) as other:
        with gate.turn(T0 + 1) as one:
            assert one.opens_at(T0 + 20) == T0 + 20
            assert T0 + 50 < other.opens_at(T0 + 50) < T0 + 50.1
        assert other.opens_at(T0 + 50.1) == T0 + 50.1  # though no reply was heard


def test_a_key_that_is_new_begins_anew() -> None:
    gate = Gate()
    heard(gate, told(0, 3000, status=429))
    gate.forget()
    with gate.turn(T0) as turn:
        assert turn.opens_at(T0 + 1) == T0 + 1


# ---- 429 ------------------------------------------------------------------------------------------------------------


def test_a_rejection_closes_the_gate_for_everyone_until_the_api_wants_to_be_asked_again() -> None:
    gate = sure()
    with gate.turn(T0) as one, gate.turn(T0 + 1) as other:
        assert one.opens_at(T0 + 2) == T0 + 2
        one.heard(Reply(429, {"retry-after": "30"}, b"", T0 + 2))
        assert T0 + 32 <= other.opens_at(T0 + 3) <= T0 + 32.5
        assert other.opens_at(T0 + 33) == T0 + 33


def test_a_rejection_without_a_hint_closes_it_longer_each_time() -> None:
    gate, now, closed = sure(), T0, []
    for _ in range(6):
        with gate.turn(now) as turn:
            now = turn.opens_at(now + 100)
            turn.heard(Reply(429, {}, b"", now))
        with gate.turn(now) as turn:
            closed.append(turn.opens_at(now) - now)
    assert closed[-1] > 10 * closed[0]


# ---- what is not believed for ever ----------------------------------------------------------------------------------

CLOSED = {
    "Retry-After without end": (429, {"retry-after": "1e9"}),
    "a date in years": (429, {"retry-after": "Fri, 31 Dec 2999 23:59:59 GMT"}),
    "a reset in years": (429, {"ratelimit-reset": str(T0 + 1e8)}),
    "nothing left, on a 200": (200, {"ratelimit-remaining": "0", "ratelimit-reset": str(T0 + 3000)}),
    "a reset in milliseconds": (200, {"ratelimit-remaining": "0", "ratelimit-reset": str((T0 + 3000) * 1000)}),
    "less than nothing": (200, {"ratelimit-remaining": "-1e300", "ratelimit-reset": str(T0 + 1e8)}),
}


@pytest.mark.parametrize(("status", "headers"), CLOSED.values(), ids=CLOSED.keys())
def test_a_closed_gate_lets_one_probe_a_minute_through_and_opens_for_all_once_it_is_answered(
    status: int, headers: dict[str, str]
) -> None:
    gate = Gate()
    heard(gate, told(5000, 3000, limit=5000))
    heard(gate, Reply(status, headers, b"", T0 + 1), at=T0 + 1)
    went = times(gate, 5, now=T0 + 2)
    assert went == [pytest.approx(T0 + 1 + 60 * number) for number in range(1, 6)]
    gate = Gate()
    heard(gate, Reply(status, headers, b"", T0 + 1), at=T0 + 1)
    now = times(gate, 1, now=T0 + 2, answer=told(4000, 3000, at=T0 + 61, limit=5000))[-1]
    assert now == pytest.approx(T0 + 61)
    if status == 200:
        assert times(gate, 20, now=now)[-1] < now + 2


def test_what_others_are_said_to_have_taken_is_not_believed_for_an_hour_either() -> None:
    gate = Gate()
    heard(gate, told(5000, 3000, limit=5000))
    heard(gate, told(0, 3000, at=T0 + 1, limit=5000), at=T0 + 1)
    now = times(gate, 1, now=T0 + 2, answer=told(5000, 2939, at=T0 + 61, limit=5001))[-1]
    went = times(gate, 4, now=now)
    assert all(after - before <= 61 for before, after in itertools.pairwise([now, *went]))


def test_a_probe_does_not_break_the_connections_own_quota() -> None:
    went = times(sure(Gate(per_minute=1, per_hour=10)), 12, now=T0)
    assert went[9] >= T0 + 3600


def test_no_window_is_closed_by_a_rejection_of_another() -> None:
    """The minute's 429 says that 4,000 are left of the hour, and when the oldest of them expires."""
    gate = sure()
    headers = {"ratelimit-limit": "5000", "ratelimit-remaining": "4000", "ratelimit-reset": str(T0 + 3600)}
    heard(gate, Reply(429, headers, b"", T0 + 1), at=T0 + 1)
    assert times(gate, 1, now=T0 + 2)[0] < T0 + 3


# ---- a clock that steps ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [-3600.0, 3600.0], ids=["back", "forward"])
def test_a_wall_clock_that_steps_an_hour_stops_nothing(step: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither submits nor polls, nor does it end a wait early or late."""
    wall, steady, ends_at = [T0], [500.0], 620.0
    monkeypatch.setattr(time, "time", lambda: wall[0])
    monkeypatch.setattr(time, "monotonic", lambda: steady[0])

    def sleep(seconds: float) -> None:
        wall[0] += seconds
        steady[0] += seconds

    polls: list[float] = []

    def answer(request: httpx.Request) -> httpx.Response:
        headers = {"ratelimit-remaining": "4000", "ratelimit-limit": "5000", "ratelimit-reset": str(wall[0] + 60)}
        if request.method == "GET":
            polls.append(steady[0])
            if len(polls) == 4:
                wall[0] += step
        done = steady[0] >= ends_at
        body: dict[str, Any] = {
            "request_id": "r1",
            "status": "COMPLETED" if done else "QUEUED",
            "output": {} if done else None,
        }
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(json.dumps(body).encode()))

    client = Client(Endpoint.of("conn", host="http://127.0.0.1", key="a-key"))
    monkeypatch.setattr(client, "_transport", httpx.MockTransport(answer))
    gate, account = Gate(), Account()
    request = InvokeRequest.build("m", {"prompt": "x"})

    def perform(call: Call[Any]) -> Any:
        return drivers.run(gated(call, gate), client, sleep=sleep)

    def wait(seconds: float) -> Call[Any]:
        return protocol.wait(
            "r1", submitted_at=wall[0], deadline=wall[0] + seconds, schedule=PollSchedule(), account=account
        )

    perform(protocol.submit(request, patience=120))
    perform(wait(600))
    assert 620 <= steady[0] <= 620 + 31
    assert len(polls) < 40
    began = steady[0]
    for _ in range(5):
        perform(protocol.submit(request, patience=120))
    assert steady[0] - began < 5
    began, ends_at = steady[0], 1e9
    polls.clear()
    with pytest.raises(FalInvokeTimeoutError):
        perform(wait(100))
    assert steady[0] - began == pytest.approx(100, abs=0.1)


# ---- a call behind a gate -------------------------------------------------------------------------------------------


def steps(*given: Send | Pause) -> Call[list[Outcome]]:
    outcomes = []
    for step in given:
        outcomes.append((yield step))
    return outcomes


def test_a_gated_call_does_the_same_and_waits_for_its_turns() -> None:
    gate = Gate()
    heard(gate, told(19, 100))
    played = play(gated(steps(GET, Pause(T0 + 5), GET), gate), [reply(200), reply(503)])
    assert played.times == [pytest.approx(10), pytest.approx(20)]
    assert [type(outcome) for outcome in played.result] == [Reply, Resumed, Reply]


def test_what_a_gated_call_hears_the_gate_hears() -> None:
    gate, other = sure(), play
    played = play(gated(steps(GET), gate), [reply(429, retry_after="30")])
    assert played.times == [pytest.approx(SPACING)]
    assert other(gated(steps(GET), gate), [reply(200)], now=T0 + 1).times[0] >= 30


def test_a_gated_call_raises_and_returns_what_the_call_does() -> None:
    assert play(gated(protocol.get("r1", patience=0), Gate()), [reply(200, {"request_id": "r1"})]).result
    assert play(gated(protocol.get("r1", patience=0), Gate()), [reply(401)]).raised is not None
    assert play(gated(steps(), Gate()), []).result == []


def test_a_failure_tells_the_gate_nothing_and_gives_the_place_back() -> None:
    gate = sure()
    for _ in range(50):
        assert isinstance(play(gated(steps(GET), gate), [failure()], now=T0 + 1).result[0], Failure)


def test_a_call_that_is_given_up_while_it_waits_or_flies_gives_its_place_back() -> None:
    """A trigger may be cancelled at any moment."""
    gate = sure()
    for _ in range(50):
        flying = gated(steps(GET), gate)
        step = next(flying)
        while step != GET:
            step = flying.send(Resumed(max(T0 + 1, step.until) if isinstance(step, Pause) else T0))
        waiting = gated(steps(GET), gate)
        assert isinstance(next(waiting), Pause)
        assert isinstance(waiting.send(Resumed(T0 + 1)), Pause)
        waiting.close()
        flying.close()
    assert play(gated(steps(GET), gate), [reply(200)], now=T0 + 9).times == [9]


def test_a_request_whose_turn_would_come_too_late_is_not_sent() -> None:
    """A worker does not wait at a closed gate for longer than the call has patience: the call is told 429 instead."""
    gate = sure()
    heard(gate, Reply(429, {"retry-after": "50"}, b"", T0 + 1), at=T0 + 1)
    played = play(gated(steps(Send("GET", "/x", turn_by=T0 + 20)), gate), [], now=T0 + 2)
    (outcome,) = played.result
    assert isinstance(outcome, Reply)
    assert outcome.status == 429
    assert 49 <= float(outcome.headers["retry-after"]) <= 50
    assert b"not sent" in outcome.body
    assert played.now == T0 + 2


def test_a_submit_waits_at_a_closed_gate_for_as_long_as_its_patience() -> None:
    request = InvokeRequest.build("m", {"prompt": "x"})
    for patience, sends in ((20.0, 0), (80.0, 1)):
        gate = sure()
        heard(gate, Reply(429, {"retry-after": "50"}, b"", T0 + 1), at=T0 + 1)
        accepted = reply(202, {"request_id": "r1", "status": "QUEUED"})
        played = play(gated(protocol.submit(request, patience=patience), gate), [accepted], now=T0 + 2)
        assert len(played.sends) == sends
        assert (played.raised is None) == bool(sends)


def test_a_short_wait_is_worth_it_even_without_patience() -> None:
    gate = sure()
    played = play(gated(protocol.get("r1", patience=0), gate), [reply(200, {"request_id": "r1"})])
    assert played.times == [pytest.approx(SPACING)]


def test_who_waits_long_asks_again_now_and_then() -> None:
    """The key may have been changed, so that the gate is open."""
    gate = sure()
    heard(gate, Reply(429, {"retry-after": "3000"}, b"", T0 + 1), at=T0 + 1)
    played = play(gated(steps(GET), gate), [reply(200)], now=T0 + 2)
    assert max(played.pauses) <= LONGEST_WAIT


def resumed(call: Call[object], step: Step, now: float) -> Step:
    """Resume a call from each pause that is over by ``now``, and each line; return the step that it stops at."""
    while isinstance(step, Say) or (isinstance(step, Pause) and step.until <= now):
        step = call.send(Resumed(now))
    return step


def test_a_request_that_was_rejected_goes_before_those_that_fell_due_later() -> None:
    gate = sure()
    rejected = gated(protocol.get("r1", patience=100), gate)
    assert isinstance(resumed(rejected, next(rejected), T0 + 1), Send)
    first = resumed(rejected, rejected.send(Reply(429, {"retry-after": "10"}, b"", T0 + 1)), T0 + 1)
    assert isinstance(first, Pause)
    later = gated(steps(Pause(T0 + 2), GET), gate)
    second = resumed(later, next(later), T0 + 2)
    assert isinstance(second, Pause)
    assert isinstance(resumed(rejected, first, T0 + 20), Send)
    assert isinstance(resumed(later, second, T0 + 20), Pause)


# ---- fairness -------------------------------------------------------------------------------------------------------


def test_submits_are_not_starved_by_polls_nor_polls_by_submits() -> None:
    """Where more is due than may go, each waits about as long."""
    gate = sure(Gate(per_minute=60, per_hour=5000))
    simulation = Simulation(quota_per_minute=None, quota_per_hour=None)
    waited: dict[str, list[float]] = {"GET": [], "POST": []}

    def one(method: str, due: float) -> None:
        path = "/v1/async-invoke" if method == "POST" else "/v1/models"
        call = gated(steps(Pause(START + due), Send(method, path)), gate)
        simulation.start(call, lambda _: waited[method].append(simulation.now - due), at=due)

    for second in range(120):
        for _ in range(3):
            one("GET", second)
        one("POST", second + 0.5)
    simulation.run()
    assert len(waited["POST"]) == 120
    assert max(waited["POST"]) == pytest.approx(max(waited["GET"]), rel=0.05)


@pytest.mark.parametrize(("queue", "is_scarce"), [(5, False), (20, True)])
def test_requests_are_scarce_where_the_quota_lets_them_wait(queue: int, is_scarce: bool) -> None:
    """A look that is not needed would keep another job waiting."""
    gate = Gate(per_minute=250, per_hour=5000)
    heard(gate, told(130, 20))  # enough for an even use, but the second half of a window is spread over its time
    with contextlib.ExitStack() as turns:
        for _ in range(queue):
            turns.enter_context(gate.turn(T0))
        assert gate.is_scarce(T0) is is_scarce
    assert not gate.is_scarce(T0)


def test_requests_are_not_scarce_where_the_event_loop_stood_still() -> None:
    """A triggerer's start blocks its loop for seconds: what fell due meanwhile waits for nothing that can be saved."""
    gate = sure(Gate(per_minute=250, per_hour=5000))
    with gate.turn(T0), gate.turn(T0 + 1.0):
        assert not gate.is_scarce(T0 + 7.0)


def test_requests_are_scarce_while_a_429_keeps_the_gate_closed() -> None:
    gate = Gate(per_minute=250, per_hour=5000)
    gate.hear(Reply(429, {"retry-after": "10"}, b"", T0))
    assert gate.is_scarce(T0 + 1)
    assert not gate.is_scarce(T0 + 10)
