"""A text that is too long for one job is said in parts, and comes home as one speech."""

from __future__ import annotations

import io
import itertools
import json
import wave
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke._compat import AirflowFailException, TaskDeferralError
from airflow_provider_falinvoke.emulator import Emulator, Fault
from airflow_provider_falinvoke.emulator.sounds import speech_seconds, words
from airflow_provider_falinvoke.exceptions import FalInvokeBatchError, FalInvokeInputError
from airflow_provider_falinvoke.operators.speech import FalSpeechOperator
from airflow_provider_falinvoke.operators.waves import RunsBatch
from airflow_provider_falinvoke.speech import assembly
from airflow_provider_falinvoke.speech.splitting import split
from tests.support.batches import Runner
from tests.support.s3 import Bucket

pytestmark = pytest.mark.usefixtures("quick_deferral")

TEXT = " ".join(f"This is the sentence number {number}, and it is said." for number in range(20))
PARTS = [part.text for part in split(TEXT, 200)]
assert len(PARTS) > 4


class Speech(Runner):
    """Runs tries of one speech."""

    def operator(self, **changes: Any) -> RunsBatch:
        given = {"text": TEXT, "max_characters": 200, "output_path": self.output, "poll_interval": 0.05}
        return FalSpeechOperator(task_id="pictures", **{**given, **self._changes, **changes})


def said(emulator: Emulator) -> list[str]:
    return [job.input["text"] for job in emulator.jobs.values()]


