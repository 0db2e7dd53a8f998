"""The simulation sees: each fault that is planted is found, at a point where all holds without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import httpx
import pytest

from airflow_provider_falinvoke import durable
from airflow_provider_falinvoke.api import exchange
from airflow_provider_falinvoke.media.store import Folder
from tests.simulation import airflow
from tests.simulation.blows import Blow
from tests.simulation.disk import Disk
from tests.simulation.explore import examine, points, undisturbed
from tests.simulation.objects import Objects
from tests.simulation.stage import Case


def problems(case: Case, invariant: str) -> list[str]:
    return [problem.what for problem in examine(case).invariants.problems if problem.invariant == invariant]


def finds(invariant: str, plant: Any, path: str, *blows: Blow, storage: str = "objects", then: str = "retry") -> Case:
    """Return the first point of a path at which ``plant`` breaks an invariant."""
    undisturbed.cache_clear()
    try:
        with plant:
            cases = (case for case in points(path, storage) if case.then == then and case.blows[0][1] in blows)
            found = next((case for case in cases if problems(case, invariant)), None)
    finally:
        undisturbed.cache_clear()
    assert found is not None, f"nobody saw {plant}"
    assert problems(found, invariant) == []
    return found


def forgetting(*phases: str) -> Any:
    """Plant a task that does not store these phases of its job."""
    store: Callable[..., None] = airflow.StateStore.set

    def set_(self: airflow.StateStore, key: str, value: Any, **more: Any) -> None:
        if value.get("phase") not in phases:
            store(self, key, value, **more)

    return mock.patch.object(airflow.StateStore, "set", set_)


def test_an_intent_that_is_not_stored() -> None:
    finds("paid twice", forgetting("intent"), "sync", Blow.KILL_AFTER)


def test_an_id_that_is_not_stored() -> None:
    finds("a retry ends", forgetting("submitted", "done"), "sync", Blow.KILL_AFTER)


def test_a_result_that_is_taken_for_a_success_before_airflow_knows_it() -> None:
    store: Callable[..., None] = airflow.StateStore.set

    def set_(self: airflow.StateStore, key: str, value: Any, **more: Any) -> None:
        store(self, key, {**value, "acknowledged": value.get("phase") == "done"}, **more)

    plant = mock.patch.object(airflow.StateStore, "set", set_)
    finds("paid twice", plant, "sync", Blow.KILL_AFTER, then="clear")


def test_a_submit_over_an_intent() -> None:
    def over(*given: Any) -> durable.Action:
        action = decide(*given)
        return durable.Action.SUBMIT if action is durable.Action.STOP else action

    decide = durable.decide
    finds("paid twice", mock.patch.object(durable, "decide", over), "sync", Blow.KILL_AFTER)


def test_a_post_that_is_repeated_after_its_reply_was_lost() -> None:
    repeated = (*exchange._NEVER_ARRIVED, httpx.ReadTimeout)
    finds("paid twice", mock.patch.object(exchange, "_NEVER_ARRIVED", repeated), "sync", Blow.ERROR_AFTER)


def test_a_store_that_cannot_be_read_and_is_taken_for_empty() -> None:
    get: Callable[..., Any] = airflow.StateStore.get

    def empty(self: airflow.StateStore, key: str, **more: Any) -> Any:
        try:
            return get(self, key, **more)
        except airflow.AirflowAwayError:
            return None

    posted = next(one.number for one in undisturbed("sync", "objects", 0)[0] if one.name.startswith("POST"))
    twice = Case("sync", "objects", 0, ((posted, Blow.KILL_AFTER), (posted + 1, Blow.OUTAGE_2)))
    with mock.patch.object(airflow.StateStore, "get", empty):
        assert problems(twice, "paid twice")
    assert problems(twice, "paid twice") == []


def test_an_old_process_that_is_not_fenced() -> None:
    def refusing_nobody(self: airflow.Airflow, kind: Any, name: str, attempt: int, effect: Any, **_: Any) -> Any:
        return self.world.do(kind, name, effect)

    finds("paid twice", mock.patch.object(airflow.Airflow, "do", refusing_nobody), "sync", Blow.FREEZE_AFTER)


class _InPlace:
    """A file that is written under its final name."""

    def __init__(self, fs: Any, path: str) -> None:
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._file = fs.open(path, "wb")

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def commit(self) -> None:
        self._file.close()

    def discard(self) -> None:
        self._file.close()


@pytest.mark.parametrize("storage", ["disk", "objects"])
def test_a_file_that_is_written_in_place(storage: str) -> None:
    def new_file(self: Any, name: str, content_type: str) -> _InPlace:
        del content_type
        return _InPlace(self._fs, (self._path / name).path)

    plant = mock.patch.object(Folder, "new_file", new_file)
    finds("half a file", plant, "sync", Blow.TORN, Blow.KILL_AFTER, storage=storage)


def test_a_file_that_is_not_synced() -> None:
    plant = mock.patch.object(Disk, "_synced", lambda *_: None)
    finds("half a file", plant, "sync", Blow.POWER_NAMES, storage="disk")


def test_a_batch_that_does_not_store_its_intents() -> None:
    rename: Callable[..., None] = Objects.mv

    def mv(self: Objects, path1: str, path2: str, **more: Any) -> None:
        if b'"intent"' not in self.held.get(path1, b""):
            rename(self, path1, path2, **more)

    finds("paid twice", mock.patch.object(Objects, "mv", mv), "batch", Blow.KILL_AFTER)


def test_an_announcement_that_fails_after_the_payment() -> None:
    """Any exception that no retry gets past."""
    failing = mock.patch(
        "airflow_provider_falinvoke.operators.falinvoke.announce", mock.Mock(side_effect=ValueError("a bad URI"))
    )
    with failing, pytest.raises(AssertionError, match="no success after"):
        undisturbed.cache_clear()
        undisturbed("sync", "objects", 0)
    undisturbed.cache_clear()
