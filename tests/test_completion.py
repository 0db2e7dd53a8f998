"""What operators and sensors share: a job's end, and durations."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke import exceptions
from airflow_provider_falinvoke._compat import AirflowFailException, AirflowSkipException
from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus
from airflow_provider_falinvoke.completion import bring_home, failing_for_good, saving_of, seconds_of
from airflow_provider_falinvoke.emulator import Emulator, Fault
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.media import DEFAULT_FILE_NAME, Place, Saving
from airflow_provider_falinvoke.media.manifest import MediaFile
from tests.support.execution import Context
from tests.support.s3 import Bucket
from tests.support.samples import picture

ERRORS = [
    kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, exceptions.FalInvokeError)
]


@pytest.mark.parametrize("kind", ERRORS)
def test_airflow_retries_only_what_may_pass(kind: type[exceptions.FalInvokeError]) -> None:
    with pytest.raises(kind if kind.may_pass else AirflowFailException, match="the-id") as caught, failing_for_good():
        raise kind("what happened", request_id="the-id")
    assert kind.may_pass or isinstance(caught.value.__cause__, kind)


def test_an_error_of_another_kind_is_left_alone() -> None:
    with pytest.raises(ZeroDivisionError), failing_for_good():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(5, 5.0), (0, 0.0), (0.5, 0.5), ("7", 7.0), (" 1.5 ", 1.5), ("1e3", 1000.0), (timedelta(minutes=2), 120.0)],
)
def test_a_duration_is_a_number_its_text_or_a_timedelta(value: Any, seconds: float) -> None:
    assert seconds_of("timeout", value) == seconds


@pytest.mark.parametrize(
    "value", [-1, "-0.1", "soon", "", None, float("nan"), "nan", float("inf"), "inf", [], {}, timedelta(seconds=-1)]
)
def test_any_other_duration_is_named(value: Any) -> None:
    with pytest.raises(exceptions.FalInvokeInputError, match="timeout must be a number of seconds"):
        seconds_of("timeout", value)


def test_a_result_is_plain_and_its_times_are_iso_8601() -> None:
    invocation = Invocation(
        request_id="r",
        status=InvocationStatus.COMPLETED,
        raw_status="COMPLETE",
        model_id="m",
        created_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
        completed_at=datetime(2026, 1, 1, 0, 0, 2, 500000, tzinfo=timezone.utc),
        output={"images": [{"url": "data:image/png;base64,AAAA"}]},
    )
    result = bring_home(FalInvokeHook(), invocation, Saving(), estimated_cost=0.5)
    assert json.loads(json.dumps(result)) == result
    assert result == {
        "request_id": "r",
        "model_id": "m",
        "status": "COMPLETED",
        "created_at": "2026-01-01T00:00:00+00:00",
        "started_at": None,
        "completed_at": "2026-01-01T00:00:02.500000+00:00",
        "seconds": 2.5,
        "output": {"images": [{"url": "<inline image/png, 26 characters>"}]},
        "flagged": [],
        "files": [],
        "left_out": [],
        "manifest": None,
        "estimated_cost": 0.5,
    }


def test_a_result_is_what_airflow_can_carry_whatever_it_was_made_of() -> None:
    invocation = Invocation(
        request_id="r\ud800",
        status=InvocationStatus.COMPLETED,
        model_id="m\0",
        output={"seed": 2**64, "__type": [1e300]},
    )
    result = bring_home(FalInvokeHook(), invocation, Saving(), prompt="a\0 fox", estimated_cost=float("nan"))
    assert result["request_id"] == "r\ufffd"
    assert result["model_id"] == "m\ufffd"
    assert result["output"] == {"seed": "18446744073709551616", "___type": ["1e+300"]}
    assert (result["prompt"], result["estimated_cost"]) == ("a\ufffd fox", "NaN")


SMALL = {"prompt": "x", "image_size": {"width": 64, "height": 64}}


def drawn(**fields: Any) -> Invocation:
    return FalInvokeHook().submit("fal-ai/flux/schnell", {**SMALL, **fields})


def home(invocation: Invocation, saving: Saving) -> dict[str, Any]:
    return bring_home(FalInvokeHook(), invocation, saving)


def test_files_are_saved_only_where_a_folder_is_given(emulator: Emulator, tmp_path: Path) -> None:
    done = drawn()
    assert home(done, Saving())["files"] == []
    assert home(done, Saving(""))["files"] == []
    result = home(done, Saving(tmp_path.as_uri()))
    assert json.loads(json.dumps(result)) == result
    (file,) = result["files"]
    assert MediaFile(**file).to_dict() == file
    assert result["manifest"] is None


@pytest.mark.parametrize("storage", ["file", "s3"])
def test_the_manifest_beside_the_files_is_the_result_itself(
    storage: str, emulator: Emulator, s3_server: Bucket, tmp_path: Path
) -> None:
    folder = tmp_path.as_uri() if storage == "file" else s3_server.path()
    place = Place("dag", "run", "task", "0")
    result = home(drawn(num_images=2, prompt="ein Füchslein, 狐"), Saving(folder, place=place, manifest=True))
    name = f"dag/run/task/0/{result['request_id']}-manifest.json"
    assert result["manifest"] == f"{folder}/{name}"
    if storage == "file":
        written = (tmp_path / name).read_bytes()
    else:
        written = s3_server.objects()[f"made/{name}"]
        assert s3_server.content_type(f"made/{name}") == "application/json"
    assert json.loads(written) == result
    assert len(result["files"]) == 2


def test_what_is_left_out_is_named_in_the_result_and_in_the_manifest(tmp_path: Path, emulator: Emulator) -> None:
    done = drawn().model_copy(update={"output": {"images": [IMAGE, IMAGE + "AAAA"], "preview": "https://x.invalid/a"}})
    result = home(done, Saving(tmp_path.as_uri(), max_files=1, manifest=True))
    assert result["left_out"] == [
        "images[1] (beyond max_files, 1)",
        "preview (a URL, and not in the shape of a file)",
    ]
    (written,) = tmp_path.glob("*-manifest.json")
    assert json.loads(written.read_text())["left_out"] == result["left_out"]
    assert home(done, Saving())["left_out"] == [], "where no file is wanted, none is left out"


def test_a_manifest_that_cannot_be_written_names_the_job(emulator: Emulator, tmp_path: Path) -> None:
    done = drawn()
    saving = Saving(tmp_path.as_uri(), manifest=True)
    (tmp_path / f"{done.request_id}-manifest.json").mkdir()
    with pytest.raises(exceptions.FalInvokeMediaError, match="not their manifest") as caught:
        home(done, saving)
    assert caught.value.request_id == done.request_id


@pytest.mark.parametrize("folder", [True, False], ids=["saved", "left there"])
class TestFlagged:
    """The policy holds for a result, whether its files are saved or not."""

    @staticmethod
    def saving(folder: bool, tmp_path: Path, policy: Any) -> Saving:
        return Saving(tmp_path.as_uri() if folder else None, on_flagged=policy)

    def test_what_is_flagged_is_listed(self, folder: bool, emulator: Emulator, tmp_path: Path) -> None:
        emulator.add_fault(Fault("flag", value=[1, 3]))
        result = home(drawn(num_images=3), self.saving(folder, tmp_path, "keep"))
        assert result["flagged"] == [1, 3]
        assert [file["flagged"] for file in result["files"]] == ([True, False, True] if folder else [])

    def test_it_fails_the_task(self, folder: bool, emulator: Emulator, tmp_path: Path) -> None:
        emulator.add_fault(Fault("flag", value=[2]))
        with pytest.raises(exceptions.FalInvokeFlaggedError, match="files 2"):
            home(drawn(num_images=2), self.saving(folder, tmp_path, "fail"))
        assert list(tmp_path.iterdir()) == []

    def test_it_is_left_out(self, folder: bool, emulator: Emulator, tmp_path: Path) -> None:
        emulator.add_fault(Fault("flag", value=[2]))
        result = home(drawn(num_images=2), self.saving(folder, tmp_path, "skip"))
        assert result["flagged"] == [2]
        assert [file["number"] for file in result["files"]] == ([1] if folder else [])

    def test_it_skips_the_task_where_nothing_else_is_left(
        self, folder: bool, emulator: Emulator, tmp_path: Path
    ) -> None:
        emulator.add_fault(Fault("flag"))
        done = drawn(num_images=2)
        with pytest.raises(AirflowSkipException, match=str(done.request_id)):
            home(done, self.saving(folder, tmp_path, "skip"))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("policy", ["fail", "skip"])
    def test_an_output_that_says_nothing_is_kept_with_a_warning(
        self, folder: bool, policy: Any, emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        done = drawn().model_copy(update={"output": {"images": [IMAGE]}})
        result = home(done, self.saving(folder, tmp_path, policy))
        assert result["flagged"] == []
        assert "says nothing of its files' safety" in capsys.readouterr().out


IMAGE = "data:image/png;base64," + base64.b64encode(picture("PNG")).decode()


class Task:
    """The saving parameters of an operator, as they are after rendering."""

    def __init__(self, **changes: Any) -> None:
        self.output_path: str | None = "file:///tmp/x"
        self.wants_files = changes.get("output_path", "") is not None
        self.file_name = DEFAULT_FILE_NAME
        self.manifest = False
        self.max_file_size: int | str = "1000"
        self.download_timeout: float | timedelta | str = timedelta(minutes=2)
        self.max_files: int | str = "7"
        self.max_total_size: int | str = 5000
        self.save_timeout: float | timedelta | str = "90"
        self.on_flagged: Any = "skip"
        vars(self).update(changes)


def test_saving_parameters_are_read_from_a_task() -> None:
    context: Any = Context()
    saving = saving_of(Task(), context)
    assert saving == Saving(
        "file:///tmp/x",
        place=Place("the_dag", "the_run", "draw"),
        max_file_size=1000,
        download_timeout=120.0,
        on_flagged="skip",
        max_files=7,
        max_total_size=5000,
        save_timeout=90.0,
    )
    assert saving_of(Task(output_path=None), context).output_path is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"output_path": ""}, "output_path is empty"),
        ({"output_path": " "}, "output_path is empty"),
        ({"output_path": "s3://bucket/a\ud800"}, "output_path has U.0000 or half a surrogate pair"),
        ({"file_name": "a\0{request_id}-{number}{extension}"}, "file_name has U.0000 or half a surrogate pair"),
        ({"file_name": "{nosuch}{number}{extension}"}, "nosuch"),
        ({"file_name": "{request_id}{extension}"}, "same name"),
        ({"file_name": "../{number}{extension}"}, "no name of a file"),
        ({"max_file_size": 0}, "max_file_size must be a number of bytes at least 1"),
        ({"max_file_size": "2 GB"}, "max_file_size"),
        ({"download_timeout": 0}, "download_timeout"),
        ({"max_files": 0}, "max_files must be a number of files at least 1"),
        ({"max_total_size": "much"}, "max_total_size must be a number of bytes"),
        ({"save_timeout": -1}, "save_timeout"),
        ({"on_flagged": "ignore"}, "on_flagged must be"),
    ],
)
def test_saving_parameters_that_cannot_be_right_are_named(changes: dict[str, Any], words: str) -> None:
    context: Any = Context()
    with pytest.raises(exceptions.FalInvokeInputError, match=words):
        saving_of(Task(**changes), context)
