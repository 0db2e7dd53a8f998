"""The record of a paid job: each row of the decision table, and a ledger over a store that works or fails."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_falinvoke.api.models import InvokeRequest
from airflow_provider_falinvoke.durable import (
    STORE_KEY,
    Action,
    AmbiguousPolicy,
    Ledger,
    Phase,
    Record,
    decide,
    fingerprint,
    unknown_submit,
)
from airflow_provider_falinvoke.exceptions import FalInvokeError

WANTED = "the fingerprint of what this try asks for"


def record(
    phase: Phase,
    *,
    generation: int = 2,
    fingerprint: str = WANTED,
    request_id: str | None = "job-1",
    reported_at: float | None = None,
    acknowledged: bool = False,
) -> Record:
    request_id = None if phase is Phase.INTENT else request_id
    return Record(
        phase=phase,
        fingerprint=fingerprint,
        generation=generation,
        request_id=request_id,
        reported_at=reported_at,
        acknowledged=acknowledged,
    )


@pytest.mark.parametrize(
    ("stored", "policy", "expected"),
    [
        pytest.param(None, "fail", Action.SUBMIT, id="nothing stored: submit"),
        *[
            pytest.param(
                record(phase, fingerprint="another"), "fail", Action.SUBMIT, id=f"request changed, {phase.value}"
            )
            for phase in (Phase.SUBMITTED, Phase.DONE)
        ],
        pytest.param(record(Phase.INTENT, fingerprint="another"), "fail", Action.STOP, id="a template of another text"),
        pytest.param(
            record(Phase.INTENT, fingerprint="another", generation=1), "fail", Action.STOP, id="… cleared in the middle"
        ),
        pytest.param(record(Phase.DONE), "fail", Action.RESUME, id="died between done and success: that result"),
        pytest.param(record(Phase.DONE, generation=1), "fail", Action.RESUME, id="… and cleared: that result"),
        pytest.param(record(Phase.DONE, acknowledged=True), "fail", Action.RESUME, id="run again without a clear"),
        pytest.param(
            record(Phase.DONE, acknowledged=True, generation=1), "fail", Action.SUBMIT, id="a success was cleared"
        ),
        pytest.param(
            record(Phase.DONE, acknowledged=True, generation=5), "fail", Action.SUBMIT, id="… with fewer retries"
        ),
        pytest.param(record(Phase.DONE, request_id=None), "fail", Action.STOP, id="a result without an id is gone"),
        pytest.param(record(Phase.DONE, request_id=None, generation=1), "fail", Action.STOP, id="… and not told of"),
        pytest.param(
            record(Phase.DONE, request_id=None, generation=1, reported_at=9.0), "fail", Action.SUBMIT, id="… and was"
        ),
        pytest.param(record(Phase.CLOSED), "fail", Action.RESUME, id="closed: a retry looks for new URLs"),
        pytest.param(record(Phase.CLOSED, generation=1), "fail", Action.SUBMIT, id="closed, cleared: a new job"),
        pytest.param(record(Phase.SUBMITTED), "fail", Action.RESUME, id="submitted: take it up"),
        pytest.param(record(Phase.SUBMITTED, generation=1), "fail", Action.RESUME, id="submitted, cleared: take it up"),
        pytest.param(record(Phase.INTENT), "fail", Action.STOP, id="died while submitting: it may be paid"),
        pytest.param(record(Phase.INTENT), "retry", Action.SUBMIT, id="died while submitting, told to retry"),
        pytest.param(record(Phase.INTENT, reported_at=9.0), "fail", Action.STOP, id="reported, and retried"),
        pytest.param(record(Phase.INTENT, generation=1), "fail", Action.STOP, id="cleared in the middle of a POST"),
        pytest.param(
            record(Phase.INTENT, generation=1, reported_at=9.0), "fail", Action.SUBMIT, id="cleared by one who knows"
        ),
    ],
)
def test_what_a_try_does_with_what_is_stored(stored: Record | None, policy: AmbiguousPolicy, expected: Action) -> None:
    assert decide(stored, WANTED, 2, policy) is expected


def test_the_fingerprint_covers_what_is_paid_for_and_nothing_else() -> None:
    request = InvokeRequest.build("fal-ai/any", {"prompt": "a", "seed": 1}, {"team": "x"})
    same = InvokeRequest.build("fal-ai/any", {"seed": 1, "prompt": "a"}, [{"key": "team", "value": "x"}])
    assert fingerprint(request, "conn") == fingerprint(same, "conn")
    others = [
        fingerprint(InvokeRequest.build("fal-ai/other", {"prompt": "a", "seed": 1}, {"team": "x"}), "conn"),
        fingerprint(InvokeRequest.build("fal-ai/any", {"prompt": "b", "seed": 1}, {"team": "x"}), "conn"),
        fingerprint(InvokeRequest.build("fal-ai/any", {"prompt": "a", "seed": 1}), "conn"),
        fingerprint(request, "another account"),
    ]
    assert len({fingerprint(request, "conn"), *others}) == 5


@pytest.fixture(autouse=True)
def listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow tells of a success, as it does from 3.3 on."""
    monkeypatch.setattr("airflow_provider_falinvoke.durable.hears_of_success", lambda: True)


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr("airflow_provider_falinvoke.durable.sleep", slept.append)
    return slept


