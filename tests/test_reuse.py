"""The same request with the same seed: files that lie there already make a new job needless, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke._compat import AirflowFailException
from airflow_provider_falinvoke.emulator import Emulator, Fault
from airflow_provider_falinvoke.exceptions import FalInvokeMediaError
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator
from tests.support.dags import run_tasks
from tests.support.execution import Context, execute, operator

FAST = "fal-ai/flux/schnell"
INPUT = {"prompt": "a fox", "seed": 7, "image_size": {"width": 32, "height": 32}}


def make(folder: Path, **changes: Any) -> dict[str, Any]:
    """Run a task whose request is the same each time, but for the changes."""
    given = {"model_id": FAST, "input": INPUT, "output_path": folder.as_uri(), "reuse": True, **changes}
    result: dict[str, Any] = execute(operator(**given), Context())
    return result


def the_file(folder: Path) -> Path:
    (path,) = folder.rglob("*.png")
    return path


def the_kept(folder: Path) -> Path:
    (path,) = (folder / "_reuse").iterdir()
    return path


def test_the_same_request_is_paid_once(emulator: Emulator, tmp_path: Path) -> None:
    first, second = make(tmp_path), make(tmp_path)
    assert len(emulator.posts()) == 1
    assert (first["reused"], second["reused"]) == (False, True)
    assert second["files"] == first["files"]
    assert second["request_id"] == first["request_id"]
    assert second["estimated_cost"] == 0
    assert len(emulator.requests) == 2, "a POST and a download: to reuse takes no request at all"


@pytest.mark.parametrize(
    "spelling",
    [lambda path: f"{path}/", lambda path: f"{path.parent}//{path.name}//", lambda path: f"file://{path}//a b%20c/"],
    ids=["plain", "two slashes", "a URI with a blank"],
)
def test_it_finds_the_files_however_the_folder_is_written(
    spelling: Callable[[Path], str], emulator: Emulator, tmp_path: Path
) -> None:
    for reused in (False, True):
        assert make(tmp_path, output_path=spelling(tmp_path))["reused"] is reused
    assert len(emulator.posts()) == 1


def test_tags_make_no_difference(emulator: Emulator, tmp_path: Path) -> None:
    make(tmp_path, tags={"run": "1"})
    assert make(tmp_path, tags={"run": "2"})["reused"]


@pytest.mark.parametrize(
    "changes",
    [
        {"input": {**INPUT, "seed": 8}},
        {"input": {**INPUT, "prompt": "a hen"}},
        {"model_id": "fal-ai/fast-sdxl", "deferrable": False},
        {"fal_conn_id": "another"},
        {"reuse": False},
    ],
    ids=str,
)
def test_another_request_is_another_job(
    changes: dict[str, Any], emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ANOTHER", emulator.connection_json)
    make(tmp_path)
    assert make(tmp_path, **changes)["reused"] is False
    assert len(emulator.posts()) == 2


def gone(folder: Path) -> None:
    the_file(folder).unlink()


def shorter(folder: Path) -> None:
    the_file(folder).write_bytes(the_file(folder).read_bytes()[:-1])


def other_bytes(folder: Path) -> None:
    data = bytearray(the_file(folder).read_bytes())
    data[-1] ^= 1
    the_file(folder).write_bytes(data)


def no_json(folder: Path) -> None:
    the_kept(folder).write_text("{")


def no_result(folder: Path) -> None:
    the_kept(folder).write_text("[1]")


def no_request_id(folder: Path) -> None:
    kept = json.loads(the_kept(folder).read_text())
    del kept["request_id"]
    the_kept(folder).write_text(json.dumps(kept))


def no_size(folder: Path) -> None:
    kept = json.loads(the_kept(folder).read_text())
    kept["files"][0]["size"] = {"of": "another kind"}
    the_kept(folder).write_text(json.dumps(kept))


def no_files(folder: Path) -> None:
    the_kept(folder).write_text(json.dumps({"files": [], "request_id": "x"}))


def elsewhere(folder: Path) -> None:
    """A file outside of the folder is none that this task saved, whatever is written down of it."""
    kept = json.loads(the_kept(folder).read_text())
    kept["files"][0]["path"] = f"{folder.as_uri()}/../{folder.name}/{the_file(folder).relative_to(folder)}"
    the_kept(folder).write_text(json.dumps(kept))


@pytest.mark.parametrize(
    "harm", [gone, shorter, other_bytes, no_json, no_result, no_request_id, no_size, no_files, elsewhere]
)
def test_what_is_not_as_it_was_saved_is_made_anew(
    harm: Callable[[Path], None], emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path)
    harm(tmp_path)
    assert make(tmp_path)["reused"] is False
    assert len(emulator.posts()) == 2
    assert "a new job is paid for" in caplog.text


def test_a_storage_that_does_not_answer_is_no_reason_to_pay_again(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(tmp_path)

    def away(*_: object) -> bytes:
        raise OSError("no route to the storage")

    with monkeypatch.context() as patch:
        patch.setattr("airflow_provider_falinvoke.media.store.Folder.read", away)
        with pytest.raises(FalInvokeMediaError, match=r"no route to the storage.*Nothing was submitted"):
            make(tmp_path)
    assert make(tmp_path)["request_id"] == first["request_id"]
    assert len(emulator.posts()) == 1


def test_what_somebody_else_wrote_into_the_record_does_not_get_into_the_result(
    emulator: Emulator, tmp_path: Path
) -> None:
    first = make(tmp_path)
    kept = json.loads(the_kept(tmp_path).read_text())
    kept["foreign"] = kept["files"][0]["foreign"] = "x" * 1000
    the_kept(tmp_path).write_text(json.dumps(kept))
    second = make(tmp_path)
    assert second == {**first, "reused": True, "estimated_cost": 0.0}
    assert list(second) == list(first)


@pytest.mark.parametrize(
    "wrong",
    [{"input": {"prompt": "a fox"}}, {"input": {"prompt": "a fox", "seed": "7"}}, {"output_path": None}],
    ids=str,
)
def test_what_cannot_be_found_again_is_refused_before_anything_is_sent(
    wrong: dict[str, Any], emulator: Emulator, tmp_path: Path
) -> None:
    with pytest.raises(AirflowFailException, match=r"reuse=True needs|seed"):
        make(tmp_path, model_id="fal-ai/other", **wrong)
    assert emulator.requests == []


def test_flagged_files_are_not_kept_for_others(emulator: Emulator, tmp_path: Path) -> None:
    emulator.add_fault(Fault("flag", times=None))
    make(tmp_path)
    assert make(tmp_path)["reused"] is False


@pytest.mark.usefixtures("airflow_db", "quick_deferral")
def test_it_works_after_a_deferral_in_real_airflow(emulator: Emulator, tmp_path: Path) -> None:
    def build() -> None:
        draw = [
            FalInvokeOperator(
                task_id=task_id,
                model_id="fal-ai/fast-sdxl",
                input=INPUT,
                output_path=tmp_path.as_uri(),
                reuse=True,
                defer_after=0,
            )
            for task_id in ("first", "second")
        ]
        draw[0] >> draw[1]

    ran = run_tasks(build)
    assert ran.state == "success", ran
    assert (ran.results["first"]["reused"], ran.results["second"]["reused"]) == (False, True)
    assert len(emulator.posts()) == 1
    assert len(ran.deferred) == 1
