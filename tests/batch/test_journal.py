"""The journal: whole files, intents before risks, and one process that writes."""

from __future__ import annotations

import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke.batch import arrangement
from airflow_provider_falinvoke.batch.claims import Claim, TakenOverError
from airflow_provider_falinvoke.batch.copies import CHUNK
from airflow_provider_falinvoke.batch.journal import ROWS_AT_ONCE, Journal
from airflow_provider_falinvoke.batch.phases import Asked, Item, Phase
from airflow_provider_falinvoke.batch.result import row_of
from airflow_provider_falinvoke.batch.storage import Folder
from airflow_provider_falinvoke.exceptions import FalInvokeError, FalInvokeMediaError
from tests.support.s3 import Bucket

pytestmark = pytest.mark.usefixtures("impatient_storage")

WHOSE: dict[str, str | int] = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1}


@pytest.fixture(params=["file", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "file":
        return Folder(f"{tmp_path.as_uri()}/home/_batch")
    bucket: Bucket = request.getfixturevalue("s3_server")
    return Folder(bucket.path("home/_batch"))


def items(count: int) -> list[Item]:
    return [Item(index, Asked(f"print-{index}", "m", index / 8)) for index in range(count)]


def begun(folder: Folder, count: int = 250, **whose: Any) -> Journal:
    journal = Journal(folder, WHOSE, **whose)
    assert not journal.take_over()
    journal.begin(items(count), generation=0, cost=1.5)
    return journal


def reread(folder: Folder, **whose: Any) -> Journal:
    journal = Journal(folder, WHOSE, **whose)
    assert journal.take_over()
    return journal


def file_of(folder: Folder, kind: str) -> str:
    """Return the name of the one file of a kind."""
    below = "claims/" if kind == "claims" else ""
    (name,) = [name for name in folder.names(below) if below or name.startswith(kind)]
    return f"{below}{name}"


def test_another_process_finds_what_was_flushed(folder: Folder) -> None:
    journal = begun(folder)
    submitted = Item(
        120, Asked("print-120", "m", 0.0), Phase.SUBMITTED, "id-120", submitted_at=10.5, deadline=20.25, ended_at=0.0
    )
    journal.put(submitted)
    journal.commit()
    journal.put(items(250)[7].with_(Phase.INTENT))
    found = reread(folder)
    assert found.items[120] == submitted
    assert found.items[7].phase is Phase.WAITING, "it was not flushed"
    assert [item.index for item in found.items] == list(range(250))
    assert (found.head.items, found.head.cost, found.head.generation) == (250, 1.5, 0)


def test_every_phase_and_field_survives(folder: Folder) -> None:
    journal = begun(folder, len(Phase))
    for index, phase in enumerate(Phase):
        journal.put(Item(index, Asked("p", "m"), phase, f"id{index}", 1.0, 2.0, 3.0, 4.0, 5.0))
    journal.commit()
    assert reread(folder).items == journal.items


def test_a_flush_writes_only_the_hundred_that_changed(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = begun(folder)
    written: list[str] = []
    write = Folder.write

    def noting(self: Folder, name: str, data: bytes, content_type: str) -> None:
        written.append(name)
        write(self, name, data, content_type)

    monkeypatch.setattr(Folder, "write", noting)
    journal.commit()
    assert written == []
    journal.put(journal.items[CHUNK].with_(Phase.INTENT))
    journal.put(journal.items[CHUNK + 1].with_(Phase.INTENT))
    journal.commit()
    journal.commit()
    assert [name.partition(".")[0] for name in written] == ["items-0001"]


def test_a_new_try_writes_what_it_makes_of_the_old_one(folder: Folder) -> None:
    begun(folder, 150)
    journal = reread(folder)
    journal.begin([*journal.items[:149], Item(149, Asked("new", "m")), *items(160)[150:]], generation=2, cost=None)
    found = reread(folder)
    assert (len(found.items), found.head.generation, found.head.cost) == (160, 2, None)
    assert found.items[149].asked.fingerprint == "new"


def test_fewer_inputs_leave_fewer_items(folder: Folder) -> None:
    begun(folder, 350)
    journal = reread(folder)
    journal.begin(journal.items[:120], generation=0, cost=None)
    assert [item.index for item in reread(folder).items] == list(range(120))


def test_items_and_what_is_told_of_them_change_their_places(folder: Folder) -> None:
    journal = begun(folder, 250)
    for item in journal.items:
        done = item.with_(Phase.DONE, request_id=f"job-{item.index}")
        journal.tell(done, row_of(done, {"files": [item.index]}))
    journal.close()
    again = reread(folder)
    again.rearrange([None, *reversed(range(250))])
    again.begin([Item(0, Asked("new", "m")), *again.known[1:]], generation=0, cost=None)
    again.close()
    found = reread(folder)
    assert [item.request_id for item in found.items] == [None, *(f"job-{number}" for number in reversed(range(250)))]
    assert [row and row["files"] for _, row in found.rows()] == [None, *([number] for number in reversed(range(250)))]
    assert [row["index"] for _, row in found.rows() if row] == list(range(1, 251))
    assert not [name for name in folder.names() if name.startswith("order")]


def test_an_order_that_a_later_process_did_not_wait_for_counts_no_more(folder: Folder) -> None:
    begun(folder, 3)
    stale = arrangement.Order(list(reversed(items(3))), [])
    folder.write("order.000000-000-00000000.json", arrangement.written(stale), "application/json")
    assert reread(folder).items == items(3)
    damaged = arrangement.order_name(Claim(10**6, 0, "00000000"))
    folder.write(damaged, b"{", "application/json")
    with pytest.raises(FalInvokeError, match=r"cannot be read.*Nothing was submitted"):
        Journal(folder, WHOSE).take_over()


def test_a_new_try_may_submit_again_though_the_last_one_was_stopped(folder: Folder) -> None:
    journal = begun(folder, 3)
    journal.note(stopped="ten in a row", blocked_since=4.0)
    assert (reread(folder).head.stopped, reread(folder).head.blocked_since) == ("ten in a row", 4.0)
    again = reread(folder)
    again.begin(again.items, generation=0, cost=None)
    assert (reread(folder).head.stopped, reread(folder).head.blocked_since) == (None, None)


def test_cannot_read_is_not_nothing_stored(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(folder)

    def refuse(self: Folder, name: str) -> bytes | None:
        raise PermissionError(name)

    monkeypatch.setattr(Folder, "read", refuse)
    with pytest.raises(FalInvokeError, match=r"cannot be read.*Nothing was submitted"):
        Journal(folder, WHOSE).take_over()


@pytest.mark.parametrize("damage", [b"", b"{", b"{}", b'[{"index": 0}]', b'[{"phase": "unheard of"}]', b"[1]", b"\xff"])
def test_a_damaged_head_stops_the_batch(folder: Folder, damage: bytes) -> None:
    begun(folder)
    folder.write(file_of(folder, "claims"), damage, "application/json")
    with pytest.raises(FalInvokeError, match="cannot be read"):
        Journal(folder, WHOSE).take_over()


@pytest.mark.parametrize(
    "damage", [None, b"", b"{", b"{}", b"[]", b'[{"index": 0}]', b'[{"phase": "unheard of"}]', b"[1]", b"\xff"]
)
def test_a_damaged_or_missing_file_blocks_its_own_items_and_is_named(tmp_path: Path, damage: bytes | None) -> None:
    folder = Folder(tmp_path.as_uri())
    journal = begun(folder)
    journal.put(journal.items[50].with_(Phase.SUBMITTED, request_id="id-50"))
    journal.commit()
    path = tmp_path / file_of(folder, "items-0001")
    path.unlink() if damage is None else path.write_bytes(damage)
    found = reread(folder)
    assert {item.index for item in found.items if item.phase is Phase.AMBIGUOUS} == set(range(100, 200))
    assert set(found.lost) == set(range(100, 200))
    assert "items-0001" in found.lost[100]
    assert "not submitted again" in found.lost[100]
    assert found.items[50].request_id == "id-50"
    found.begin(found.items, generation=0, cost=None)
    again = reread(folder)
    assert again.lost == {}, "it was told once, and what it is taken for is written"
    assert {item.index for item in again.items if item.phase is Phase.AMBIGUOUS} == set(range(100, 200))


def test_a_lost_head_loses_no_item(tmp_path: Path) -> None:
    """Nor does a process that dies right after it has claimed a journal without a head."""
    folder = Folder(tmp_path.as_uri())
    begun(folder)
    folder.remove(file_of(folder, "claims"))
    for _ in range(2):
        assert len(reread(folder).items) == 250


def test_the_journal_of_another_task_is_not_taken_over(folder: Folder) -> None:
    begun(folder)
    with pytest.raises(FalInvokeError, match="cannot be read"):
        Journal(folder, {**WHOSE, "run_id": "another"}).take_over()


def test_a_process_that_was_given_up_but_still_runs_is_told_so(folder: Folder) -> None:
    """Airflow starts the next try when it misses a worker's heartbeat; the worker may still be there."""
    old = begun(folder)
    new = reread(folder)
    old.put(old.items[0].with_(Phase.INTENT))
    with pytest.raises(TakenOverError, match="Another process has taken over"):
        old.commit()
    with pytest.raises(TakenOverError, match="Another process has taken over"):
        old.note(stopped="x")
    old.put(old.items[4].with_(Phase.SUBMITTED, request_id="id-4"))
    with pytest.raises(TakenOverError, match=r"submits nothing more.*may be missing in it.*: id-4"):
        old.commit()
    old.tell(old.items[1].with_(Phase.DONE), row_of(old.items[1].with_(Phase.DONE), {}))
    with pytest.raises(TakenOverError, match="Another process has taken over"):
        old.close()
    new.put(new.items[2].with_(Phase.INTENT))
    new.commit()
    assert [item.phase for item in reread(folder).items[:3]] == [Phase.WAITING, Phase.WAITING, Phase.INTENT]


def test_an_older_try_never_takes_over_from_a_newer(folder: Folder) -> None:
    new = begun(folder, 3, try_number=2)
    with pytest.raises(TakenOverError, match="Try 2 of this task has taken over"):
        Journal(folder, WHOSE, try_number=1).take_over()
    new.put(new.items[0].with_(Phase.INTENT))
    new.commit()
    reread(folder, try_number=2)
    reread(folder, try_number=3)


def test_a_run_that_was_deleted_and_made_again_begins_with_try_1_and_takes_over_all_the_same(folder: Folder) -> None:
    """Airflow's ids of task instances are ordered by time."""
    begun(folder, 3, try_number=3, task_instance="0199a1")
    reread(folder, try_number=1, task_instance="0199b0")
    with pytest.raises(TakenOverError):
        Journal(folder, WHOSE, try_number=0, task_instance="0199a1").take_over()


@pytest.mark.parametrize("tries", [(1, 2), (1, 1)])
def test_of_two_that_claim_at_the_same_time_one_goes_on(
    tmp_path: Path, tries: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is frozen between its look and its claim wakes beside the next one."""
    folder = Folder(tmp_path.as_uri())
    begun(folder, 3)
    write = Folder.write
    frozen = Journal(folder, WHOSE, try_number=tries[0])
    awake: list[Journal] = []

    def another_comes_first(self: Folder, name: str, data: bytes, content_type: str) -> None:
        if not awake:
            awake.append(Journal(folder, WHOSE, try_number=tries[1]))
            awake[0].take_over()
            awake[0].put(awake[0].items[0].with_(Phase.SUBMITTED, request_id="id-0"))
            awake[0].commit()
        write(self, name, data, content_type)

    monkeypatch.setattr(Folder, "write", another_comes_first)
    try:
        frozen.take_over()
    except TakenOverError:
        awake[0].put(awake[0].items[1].with_(Phase.INTENT))
        awake[0].commit()
    else:
        assert tries == (1, 1), "an older try never wins"
        assert frozen.items[0].request_id == "id-0", "it reads what the other did before"
        with pytest.raises(TakenOverError):
            awake[0].note(stopped="x")


def test_what_an_old_process_writes_late_is_not_written_over_what_a_new_one_knows(folder: Folder) -> None:
    old = begun(folder, 3)
    new = reread(folder)
    new.put(new.items[0].with_(Phase.SUBMITTED, request_id="new-0"))
    told(new, 1)
    new.close()
    told(old, 2)
    with pytest.raises(TakenOverError):
        old.close()
    found = reread(folder)
    assert [item.request_id for item in found.items] == ["new-0", "id1", None]
    assert [row["index"] for _, row in found.rows() if row] == [1]


def test_an_id_that_came_back_after_another_process_took_over_is_found(folder: Folder) -> None:
    old = begun(folder, 3)
    for index in (0, 1, 2):
        old.put(old.items[index].with_(Phase.INTENT, intended_at=50.25 + index))
    old.commit()
    new = reread(folder)
    new.begin([item.with_(Phase.AMBIGUOUS) for item in new.items], generation=1, cost=None)
    assert not new.catch_up()
    old.put(old.items[0].with_(Phase.SUBMITTED, request_id="late"))
    old.put(old.items[1].with_(Phase.WAITING))
    with pytest.raises(TakenOverError):
        old.commit()
    expected = [(Phase.SUBMITTED, "late"), (Phase.WAITING, None), (Phase.AMBIGUOUS, None)]
    third = reread(folder)
    assert [(item.phase, item.request_id) for item in third.items] == expected
    assert new.catch_up()
    assert [(item.phase, item.request_id) for item in new.items] == expected
    assert not new.catch_up()
    third.close()
    assert [(item.phase, item.request_id) for item in reread(folder).items] == expected


def test_what_became_of_another_submit_says_nothing_of_this_one(folder: Folder) -> None:
    """The user said "retry": the item is submitted again, and the first submit's id comes late."""
    old = begun(folder, 1)
    old.put(old.items[0].with_(Phase.INTENT, intended_at=50.0))
    old.commit()
    new = reread(folder)
    new.put(new.items[0].with_(Phase.INTENT, intended_at=70.0))
    new.commit()
    old.put(old.items[0].with_(Phase.SUBMITTED, request_id="late"))
    with pytest.raises(TakenOverError, match="late"):
        old.commit()
    assert not new.catch_up()
    assert reread(folder).items[0].phase is Phase.INTENT


def test_processes_that_follow_one_another_do_not_pile_up_files(tmp_path: Path) -> None:
    folder = Folder(tmp_path.as_uri())
    begun(folder, 250)
    for number in range(12):
        journal = reread(folder)
        journal.put(journal.items[20 * number].with_(Phase.SUBMITTED, request_id=f"id-{number}"))
        told(journal, 20 * number)
        journal.close()
    assert len(folder.names()) == 3 + 3 + 1
    assert len(folder.names("claims")) == 1
    found = reread(folder)
    assert [item.index for item, row in found.rows() if row and item.phase is Phase.DONE] == [*range(0, 240, 20)]


def test_a_journal_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    folder = Folder(tmp_path.as_uri())
    head = {"batch": WHOSE, "owner": "abc", "generation": 2, "items": 2, "cost": 1.5}
    item = {"fingerprint": "print-0", "model_id": "m", "phase": "submitted", "request_id": "id-0", "submitted_at": 1.0}
    folder.write("head.json", json.dumps(head).encode(), "application/json")
    folder.write("items-0000.json", json.dumps([{"index": n, **item} for n in range(2)]).encode(), "application/json")
    folder.write("rows-0000.jsonl", json.dumps(row_of(items(1)[0], {})).encode(), "application/jsonl")
    journal = reread(folder, try_number=1)
    assert [(one.phase, one.request_id) for one in journal.items] == [(Phase.SUBMITTED, "id-0")] * 2
    assert (journal.head.generation, journal.head.cost) == (2, 1.5)
    told(journal, 1)
    journal.close()
    assert len(folder.names()) == 3
    assert "head.json" not in folder.names(), "a process of the earlier version finds that it is not its own any more"
    assert reread(folder, try_number=1).items == journal.items


def failing(monkeypatch: pytest.MonkeyPatch, times: int | None, where: str = "write") -> list[int]:
    """Let the storage fail so many times, or always; return a list that grows with each."""
    failures: list[int] = []
    real = getattr(Folder, where)

    def fail(self: Folder, *arguments: Any) -> Any:
        if times is None or len(failures) < times:
            failures.append(1)
            raise OSError("the storage is away")
        return real(self, *arguments)

    monkeypatch.setattr(Folder, where, fail)
    return failures


@pytest.mark.parametrize("where", ["write", "names"])
def test_a_storage_that_is_away_for_a_while_is_waited_for_with_the_ids_that_came_back(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    journal = begun(folder, 3)
    journal.put(journal.items[1].with_(Phase.SUBMITTED, request_id="id-1"))
    with monkeypatch.context() as patch:
        failures = failing(patch, 4, where)
        journal.commit()
    assert len(failures) == 4
    assert reread(folder).items[1].request_id == "id-1"


def test_rows_wait_until_the_ids_are_written(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = begun(folder, 3)
    written: list[str] = []
    write = Folder.write
    told(journal, 0)
    journal.put(journal.items[1].with_(Phase.SUBMITTED, request_id="id-1"))

    def noting(self: Folder, name: str, data: bytes, content_type: str) -> None:
        written.append(f"{name[:5]} {b'id-1' in data}")
        write(self, name, data, content_type)

    monkeypatch.setattr(Folder, "write", noting)
    journal.close()
    assert written == ["items True", "rows- False", "items True"]


def test_many_threads_share_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path.as_uri())
    journal = begun(folder, 40)
    write, writes, all_here = Folder.write, [], threading.Barrier(8)

    def slow(self: Folder, name: str, data: bytes, content_type: str) -> None:
        writes.append(data.count(b'"intent"'))
        time.sleep(0.02)
        write(self, name, data, content_type)

    def intend(index: int) -> None:
        all_here.wait()
        journal.put(journal.items[index].with_(Phase.INTENT))
        journal.commit()
        assert b'"intent"' in (tmp_path / file_of(folder, "items-0000")).read_bytes()

    monkeypatch.setattr(Folder, "write", slow)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(intend, range(8)))
    assert writes[-1] == 8
    assert len(writes) <= 3


def test_a_journal_that_cannot_be_written_names_the_jobs_that_may_be_missing_in_it(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = begun(folder)
    journal.put(journal.items[5].with_(Phase.SUBMITTED, request_id="id-5"))

    def full(self: Folder, name: str, data: bytes, content_type: str) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", full)
        with pytest.raises(FalInvokeError, match=r"No space left.*id-5"):
            journal.commit()
    journal.commit()
    assert reread(folder).items[5].request_id == "id-5", "what could not be written is written later"


def test_nothing_is_submitted_where_a_try_cannot_be_begun(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Folder, name: str, data: bytes, content_type: str) -> None:
        raise OSError("No space left on device")

    journal = Journal(folder, WHOSE)
    journal.take_over()
    monkeypatch.setattr(Folder, "write", full)
    with pytest.raises(FalInvokeError, match="Nothing was submitted"):
        journal.begin(items(3), generation=0, cost=None)


@pytest.mark.parametrize("survives", range(4))
def test_a_process_that_dies_while_it_begins_blocks_nothing(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    """It writes its claim, two files of items, and then its head."""
    write = Folder.write
    written: list[str] = []

    def dies(self: Folder, name: str, data: bytes, content_type: str) -> None:
        if len(written) == survives:
            raise KeyboardInterrupt
        written.append(name)
        write(self, name, data, content_type)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Folder, "write", dies)
        begun(folder, 150)
    journal = Journal(folder, WHOSE)
    journal.take_over()
    assert journal.lost == {}
    journal.begin(items(20), generation=0, cost=None)
    assert reread(folder).items == items(20)


def test_what_is_written_in_a_block_that_fails_is_not_there(folder: Folder) -> None:
    with folder.writing("whole", "text/plain") as target:
        target.write(b"x" * 100_000)
    with pytest.raises(KeyError), folder.writing("half", "text/plain") as target:
        target.write(b"x")
        raise KeyError
    assert folder.read("whole") == b"x" * 100_000
    assert folder.read("half") is None


def told(journal: Journal, index: int) -> None:
    item = journal.items[index].with_(Phase.DONE, request_id=f"id{index}")
    journal.tell(item, {**row_of(item, {}), "n": index})


def test_an_item_is_done_once_what_is_told_of_it_is_written(folder: Folder) -> None:
    journal = begun(folder)
    for index in range(ROWS_AT_ONCE - 1):
        told(journal, index)
    assert journal.items[0].phase is Phase.WAITING
    assert [row for _, row in reread(folder).rows() if row] == []
    journal = reread(folder)
    for index in range(90, 90 + ROWS_AT_ONCE):
        told(journal, index)
    found = reread(folder)
    assert [row["index"] for _, row in found.rows() if row] == list(range(90, 90 + ROWS_AT_ONCE))
    assert {item.index for item in found.items if item.phase is Phase.DONE} == set(range(90, 90 + ROWS_AT_ONCE))


def test_rows_come_in_the_order_of_the_items_and_the_last_told_counts(folder: Folder) -> None:
    journal = begun(folder, 130)
    for index in (120, 3, 101, 2):
        told(journal, index)
    journal.close()
    told(journal, 1)
    journal.tell(journal.items[3], {**row_of(journal.items[3], {}), "n": "again"})
    journal.close()
    rows = list(reread(folder).rows())
    assert [item.index for item, _ in rows] == list(range(130))
    assert [row["n"] for _, row in rows if row] == [1, 2, "again", 101, 120]


@pytest.mark.parametrize("number", [100, 10_000])
def test_an_item_takes_some_250_bytes_of_storage(tmp_path: Path, number: int) -> None:
    folder = Folder(tmp_path.as_uri())
    journal = Journal(folder, WHOSE)
    journal.take_over()
    identifier = "6590784a-ce47-4556-9ff4-53baff2693fb"
    journal.begin(
        [
            Item(index, Asked("f" * 64, "fal-ai/flux/schnell", 0.003), Phase.DONE, identifier, 1e9, 1e9, 1e9, 1e9)
            for index in range(number)
        ],
        generation=0,
        cost=None,
    )
    size = sum(path.stat().st_size for path in tmp_path.glob("items-*"))
    assert 200 < size / number < 350
    shutil.rmtree(tmp_path)


def test_an_unknown_storage_is_found_before_anything_is_paid() -> None:
    with pytest.raises(FalInvokeMediaError, match=r"nothing://at/all cannot be used.*Nothing was submitted"):
        Folder("nothing://at/all")


def test_the_journal_is_readable(tmp_path: Path) -> None:
    """Somebody who looks for a lost job finds it with a text editor."""
    folder = Folder(tmp_path.as_uri())
    journal = begun(folder, 1)
    journal.put(journal.items[0].with_(Phase.SUBMITTED, request_id="id-0"))
    journal.commit()
    (item,) = json.loads((tmp_path / file_of(folder, "items")).read_text())
    assert (item["index"], item["phase"], item["request_id"]) == (0, "submitted", "id-0")


@pytest.mark.parametrize("count", [0, 1, 100, 120, 250, 251])
def test_what_a_try_does_not_ask_for_is_kept_for_the_next(folder: Folder, count: int) -> None:
    journal = begun(folder)
    journal.put(journal.items[249].with_(Phase.SUBMITTED, request_id="id-249"))
    journal.commit()
    kept = [*journal.items, *items(260)[250:]]
    journal = reread(folder)
    journal.begin(kept[:count], generation=0, cost=None)
    journal.close()
    found = reread(folder)
    assert (found.items, found.known) == (kept[:count], kept[: max(count, 250)])
    assert found.lost == {}


def test_a_damaged_file_of_items_that_no_try_asks_for_now_blocks_them_when_one_does(folder: Folder) -> None:
    journal = begun(folder)
    journal.begin(journal.items[:10], generation=0, cost=None)
    (name,) = [name for name in folder.names() if name.startswith("items-0001")]
    folder.write(name, b"[", "application/json")
    found = reread(folder)
    assert [item.phase for item in found.known[100:200]] == [Phase.AMBIGUOUS] * 100
    assert [item.phase for item in found.items] == [Phase.WAITING] * 10