class MemoryStore:
    """A task state store in a dict; each operation named in ``broken`` fails."""

    def __init__(self, *broken: str) -> None:
        self.values: dict[str, Any] = {}
        self.broken = broken

    def get(self, key: str) -> Any:
        self._work("get")
        return self.values.get(key)

    def set(self, key: str, value: Any) -> None:
        self._work("set")
        self.values[key] = value

    def delete(self, key: str) -> None:
        self._work("delete")
        self.values.pop(key, None)

    def _work(self, name: str) -> None:
        if name in self.broken:
            raise RuntimeError("the store is out of order")


def test_a_job_is_found_by_the_next_try_with_its_times() -> None:
    store = MemoryStore()
    first = Ledger(store, 2)
    assert first.action(WANTED, "fail") is Action.SUBMIT
    assert not first.has_changed()
    first.intend()
    assert Ledger(store, 2).action(WANTED, "fail") is Action.STOP
    first.submitted("job-1", 100.0, 400.0)

    second = Ledger(store, 2)
    assert second.action(WANTED, "fail") is Action.RESUME
    assert second.record is not None
    assert (second.record.request_id, second.record.submitted_at, second.record.deadline) == ("job-1", 100.0, 400.0)
    assert not second.was_cleared

    cleared = Ledger(store, 4)
    assert cleared.action(WANTED, "fail") is Action.RESUME
    assert cleared.was_cleared


def test_a_resumed_deferral_marks_the_job_done_without_having_read_it_before() -> None:
    store = MemoryStore()
    first = ledger_for_a_submit(store, 0)
    first.intend()
    first.submitted("job-1", 1.0, 2.0)
    last = Ledger(store, 0)
    assert last.known_request_id() == "job-1"
    last.done("job-1")
    assert store.values[STORE_KEY]["phase"] == "done"
    assert Ledger(store, 0).action(WANTED, "fail") is Action.RESUME
    assert Ledger(store, 1).action(WANTED, "fail") is Action.RESUME, "Airflow never knew of the success"
    last.acknowledge()
    assert Ledger(store, 0).action(WANTED, "fail") is Action.RESUME
    assert Ledger(store, 1).action(WANTED, "fail") is Action.SUBMIT


def ledger_for_a_submit(store: MemoryStore, generation: int) -> Ledger:
    ledger = Ledger(store, generation)
    assert ledger.action(WANTED, "retry") is Action.SUBMIT
    return ledger


