"""A text that is too long for one job is said in parts, and comes home as one speech."""

from __future__ import annotations

import io
import itertools
import json
import wave
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke._compat import AirflowFailException, TaskDeferralError, TaskDeferred
from airflow_provider_falinvoke.emulator import Emulator, Fault, outputs, sounds
from airflow_provider_falinvoke.emulator.sounds import speech_seconds, words
from airflow_provider_falinvoke.exceptions import FalInvokeBatchError, FalInvokeError, FalInvokeInputError
from airflow_provider_falinvoke.operators.speech import FalSpeechOperator
from airflow_provider_falinvoke.operators.waves import RunsBatch
from airflow_provider_falinvoke.speech import split_record
from airflow_provider_falinvoke.speech.splitting import first_cuts, split
from tests.support.batches import Runner, call
from tests.support.s3 import Bucket
from tests.support.samples import flac

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
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sounds, "speech", lambda text: flac(seconds=20))
    result = Speech(tmp_path, timestamps=True).try_()
    assert [file["request_id"] for file in result["files"]] == result["request_ids"]
    assert len(result["files"]) == len(PARTS)
    assert "because part 1 is audio/flac, and only WAV and MP3 files are joined" in caplog.text
    assert "This is the sentence number 19" in path_of(result["srt"]).read_text().replace("\n", " ")


def test_parts_with_the_header_of_a_stream_are_joined(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def streamed(text: str) -> bytes:
        sound = made(text)
        return sound[:4] + b"\xff" * 4 + sound[8:40] + b"\xff" * 4 + sound[44:]

    made = sounds.speech
    monkeypatch.setattr(sounds, "speech", streamed)
    (file,) = Speech(tmp_path).try_()["files"]
    assert file["duration"] == pytest.approx(sum(speech_seconds(part) for part in PARTS), abs=0.01)
    with wave.open(io.BytesIO(path_of(file["path"]).read_bytes())) as sound:
        assert sound.getnframes() / sound.getframerate() == pytest.approx(file["duration"], abs=0.001)


def test_what_was_left_out_of_the_parts_is_told(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Speech(tmp_path / "all").try_()["left_out"] == []
    output = outputs.output
    monkeypatch.setattr(
        outputs, "output", lambda job, locate: {**output(job, locate), "more": {"url": "https://media.invalid/x"}}
    )
    left_out = Speech(tmp_path / "some").try_()["left_out"]
    assert len(left_out) == len(PARTS)
    assert left_out[0].startswith("part 1: more.url")


def journal_of(run: Speech) -> Path:
    return run.home / "_batch"


@pytest.mark.parametrize("version", ["earlier", "first"])
def test_a_retry_by_a_version_that_splits_otherwise_pays_for_nothing_again(
    version: str, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own rules would find none of the paid parts: the journal knows them by their text."""
    text = " ".join(f"Capt. Jones said his own number {number}, aloud and also very clearly." for number in range(25))
    run = Speech(tmp_path, text=text)
    emulator.add_fault(Fault("fail", on="post", match_prompt="number 9,"))
    with monkeypatch.context() as before:
        before.setattr(split_record, "cuts", first_cuts if version == "first" else words_apart)
        with pytest.raises(FalInvokeBatchError):
            run.try_()
    if version == "first":
        (journal_of(run) / "split.json").unlink()  # which it did not keep
    paid = said(emulator)
    assert sorted(paid) != sorted(part.text for part in split(text, 200)), "the rules have changed since"
    result = run.retry()
    assert len(result["files"]) == 1
    (again,) = set(said(emulator)[len(paid) :])
    assert "number 9," in again
    assert len(said(emulator)) == len(paid) + 1
    assert json.loads((journal_of(run) / "split.json").read_text())["limit"] == 200


def words_apart(text: str, limit: int) -> list[int]:
    return [*range(limit - 20, len(text), limit - 20), len(text)]


def test_a_wait_that_another_version_takes_up_goes_on_with_the_same_parts(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Speech(tmp_path)
    with monkeypatch.context() as before, pytest.raises(TaskDeferred) as deferred:
        before.setattr(split_record, "cuts", words_apart)
        call(run.operator(), "execute", run.ti)
    assert len(run.resume(deferred.value)["files"]) == 1
    assert "".join("".join(said(emulator)).split()) != ""
    assert len(said(emulator)) == len(words_apart(TEXT, 200))


def test_another_text_or_another_limit_is_split_anew(emulator: Emulator, tmp_path: Path) -> None:
    run = Speech(tmp_path)
    run.try_()
    run.clear()
    run.try_(max_characters=150)
    assert {part.text for part in split(TEXT, 150)} <= set(said(emulator))
    run.clear()
    result = run.try_(text=TEXT + " The end.")
    assert result["parts"] == len(split(TEXT + " The end.", 200))


def test_a_record_of_the_split_that_is_damaged_stops_the_task_before_anything_is_paid(
    emulator: Emulator, tmp_path: Path
) -> None:
    run = Speech(tmp_path)
    run.try_()
    count = len(said(emulator))
    record = journal_of(run) / "split.json"
    record.write_text('{"text": 1')
    run.clear()
    with pytest.raises(FalInvokeError, match=r"split.json in .* is damaged .*Nothing was submitted"):
        run.try_()
    record.unlink()
    record.mkdir()
    with pytest.raises(FalInvokeError, match=r"cannot be kept in .*Nothing was submitted"):
        run.try_()
    assert len(said(emulator)) == count


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


def test_a_text_of_blanks_alone_is_refused(emulator: Emulator, tmp_path: Path) -> None:
    with pytest.raises(FalInvokeInputError, match="more than blanks"):
        Speech(tmp_path, text=" \n" * 500).try_()
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
