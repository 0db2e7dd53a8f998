"""The journal: whole files, intents before risks, and one process that writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from airflow_provider_falinvoke.batch.journal import CHUNK, ROWS_AT_ONCE, Journal
from airflow_provider_falinvoke.batch.phases import Asked, Item, Phase
from airflow_provider_falinvoke.batch.storage import Folder
from airflow_provider_falinvoke.exceptions import FalInvokeError, FalInvokeMediaError
from tests.support.s3 import Bucket

WHOSE: dict[str, str | int] = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1}


@pytest.fixture(params=["file", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "file":
        return Folder(f"{tmp_path.as_uri()}/home/_batch")
    bucket: Bucket = request.getfixturevalue("s3_server")
    return Folder(bucket.path("home/_batch"))


def items(count: int) -> list[Item]:
    return [Item(index, Asked(f"print-{index}", "m", index / 8)) for index in range(count)]


def begun(folder: Folder, count: int = 250) -> Journal:
    journal = Journal(folder, WHOSE)
    assert not journal.take_over()
    journal.begin(items(count), generation=0, cost=1.5)
    return journal


def reread(folder: Folder) -> Journal:
    journal = Journal(folder, WHOSE)
    assert journal.take_over()
    return journal


def test_another_process_finds_what_was_flushed(folder: Folder) -> None:
    journal = begun(folder)
    submitted = Item(
        120, Asked("print-120", "m", 0.0), Phase.SUBMITTED, "id-120", submitted_at=10.5, deadline=20.25, ended_at=0.0
    )
    journal.put(submitted)
    journal.flush()
    journal.put(items(250)[7].with_(Phase.INTENT))
    found = reread(folder)
    assert found.items[120] == submitted
    assert found.items[7].phase is Phase.WAITING, "it was not flushed"
    assert [item.index for item in found.items] == list(range(250))
    assert (found.head.items, found.head.cost, found.head.generation) == (250, 1.5, 0)


def test_every_phase_and_field_survives(folder: Folder) -> None:
    journal = begun(folder, len(Phase))
    for index, phase in enumerate(Phase):
        journal.put(Item(index, Asked("p", "m"), phase, f"id{index}", 1.0, 2.0, 3.0))
    journal.flush()
    assert reread(folder).items == journal.items


def test_a_flush_writes_only_the_hundred_that_changed(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = begun(folder)
    written: list[str] = []
    write = Folder.write

    def noting(self: Folder, name: str, data: bytes, content_type: str) -> None:
        written.append(name)
        write(self, name, data, content_type)

    monkeypatch.setattr(Folder, "write", noting)
    journal.flush()
    assert written == []
    journal.put(journal.items[CHUNK].with_(Phase.INTENT))
    journal.put(journal.items[CHUNK + 1].with_(Phase.INTENT))
    journal.flush()
    journal.flush()
    assert written == ["items-0001.json"]


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


@pytest.mark.parametrize("damage", [b"", b"{", b"{}", b'[{"index": 0}]', b'[{"phase": "unheard of"}]'])
@pytest.mark.parametrize("name", ["head.json", "items-0001.json"])
def test_a_damaged_file_stops_the_batch(folder: Folder, name: str, damage: bytes) -> None:
    begun(folder)
    folder.write(name, damage, "application/json")
    with pytest.raises(FalInvokeError, match="cannot be read"):
        Journal(folder, WHOSE).take_over()


def test_a_missing_file_is_not_a_hundred_items_of_which_nothing_was_sent(tmp_path: Path) -> None:
    folder = Folder(tmp_path.as_uri())
    begun(folder)
    (tmp_path / "items-0001.json").unlink()
    with pytest.raises(FalInvokeError, match=r"items-0001\.json is missing"):
        Journal(folder, WHOSE).take_over()


def test_the_journal_of_another_task_is_not_taken_over(folder: Folder) -> None:
    begun(folder)
    with pytest.raises(FalInvokeError, match="cannot be read"):
        Journal(folder, {**WHOSE, "run_id": "another"}).take_over()


def test_a_process_that_was_given_up_but_still_runs_writes_no_more(folder: Folder) -> None:
    """Airflow starts the next try when it misses a worker's heartbeat; the worker may still be there."""
    old = begun(folder)
    new = reread(folder)
    old.put(old.items[0].with_(Phase.INTENT))
    with pytest.raises(FalInvokeError, match="Another process has taken over"):
        old.flush()
    with pytest.raises(FalInvokeError, match="Another process has taken over"):
        old.note(stopped="x")
    old.tell(old.items[1].with_(Phase.DONE), {"index": 1})
    with pytest.raises(FalInvokeError, match="Another process has taken over"):
        old.close()
    new.put(new.items[2].with_(Phase.INTENT))
    new.flush()
    assert [item.phase for item in reread(folder).items[:3]] == [Phase.WAITING, Phase.WAITING, Phase.INTENT]


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
            journal.flush()
    journal.flush()
    assert reread(folder).items[5].request_id == "id-5", "what could not be written is written later"


def test_nothing_is_submitted_where_a_try_cannot_be_begun(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Folder, name: str, data: bytes, content_type: str) -> None:
        raise OSError("No space left on device")

    journal = Journal(folder, WHOSE)
    journal.take_over()
    monkeypatch.setattr(Folder, "write", full)
    with pytest.raises(FalInvokeError, match="Nothing was submitted"):
        journal.begin(items(3), generation=0, cost=None)


def test_a_process_that_dies_while_it_begins_leaves_no_journal(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Folder.write

    def dies_at_the_head(self: Folder, name: str, data: bytes, content_type: str) -> None:
        if name == "head.json":
            raise KeyboardInterrupt
        write(self, name, data, content_type)

    journal = Journal(folder, WHOSE)
    journal.take_over()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Folder, "write", dies_at_the_head)
        journal.begin(items(150), generation=0, cost=None)
    begun(folder, 20)
    assert len(reread(folder).items) == 20


def test_what_is_written_in_a_block_that_fails_is_not_there(folder: Folder) -> None:
    with folder.writing("whole", "text/plain") as target:
        target.write(b"x" * 100_000)
    with pytest.raises(KeyError), folder.writing("half", "text/plain") as target:
        target.write(b"x")
        raise KeyError
    assert folder.read("whole") == b"x" * 100_000
    assert folder.read("half") is None


def told(journal: Journal, index: int) -> None:
    journal.tell(journal.items[index].with_(Phase.DONE, request_id=f"id{index}"), {"index": index, "n": index})


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
    journal.tell(journal.items[3].with_(Phase.DONE), {"index": 3, "n": "again"})
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
            Item(index, Asked("f" * 64, "fal-ai/flux/schnell", 0.003), Phase.DONE, identifier, 1e9, 1e9, 1e9)
            for index in range(number)
        ],
        generation=0,
        cost=None,
    )
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
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
    journal.flush()
    (item,) = json.loads((tmp_path / "items-0000.json").read_text())
    assert (item["index"], item["phase"], item["request_id"]) == (0, "submitted", "id-0")
