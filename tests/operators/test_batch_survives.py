"""Processes of a batch that die, freeze or run side by side, and storages that fail: no job is lost or paid twice."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke._compat import AirflowFailException, TaskDeferred
from airflow_provider_falinvoke.batch import copies, journal, left, rows
from airflow_provider_falinvoke.batch.claims import JournalError, TakenOverError
from airflow_provider_falinvoke.batch.journal import Journal
from airflow_provider_falinvoke.batch.phases import Asked, Item, Phase
from airflow_provider_falinvoke.batch.storage import Folder
from airflow_provider_falinvoke.batch.wave import _Intent, _StoppedError
from airflow_provider_falinvoke.emulator import Emulator, Fault
from airflow_provider_falinvoke.exceptions import FalInvokeError
from airflow_provider_falinvoke.media.store import Folder as AnyFolder
from tests.support.batches import INSTANT, SLOW, Runner, call, fire, items_of, posts_by_prompt

pytestmark = pytest.mark.usefixtures("quick_deferral", "impatient_storage")


def prompts(count: int) -> list[str]:
    return [f"p{number}" for number in range(count)]


def once_each(count: int) -> Counter[str]:
    return Counter(prompts(count))


def next_try_of(run: Runner) -> Runner:
    """Return the runner of the try that Airflow starts though the process of this one may still run."""
    after = Runner(run.output, **run._changes)
    after.ti.max_tries, after.ti.try_number = run.ti.max_tries, run.ti.try_number + 1
    return after


class Pauses(logging.Handler):
    """Calls a function at each pause of a submit."""

    def __init__(self, see: Callable[[], None]) -> None:
        super().__init__()
        self._see = see

    def emit(self, record: logging.LogRecord) -> None:
        if "The submit was not taken" in record.getMessage():
            self._see()


@pytest.mark.parametrize("refused", ["429", "no connection"])
def test_a_worker_that_dies_while_a_submit_pauses_leaves_no_doubt(
    refused: str, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {**emulator.connection, "extra": {"submit_patience": 3}}
    monkeypatch.setenv("AIRFLOW_CONN_FALINVOKE_DEFAULT", json.dumps(connection))
    run = Runner(tmp_path, inputs=prompts(1), model_id=INSTANT)
    stored: list[str] = []
    if refused == "429":
        emulator.add_fault(Fault("answer", on="post", status=429, times=1))
    else:
        emulator.stop()

    def see() -> None:
        stored.extend(run.phases())
        if refused == "no connection":
            emulator.start()

    log = logging.getLogger("airflow_provider_falinvoke.api.drivers")
    handler = Pauses(see)
    log.addHandler(handler)
    try:
        assert run.try_()["done"] == 1
    finally:
        log.removeHandler(handler)
    assert stored == ["waiting"]
    assert len(emulator.jobs) == 1


def test_an_intent_stands_while_its_post_may_be_accepted_and_no_longer(tmp_path: Path) -> None:
    folder = Folder(f"{tmp_path.as_uri()}/_batch")
    journal = Journal(folder, {"dag_id": "d"})
    journal.take_over()
    journal.begin([Item(0, Asked("print", "m"))], generation=0, cost=None)
    stopped: list[bool] = []
    intent = _Intent(journal, 0, lambda: bool(stopped))
    for _ in range(2):
        intent.intend()
        assert [item["phase"] for item in items_of(tmp_path / "_batch")] == ["intent"]
        intent.withdraw()
        assert [item["phase"] for item in items_of(tmp_path / "_batch")] == ["waiting"]
    stopped.append(True)
    with pytest.raises(_StoppedError):
        intent.intend()
    assert journal.items[0].phase is Phase.WAITING


def test_an_intent_that_cannot_be_written_stops_the_post_and_withdrawing_never_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(Folder(tmp_path.as_uri()), {"dag_id": "d"})
    journal.take_over()
    journal.begin([Item(0, Asked("print", "m"))], generation=0, cost=None)
    intent = _Intent(journal, 0, lambda: False)

    def away(*_: Any) -> None:
        raise OSError("the storage is away")

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", away)
        with pytest.raises(JournalError, match="the storage is away"):
            intent.intend()
        assert journal.items[0].phase is Phase.WAITING
        intent.withdraw()


@pytest.mark.parametrize("now", [prompts(3), ["p2", "p0", "p1"]])
def test_a_task_that_is_cleared_while_its_posts_are_in_the_air_pays_nothing_twice_and_finds_its_jobs(
    emulator: Emulator, tmp_path: Path, now: list[str]
) -> None:
    """Whatever the clear was meant for: nobody was told that anything may have been paid."""
    run = Runner(tmp_path, inputs=prompts(3), model_id=INSTANT)
    emulator.add_fault(Fault("slow", on="post", seconds=2.0, times=3))
    errors: list[BaseException] = []

    def first_try() -> None:
        try:
            run.try_()
        except BaseException as error:
            errors.append(error)

    old = threading.Thread(target=first_try)
    old.start()
    while len(emulator.posts()) < 3:
        time.sleep(0.01)
    after = next_try_of(run)
    after.ti.max_tries += 1
    with pytest.raises(AirflowFailException, match="3 ambiguous"):
        after.try_(inputs=now)
    old.join()
    assert isinstance(errors[0], TakenOverError)
    assert all(request_id in str(errors[0]) for request_id in emulator.jobs), "each accepted job is named"
    assert after.retry(inputs=now)["done"] == 3
    assert posts_by_prompt(emulator) == once_each(3)


@pytest.mark.parametrize("now", [prompts(2), ["p1", "p0"], ["p1"]])
def test_an_old_process_that_tells_while_the_new_one_runs_is_heard(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: list[str]
) -> None:
    run = Runner(tmp_path, inputs=prompts(2), model_id=INSTANT)
    emulator.add_fault(Fault("slow", on="post", seconds=1.0, times=2))

    def first_try() -> None:
        with pytest.raises(TakenOverError):
            run.try_()

    old = threading.Thread(target=first_try)
    old.start()
    while len(emulator.posts()) < 2:
        time.sleep(0.01)
    catch_up = Journal.catch_up

    def once_the_old_process_has_ended(self: Journal) -> bool:
        old.join()
        return catch_up(self)

    monkeypatch.setattr(Journal, "catch_up", once_the_old_process_has_ended)
    after = next_try_of(run)
    assert after.try_(inputs=now)["done"] == len(now)
    assert [row["prompt"] for row in after.manifest()] == now
    assert posts_by_prompt(emulator) == once_each(2)


def test_a_process_that_is_frozen_at_any_step_of_its_storage_pays_nothing_when_it_wakes_after_the_next_try(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow gives a worker up whose heartbeat it misses; the worker may only have stood still."""
    real = {name: getattr(AnyFolder, name) for name in ("read", "write", "names")}
    frozen_at, steps = 0, itertools.count()
    awake = threading.Event()
    at_step: Callable[[], None] = lambda: None  # noqa: E731 - replaced in each round

    def wrapped(name: str) -> Callable[..., Any]:
        def act(self: AnyFolder, *arguments: Any) -> Any:
            if not awake.is_set() and next(steps) == frozen_at:
                awake.set()
                at_step()
            return real[name](self, *arguments)

        return act

    for name in real:
        monkeypatch.setattr(AnyFolder, name, wrapped(name))
    for frozen_at in itertools.count():
        steps = itertools.count()
        awake.clear()
        names = [f"r{frozen_at}-{number}" for number in range(3)]
        run = Runner(tmp_path / str(frozen_at), inputs=names, model_id=INSTANT)
        after = next_try_of(run)

        def next_try(after: Runner = after) -> None:
            try:
                after.try_()
            except AirflowFailException as error:
                assert "ambiguous" in str(error)

        at_step = next_try
        with contextlib.suppress(FalInvokeError):
            run.try_()
        if not awake.is_set():
            break
        awake.set()
        after.clear()
        assert after.try_()["done"] == 3, f"frozen at step {frozen_at}"
        made = posts_by_prompt(emulator)
        assert {name: made[name] for name in names} == dict.fromkeys(names, 1), f"frozen at step {frozen_at}"
        assert all(len(row["files"]) == 1 for row in after.manifest()), f"frozen at step {frozen_at}"
    assert frozen_at > 15