def test_who_never_hears_of_a_success_takes_done_for_it_and_names_the_job(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("airflow_provider_falinvoke.durable.hears_of_success", lambda: False)
    store = MemoryStore()
    ledger = ledger_for_a_submit(store, 0)
    ledger.intend()
    ledger.submitted("job-1", 1.0, 2.0)
    ledger.done("job-1")
    cleared = Ledger(store, 1)
    assert cleared.action(WANTED, "fail") is Action.SUBMIT
    cleared.intend()
    assert "job-1 of an earlier try is done, and a new one is paid for" in caplog.text


@pytest.mark.parametrize("before", [None, record(Phase.SUBMITTED, fingerprint="another"), record(Phase.INTENT)])
def test_a_submit_that_came_to_nothing_leaves_what_was_there_before(before: Record | None) -> None:
    store = MemoryStore()
    if before is not None:
        store.values[STORE_KEY] = before.model_dump(mode="json")
    was = dict(store.values)
    ledger = ledger_for_a_submit(store, 2)
    for _ in range(2):
        ledger.intend()
        assert store.values[STORE_KEY]["phase"] == "intent"
        assert ledger.is_submitting
        ledger.withdraw()
        assert store.values == was
        assert not ledger.is_submitting
    ledger.withdraw()
    assert store.values == was


def test_a_doubt_that_was_reported_is_left_to_who_clears_the_task(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    first = Ledger(store, 0, clock=lambda: 0.0)
    first.action(WANTED, "fail")
    first.intend()
    told = Ledger(store, 2)
    assert told.action(WANTED, "fail") is Action.STOP, "cleared in the middle of a POST"
    told.reported()
    assert Ledger(store, 2).action(WANTED, "fail") is Action.STOP
    cleared = Ledger(store, 4)
    assert cleared.action(WANTED, "fail") is Action.SUBMIT
    cleared.intend()
    assert "1970-01-01 00:00:00 UTC may have been accepted" in caplog.text


def test_a_process_whose_task_is_not_its_own_any_more_submits_nothing() -> None:
    """After a clear the store tells the old process that nothing is there, and takes nothing from it."""
    store = MemoryStore("set", "delete")
    ledger = Ledger(store, 0)
    assert ledger.action(WANTED, "fail") is Action.SUBMIT
    with pytest.raises(FalInvokeError, match=r"not submitted and nothing is paid.*cleared"):
        ledger.intend()
    assert not ledger.is_submitting


def test_a_record_that_another_process_wrote_meanwhile_is_seen() -> None:
    store = MemoryStore()
    frozen = ledger_for_a_submit(store, 0)
    ledger_for_a_submit(store, 0).intend()
    assert frozen.has_changed()


@pytest.mark.parametrize("taken", [True, False])
def test_an_id_and_that_nothing_was_sent_are_worth_some_tries(taken: bool, slept: list[float]) -> None:
    class Away(MemoryStore):
        def _work(self, name: str) -> None:
            if "set" in self.broken and len(slept) < 2:
                raise RuntimeError("away for a moment")

    store = Away()
    ledger = ledger_for_a_submit(store, 0)
    ledger.intend()
    store.broken = ("set",)
    if taken:
        ledger.submitted("job-1", 1.0, 2.0)
        assert store.values[STORE_KEY]["request_id"] == "job-1"
    else:
        ledger.withdraw()
        assert not store.values
    assert len(slept) == 2


def test_an_id_that_could_not_be_stored_before_the_deferral_is_stored_after_it() -> None:
    store = MemoryStore()
    ledger_for_a_submit(store, 0).intend()
    Ledger(store, 0).resumed("job-1", 600.0)
    assert Ledger(store, 0).action(WANTED, "fail") is Action.RESUME
    Ledger(store, 0).resumed("another", 600.0)
    assert store.values[STORE_KEY]["request_id"] == "job-1", "what is known stays"


def test_what_could_not_be_stored_is_stored_later() -> None:
    store = MemoryStore()
    ledger = ledger_for_a_submit(store, 0)
    ledger.intend()
    store.broken = ("set",)
    ledger.submitted("job-1", 1.0, 2.0)
    store.broken = ()
    ledger.write_again()
    assert Ledger(store, 0).action(WANTED, "fail") is Action.RESUME


def test_a_changed_request_names_the_older_job_that_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    store.values[STORE_KEY] = record(Phase.SUBMITTED, fingerprint="another").model_dump(mode="json")
    ledger = Ledger(store, 2)
    assert ledger.action(WANTED, "fail") is Action.SUBMIT
    ledger.intend()
    assert "job-1" in caplog.text


@pytest.mark.parametrize("acknowledged", [False, True])
def test_a_changed_request_names_the_older_result_that_airflow_never_stored(
    acknowledged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    done = record(Phase.DONE, fingerprint="another", acknowledged=acknowledged)
    store.values[STORE_KEY] = done.model_dump(mode="json")
    ledger = Ledger(store, 2)
    assert ledger.action(WANTED, "fail") is Action.SUBMIT
    ledger.intend()
    assert ("job-1" in caplog.text) is not acknowledged


def test_a_result_without_an_id_that_is_paid_for_again_is_named_with_its_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MemoryStore()
    told = record(Phase.DONE, request_id=None, generation=1, reported_at=9.0)
    store.values[STORE_KEY] = told.model_dump(mode="json")
    ledger = Ledger(store, 2)
    assert ledger.action(WANTED, "fail") is Action.SUBMIT
    ledger.intend()
    assert "Submitting again, though the submit of 1970-01-01 00:00:00 UTC" in caplog.text


@pytest.mark.parametrize("content", ["a text", {"phase": "of the moon"}, [], 7])
def test_a_record_of_an_unknown_form_is_not_taken_for_none(content: Any) -> None:
    store = MemoryStore()
    store.values[STORE_KEY] = content
    with pytest.raises(FalInvokeError, match="no known form"):
        Ledger(store, 2).action(WANTED, "fail")


def test_a_store_that_cannot_be_read_is_not_taken_for_an_empty_one() -> None:
    with pytest.raises(FalInvokeError, match="Nothing was submitted"):
        Ledger(MemoryStore("get"), 2).action(WANTED, "fail")


def test_without_a_stored_intent_nothing_is_submitted() -> None:
    with pytest.raises(FalInvokeError, match="nothing is paid"):
        Ledger(MemoryStore("set"), 2).intend()


def test_a_store_that_fails_after_the_post_does_not_stop_the_task(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    ledger = Ledger(store, 2)
    ledger.intend()
    store.broken = ("set",)
    ledger.submitted("job-1", 1.0, 2.0)
    ledger.done("job-1")
    assert "job-1" in caplog.text


def test_a_store_that_fails_at_the_end_neither_loses_the_result_nor_hides_the_refusal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = MemoryStore("get", "set", "delete")
    Ledger(broken, 2).done("job-1")
    with pytest.raises(FalInvokeError, match="nothing is paid"):
        Ledger(broken, 2).intend()
    assert "job-1 is done cannot be stored" in caplog.text
    assert caplog.text.count("does not take that nothing was submitted") == 1
    assert Ledger(broken, 2).known_request_id() is None


def test_without_a_store_each_try_submits() -> None:
    class TaskInstance:
        max_tries = 1

    context: Any = {"ti": TaskInstance()}
    ledger = Ledger.of(context, durable=True)
    ledger.intend()
    ledger.submitted("job-1", 1.0, 2.0)
    ledger.done("job-1")
    ledger.withdraw()
    assert not ledger.remembers
    assert ledger.action(WANTED, "fail") is Action.SUBMIT


def test_durable_false_does_not_look_at_the_store() -> None:
    class TaskInstance:
        max_tries = 1

    context: Any = {"ti": TaskInstance(), "task_state_store": MemoryStore("get", "set")}
    assert Ledger.of(context, durable=False).action(WANTED, "fail") is Action.SUBMIT


def test_an_unknown_submit_says_when_it_was_so_that_a_person_can_look_for_it() -> None:
    store = MemoryStore()
    Ledger(store, 2, clock=lambda: 0.0).intend()
    ledger = Ledger(store, 2)
    assert ledger.action(WANTED, "fail") is Action.STOP
    assert "1970-01-01 00:00:00 UTC" in str(unknown_submit(ledger.record))