def path_of(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def test_a_long_text_comes_home_as_one_wav(emulator: Emulator, tmp_path: Path) -> None:
    result = Speech(tmp_path, voice="Aria", tags={"book": "7"}).try_()
    assert sorted(said(emulator)) == sorted(PARTS)
    assert all(job.input["voice"] == "Aria" and job.tags for job in emulator.jobs.values())
    (file,) = result["files"]
    whole = path_of(file["path"])
    assert whole.name == f"{result['request_ids'][0]}-all.wav"
    assert file["model_id"] == result["model_id"]
    seconds = sum(speech_seconds(part) for part in PARTS)
    with wave.open(io.BytesIO(whole.read_bytes())) as sound:
        assert sound.getnframes() / sound.getframerate() == pytest.approx(seconds, abs=0.01)
        assert file["sample_rate"] == sound.getframerate()
    assert file["duration"] == pytest.approx(seconds, abs=0.01)
    assert (file["size"], file["content_type"]) == (whole.stat().st_size, "audio/wav")
    assert result["parts"] == len(result["request_ids"]) == len(PARTS)
    assert set(result["request_ids"]) == set(emulator.jobs)
    assert result["model_id"] == "fal-ai/elevenlabs/tts/multilingual-v2"
    assert result["created_at"] < result["completed_at"]
    assert "timings" not in result
    assert len(json.dumps(result)) < 4000


def test_each_job_is_told_what_is_said_around_it(emulator: Emulator, tmp_path: Path) -> None:
    Speech(tmp_path, previous_text="It began so.", next_text="So it ended.").try_()
    inputs = {job.input["text"]: job.input for job in emulator.jobs.values()}
    assert inputs[PARTS[0]]["previous_text"] == "It began so."
    assert inputs[PARTS[-1]]["next_text"] == "So it ended."
    for before, after in itertools.pairwise(PARTS):
        assert inputs[after]["previous_text"] == before
        assert inputs[before]["next_text"] == after


def test_a_model_that_may_not_take_it_is_told_nothing_around_it(emulator: Emulator, tmp_path: Path) -> None:
    Speech(tmp_path, model_id="fal-ai/elevenlabs/tts/eleven-v3").try_()
    assert all(set(job.input) == {"text"} for job in emulator.jobs.values())


def test_timings_are_moved_by_the_real_length_of_the_parts_before(emulator: Emulator, tmp_path: Path) -> None:
    result = Speech(tmp_path, timestamps=True).try_()
    found = json.loads(path_of(result["timings"]).read_text())
    assert " ".join(word["text"] for word in found) == TEXT
    offset, expected = 0.0, []
    for part in PARTS:
        expected += [offset + word.start for word in words(part)]
        offset += round(speech_seconds(part) * 8000) / 8000
    assert [word["start"] for word in found] == pytest.approx(expected, abs=0.002)
    srt, vtt = (path_of(result[kind]).read_text() for kind in ("srt", "vtt"))
    assert srt.startswith("1\n00:00:00,000 --> ")
    assert vtt.startswith("WEBVTT\n")
    assert "This is the sentence number 19" in srt.replace("\n", " ")
    assert len(result["files"]) == 1


def test_timestamps_that_cannot_be_read_make_no_subtitles_and_lose_no_sound(emulator: Emulator, tmp_path: Path) -> None:
    emulator.add_fault(Fault("output_shape", on="get", value="audio_url", times=None))
    result = Speech(tmp_path, timestamps=True).try_()
    assert len(result["files"]) == 1
    assert "srt" not in result


def test_one_lost_part_loses_no_other_and_a_retry_says_only_that(emulator: Emulator, tmp_path: Path) -> None:
    emulator.add_fault(Fault("fail", on="post", match_prompt="number 7,"))
    run = Speech(tmp_path)
    with pytest.raises(FalInvokeBatchError, match=rf"1 of {len(PARTS)} items are not home"):
        run.try_()
    assert len(said(emulator)) == len(PARTS)
    assert not list(tmp_path.rglob("*-all*"))
    result = run.retry()
    assert len(result["files"]) == 1
    again = [part for part in PARTS if "number 7," in part]
    assert sorted(said(emulator)) == sorted([*PARTS, *again])


def test_parts_that_cannot_be_joined_stay_a_list_in_order(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "common_kind", lambda sounds: None)
    result = Speech(tmp_path).try_()
    assert [file["request_id"] for file in result["files"]] == result["request_ids"]
    assert len(result["files"]) == len(PARTS)


def test_speeches_of_several_tasks_do_not_replace_one_another(emulator: Emulator, tmp_path: Path) -> None:
    """A template of one's own may leave out the task and the run."""
    files = [Speech(tmp_path, file_name="{request_id}-{number}{extension}").try_()["files"][0]]
    another = Speech(tmp_path, file_name="{request_id}-{number}{extension}")
    another.ti.run_id = "manual__2"
    files += another.try_()["files"]
    assert len({file["path"] for file in files}) == 2
    assert all(path_of(file["path"]).stat().st_size == file["size"] for file in files)


def test_a_short_text_is_one_job_as_ever(emulator: Emulator, tmp_path: Path) -> None:
    operator = Speech(tmp_path, text="Short.").operator()
    assert not operator.runs_batch
    assert Speech(tmp_path, max_characters=None).operator().runs_batch is False
    assert Speech(tmp_path, max_characters=len(TEXT)).operator().runs_batch is False
    assert Speech(tmp_path, max_characters=len(TEXT) - 1).operator().runs_batch


@pytest.mark.parametrize(
    "changes",
    [{"output_path": None}, {"wait_for_completion": False}, {"max_characters": 5}, {"max_characters": "many"}],
)
def test_a_long_text_that_nobody_could_join_fails_when_the_dag_is_parsed(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(FalInvokeInputError, match=r"Task 'pictures' is wrong: .*max_characters"):
        Speech(tmp_path).operator(**changes)


def test_a_long_text_of_a_template_is_found_before_anything_is_sent(emulator: Emulator, tmp_path: Path) -> None:
    operator = Speech(tmp_path, text="{{ text }}", output_path=None).operator()
    operator.input = {"text": TEXT}  # as rendering does
    with pytest.raises(AirflowFailException, match="needs output_path"):
        operator.first_wave({"ti": Speech(tmp_path).ti})  # type: ignore[typeddict-item]  # no more of a context is used
    assert emulator.requests == []


def test_a_speech_is_too_dear_as_a_whole(emulator: Emulator, tmp_path: Path) -> None:
    prices = {"fal-ai/elevenlabs/tts/multilingual-v2": {"per_1000_characters": 1.0}}
    run = Speech(tmp_path, prices=prices)
    with pytest.raises(AirflowFailException, match="more than max_cost"):
        run.try_(max_cost=0.5)
    assert emulator.requests == []
    assert run.try_(max_cost=2)["estimated_cost"] == pytest.approx(sum(map(len, PARTS)) / 1000)


def test_a_speech_may_be_joined_on_s3(emulator: Emulator, s3_server: Bucket) -> None:
    result = Speech(s3_server.path("book"), timestamps=True).try_()
    key = result["files"][0]["path"].partition(f"@{s3_server.bucket}/")[2]
    with wave.open(io.BytesIO(s3_server.objects()[key])) as sound:
        assert sound.getnframes() / sound.getframerate() == pytest.approx(
            sum(speech_seconds(part) for part in PARTS), abs=0.01
        )
    assert s3_server.unfinished() == []
    assert s3_server.content_type(key) == "audio/wav"


def test_where_airflow_ends_the_wait_the_parts_are_looked_at_once_more(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk import BaseOperator

    from airflow_provider_falinvoke._compat import TaskDeferred
    from tests.support.batches import call

    run = Speech(tmp_path)
    run.ti.xcom_pull = lambda **_: None  # type: ignore[attr-defined]  # a stand-in that loses it
    with pytest.raises(TaskDeferred):
        call(run.operator(), "execute", run.ti)
    while any(job.status != "COMPLETED" for job in emulator.jobs.values()):
        pass

    def fails(*_: Any, **__: Any) -> Any:
        raise TaskDeferralError("Trigger failure")

    monkeypatch.setattr(BaseOperator, "resume_execution", fails)
    result = run.operator().resume_execution("next_wave", None, {"ti": run.ti})  # type: ignore[typeddict-item]  # no more of a context is used
    assert len(result["files"]) == 1
    assert sorted(said(emulator)) == sorted(PARTS)