def test_the_second_half_of_a_try_that_was_given_up_submits_nothing(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=prompts(6), max_in_flight=3)
    with pytest.raises(TaskDeferred) as old:
        call(run.operator(), "execute", run.ti)
    after = next_try_of(run)
    event = fire(old.value)
    with pytest.raises(TaskDeferred):
        call(after.operator(), "execute", after.ti)
    posts = len(emulator.posts())
    with pytest.raises(TakenOverError, match="Try 2 of this task"):
        call(run.operator(), "next_wave", run.ti, event=event)
    assert len(emulator.posts()) == posts


@pytest.mark.parametrize("where", ["write", "names"])
@pytest.mark.parametrize("times", [1, 2, 6])
def test_a_storage_that_fails_while_posts_are_in_the_air_loses_no_id(
    where: str, times: int, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Runner(tmp_path, inputs=prompts(10), model_id=INSTANT)
    real = getattr(AnyFolder, where)
    failures: list[int] = []

    def fail(self: AnyFolder, *arguments: Any) -> Any:
        if len(emulator.posts()) >= 3 and len(failures) < times and "_batch" in str(self._path):
            failures.append(1)
            raise OSError("the storage is away")
        return real(self, *arguments)

    monkeypatch.setattr(AnyFolder, where, fail)
    assert run.try_()["done"] == 10
    assert len(failures) == times
    assert posts_by_prompt(emulator) == once_each(10)


def test_what_a_storage_does_not_take_for_a_minute_is_named_in_the_error_and_in_the_log(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = Runner(tmp_path, inputs=prompts(10), model_id=SLOW)
    write = Folder.write

    def fail(self: Folder, *arguments: Any) -> None:
        if emulator.jobs:
            raise OSError("the storage is away")
        write(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", fail)
        with pytest.raises(JournalError, match="the storage is away") as caught:
            run.try_()
    known = {item.get("request_id") for item in items_of(run.home / "_batch")}
    unknown = set(emulator.jobs) - known
    assert unknown
    assert all(request_id in str(caught.value) and request_id in caplog.text for request_id in unknown)


def test_a_damaged_file_blocks_its_own_items_alone_and_is_named(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Runner(tmp_path, inputs=prompts(102), model_id=INSTANT)
    run.try_()
    (path,) = (run.home / "_batch").glob("items-0001.*")
    path.write_bytes(b"")
    with pytest.raises(AirflowFailException, match=r"2 of 102 items are not home: 2 ambiguous.*failed: 100, 101;"):
        run.retry()
    assert path.name in caplog.text
    assert path.name in run.manifest()[101]["error"]
    with pytest.raises(AirflowFailException, match="2 ambiguous"):
        run.retry()
    assert path.name in run.manifest()[101]["error"]
    assert len(emulator.posts()) == 102
    run.clear()
    assert run.try_()["done"] == 102
    assert posts_by_prompt(emulator) == once_each(102) + Counter(["p100", "p101"])


def test_a_doubt_is_named_with_its_time_when_a_clear_pays_again(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Runner(tmp_path, inputs=prompts(2), model_id=INSTANT)
    emulator.add_fault(Fault("drop", on="post", match_prompt="p1", accepted=True))
    with pytest.raises(AirflowFailException, match="1 ambiguous"):
        run.try_()
    run.clear()
    assert run.try_()["done"] == 2
    day = time.strftime("%Y-%m-%d", time.gmtime())
    assert f"an earlier submit of theirs may have been paid: items 1 ({day} " in caplog.text


def test_inputs_that_are_fewer_at_one_try_and_more_at_the_next_pay_for_no_item_twice(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Runner(tmp_path, model_id=INSTANT)
    assert run.try_(inputs=prompts(104))["done"] == 104
    for count in (2, 103, 101, 104):
        assert run.retry(inputs=prompts(count))["done"] == count
    assert [len(row["files"]) for row in run.manifest()] == [1] * 104
    assert posts_by_prompt(emulator) == once_each(104)
    assert "damaged" not in caplog.text


def test_a_job_in_flight_that_a_try_does_not_ask_for_is_found_by_the_next(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path)
    with pytest.raises(TaskDeferred):
        call(run.operator(inputs=prompts(3)), "execute", run.ti)
    assert run.retry(inputs=prompts(1))["done"] == 1
    assert run.retry(inputs=prompts(3))["done"] == 3
    assert posts_by_prompt(emulator) == once_each(3)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a batch of some items take several files of the journal."""
    for module in (copies, journal, left, rows):
        monkeypatch.setattr(module, "CHUNK", 5)


@pytest.mark.usefixtures("small_chunks")
def test_inputs_in_another_order_pay_for_no_item_twice(emulator: Emulator, tmp_path: Path) -> None:
    """Airflow's own task state store goes by the place, and takes another item's state (apache/airflow #72725)."""
    run = Runner(tmp_path, model_id=INSTANT)
    assert run.try_(inputs=prompts(12))["done"] == 12
    run.clear()
    assert run.try_(inputs=["new", *prompts(12)])["done"] == 13
    assert run.retry(inputs=[*reversed(prompts(12)), "newer"])["done"] == 13
    assert [row["prompt"] for row in run.manifest()] == [*reversed(prompts(12)), "newer"]
    assert [row["index"] for row in run.manifest()] == list(range(13))
    assert all(row["request_id"] in row["files"][0]["path"] for row in run.manifest())
    assert run.retry(inputs=["new", "p11"])["done"] == 2
    assert posts_by_prompt(emulator) == once_each(12) + Counter(["new", "newer"])
    assert not [path for path in (run.home / "_batch").iterdir() if path.name.startswith("order")]


def test_jobs_in_flight_follow_inputs_in_another_order(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path)
    with pytest.raises(TaskDeferred):
        call(run.operator(inputs=prompts(6), max_in_flight=3), "execute", run.ti)
    assert run.retry(inputs=["new", *prompts(6)])["done"] == 7
    assert posts_by_prompt(emulator) == once_each(6) + Counter(["new"])


@pytest.mark.usefixtures("small_chunks")
def test_a_process_that_dies_while_it_puts_the_journal_in_order_costs_nothing(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Runner(tmp_path / "0", model_id=INSTANT)
    run.try_(inputs=prompts(12))
    write, rounds = AnyFolder.write, 0
    for dies_at in itertools.count(1):
        shutil.rmtree(tmp_path / "1", ignore_errors=True)
        shutil.copytree(tmp_path / "0", tmp_path / "1")
        again = Runner(tmp_path / "1", model_id=INSTANT)
        writes = itertools.count(1)

        def dying(self: AnyFolder, name: str, data: bytes, content_type: str) -> None:
            if next(writes) == dies_at:  # noqa: B023 - it is called within this round
                raise SystemExit
            write(self, name, data, content_type)

        with monkeypatch.context() as patched, contextlib.suppress(SystemExit):
            patched.setattr(AnyFolder, "write", dying)
            again.retry(inputs=list(reversed(prompts(12))))
            break
        rounds += 1
        assert again.retry(inputs=["p0", *reversed(prompts(12))])["done"] == 13
        assert [row["prompt"] for row in again.manifest()] == ["p0", *reversed(prompts(12))]
        assert all(row["request_id"] in row["files"][0]["path"] for row in again.manifest())
    assert rounds > 8
    assert posts_by_prompt(emulator) == once_each(12) + Counter({"p0": rounds})


@pytest.mark.usefixtures("small_chunks")
def test_what_is_lost_of_the_journal_is_not_paid_again_in_another_order(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, model_id=INSTANT)
    run.try_(inputs=prompts(12))
    (file,) = (run.home / "_batch").glob("items-0001.*")
    file.write_text("{")
    with pytest.raises(AirflowFailException, match="5 ambiguous"):
        run.retry(inputs=list(reversed(prompts(12))))
    assert posts_by_prompt(emulator) == once_each(12)
    assert sum("items-0001" in (row["error"] or "") for row in run.manifest()) == 5
