"""Where the files of a task go, in real Airflow: named, described, in S3, and by the policy for flagged pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke import exceptions
from airflow_provider_falinvoke._compat import AirflowFailException, AirflowSkipException
from airflow_provider_falinvoke.emulator import Emulator, Fault
from airflow_provider_falinvoke.media.manifest import MediaFile
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator
from airflow_provider_falinvoke.sensors.falinvoke import FalInvokeSensor
from tests.support.dags import Ran, run_tasks
from tests.support.execution import Context, Memory, execute, operator
from tests.support.s3 import Bucket

FAST, SHORT = "fal-ai/flux/schnell", "fal-ai/fast-sdxl"
PICTURES = {"prompt": "a fox", "num_images": 3, "image_size": {"width": 64, "height": 64}}

pytestmark = pytest.mark.usefixtures("quick_deferral")
in_airflow = pytest.mark.usefixtures("airflow_db")


def run(emulator: Emulator, by: str = "operator", **changes: Any) -> Ran:
    """Make three pictures in a DAG of one task, and bring them home by an operator or a sensor."""
    if by == "operator":
        return run_tasks(lambda: FalInvokeOperator(task_id="draw", model_id=SHORT, input=PICTURES, **changes))
    from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook

    request_id = FalInvokeHook().submit(SHORT, PICTURES).request_id
    assert request_id is not None
    return run_tasks(lambda: FalInvokeSensor(task_id="draw", request_id=request_id, poke_interval=1, **changes))


@in_airflow
@pytest.mark.parametrize("by", ["operator", "sensor"])
@pytest.mark.parametrize("how", [{"deferrable": True}, {"deferrable": False}], ids=["deferred", "on the worker"])
def test_files_and_manifest_come_home_to_s3(
    by: str, how: dict[str, Any], s3_server: Bucket, emulator: Emulator
) -> None:
    ran = run(emulator, by, output_path=s3_server.path("{{ ds_nodash[:0] }}made"), manifest=True, **how)
    assert ran.state == "success", ran.errors
    result = ran.results["draw"]
    objects = s3_server.objects()
    (manifest,) = [key for key in objects if key.endswith("-manifest.json")]
    assert result["manifest"].endswith(manifest)
    assert json.loads(objects[manifest]) == result
    files = [MediaFile(**file) for file in result["files"]]
    for number, file in enumerate(files, start=1):
        key = file.path.split(f"@{s3_server.bucket}/")[1]
        dag_id, run_id, task_id, name = key.split("/")[1:]
        assert (dag_id, task_id, name) == (
            next(iter(objects)).split("/")[1],
            "draw",
            f"{result['request_id']}-{number}.png",
        )
        assert run_id.startswith("manual__")
        assert len(objects[key]) == file.size
    assert len(objects) == len(files) + 1
    assert len(emulator.posts()) == 1
    assert emulator.leaks == []


@in_airflow
@pytest.mark.parametrize("by", ["operator", "sensor"])
class TestFlagged:
    """``on_flagged`` in real Airflow, with a retry to spend: the job is paid once, whatever becomes of the task."""

    @pytest.fixture(autouse=True)
    def flagged(self, emulator: Emulator) -> None:
        emulator.add_fault(Fault("flag", value=[1, 3], match_prompt="fox"))

    def test_kept_and_marked(self, by: str, emulator: Emulator, tmp_path: Path) -> None:
        ran = run(emulator, by, output_path=tmp_path.as_uri())
        assert ran.state == "success", ran.errors
        assert ran.results["draw"]["flagged"] == [1, 3]
        assert [file["flagged"] for file in ran.results["draw"]["files"]] == [True, False, True]

    def test_failed_without_a_retry(self, by: str, emulator: Emulator, tmp_path: Path) -> None:
        ran = run(emulator, by, output_path=tmp_path.as_uri(), on_flagged="fail", retries=2)
        assert (ran.state, ran.tries["draw"]) == ("failed", 1)
        error = ran.errors["draw"]
        assert isinstance(error, AirflowFailException)
        assert isinstance(error.__cause__, exceptions.FalInvokeFlaggedError)
        assert "files 1, 3 (of 3)" in str(error)
        assert next(iter(emulator.jobs)) in str(error)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
        assert len(emulator.posts()) == 1

    def test_left_out(self, by: str, emulator: Emulator, tmp_path: Path) -> None:
        ran = run(emulator, by, output_path=tmp_path.as_uri(), on_flagged="skip")
        assert ran.state == "success", ran.errors
        assert ran.results["draw"]["flagged"] == [1, 3]
        assert [path.name[-6:] for path in tmp_path.rglob("*.png")] == ["-2.png"]

    def test_skipped_where_nothing_is_left(self, by: str, emulator: Emulator, tmp_path: Path) -> None:
        emulator.clear_faults()
        emulator.add_fault(Fault("flag"))
        ran = run(emulator, by, output_path=tmp_path.as_uri(), on_flagged="skip", retries=1)
        assert (ran.states["draw"], ran.tries["draw"]) == ("skipped", 1)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
        assert len(emulator.posts()) == 1


@pytest.mark.parametrize(("policy", "error"), [("fail", AirflowFailException), ("skip", AirflowSkipException)])
def test_a_job_whose_pictures_were_flagged_is_done_and_a_clear_asks_for_another(
    policy: Any, error: type[Exception], emulator: Emulator, tmp_path: Path
) -> None:
    context = Context()
    context["task_state_store"] = Memory()
    emulator.add_fault(Fault("flag"))
    one = {"model_id": FAST, "output_path": tmp_path.as_uri(), "on_flagged": policy}
    with pytest.raises(error):
        execute(operator(**one), context)
    with pytest.raises(error):  # a retry finds what the first try found
        execute(operator(**one), context)
    assert len(emulator.posts()) == 1
    context.max_tries = 4
    assert len(execute(operator(**one), context)["files"]) == 1
    assert len(emulator.posts()) == 2


@pytest.mark.parametrize("policy", ["ignore", "", None, True])
def test_a_policy_that_is_none_fails_when_the_dag_is_parsed(policy: Any) -> None:
    with pytest.raises(exceptions.FalInvokeInputError, match="'keep', 'fail' or 'skip'"):
        FalInvokeOperator(task_id="draw", model_id=FAST, input=PICTURES, on_flagged=policy)
    with pytest.raises(exceptions.FalInvokeInputError, match="'keep', 'fail' or 'skip'"):
        FalInvokeSensor(task_id="draw", request_id="r", on_flagged=policy)


def test_a_file_that_is_too_large_is_fetched_once_and_can_be_had_after_a_clear(
    emulator: Emulator, tmp_path: Path
) -> None:
    """Neither a retry nor the clear pays again."""
    context = Context()
    context["task_state_store"] = Memory()
    one = {"model_id": FAST, "output_path": tmp_path.as_uri()}
    with pytest.raises(AirflowFailException, match="max_file_size"):
        execute(operator(**one, max_file_size=100), context)
    context.max_tries = 4
    assert len(execute(operator(**one), context)["files"]) == 1
    assert len(emulator.posts()) == 1


def test_a_bucket_that_is_not_there_costs_nothing(s3_server: Bucket, emulator: Emulator) -> None:
    path = s3_server.path().replace(s3_server.bucket, "misspelt-bucket")
    with pytest.raises(exceptions.FalInvokeMediaError, match="nothing is paid"):
        execute(operator(model_id=FAST, output_path=path), Context())
    assert emulator.posts() == []


def test_a_download_that_breaks_off_for_good_is_taken_up_by_the_retry_without_another_post(
    emulator: Emulator, s3_server: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_falinvoke.api.downloads.backoff", lambda _: 0.0)
    context = Context()
    context["task_state_store"] = Memory()
    emulator.add_fault(Fault("cut", on="media", times=4))
    one = {"model_id": FAST, "output_path": s3_server.path()}
    with pytest.raises(exceptions.FalInvokeMediaError):
        execute(operator(**one), context)
    assert (s3_server.objects(), s3_server.unfinished()) == ({}, [])
    result = execute(operator(**one), context)
    assert list(s3_server.objects()) == [f"made/the_dag/the_run/draw/{result['request_id']}-1.png"]
    assert len(emulator.posts()) == 1
