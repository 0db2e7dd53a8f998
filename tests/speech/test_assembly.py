"""Parts become one speech where they can; where they cannot, nothing is lost, and the true cause is said."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke.batch.storage import Folder
from airflow_provider_falinvoke.media.recognise import Ends, recognise
from airflow_provider_falinvoke.speech.assembly import Assembly
from tests.support.audio import heard
from tests.support.samples import wav

HELLO = {"timestamps": [["Hello", 0.0, 0.2], ["you.", 0.3, 0.5]]}
MORE = {"timestamps": [["Good", 0.0, 0.2], ["bye.", 0.3, 0.5]]}
NOTHING: dict[str, Any] = {"timestamps": []}


def described(path: Path) -> dict[str, Any]:
    """Return what the manifest says of a file."""
    data = path.read_bytes()
    ends = Ends()
    ends.feed(data)
    kind = recognise(data, None)
    return {"path": path.as_uri(), "content_type": kind.content_type, "duration": ends.measure(kind).duration}


def assembly(folder: Path, *parts: tuple[Sequence[Path], Any]) -> Assembly:
    rows = [{"files": [described(path) for path in paths], "output": output} for paths, output in parts]
    return Assembly(lambda: iter(rows), Folder(folder.as_uri()), lambda extension: f"whole{extension}", "a-model")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("name", ["sound.flac", "sound.opus", "sound.m4a"])
def test_sounds_that_cannot_be_joined_have_subtitles_all_the_same(
    name: str, sounds: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    part = sounds / name
    whole = assembly(tmp_path, ([part], HELLO), ([part], MORE))
    assert [file["path"] for file in whole.files()] == [part.as_uri()] * 2
    (warning,) = said(caplog)
    kind = {"flac": "audio/flac", "opus": "audio/ogg", "m4a": "audio/mp4"}[part.suffix[1:]]
    assert warning == (
        f"The parts of the speech stay files of their own, in order, because part 1 is {kind}, and only WAV and MP3 "
        "files are joined"
    )
    timings = whole.timings()
    words = json.loads(Path(timings["timings"].removeprefix("file://")).read_text())
    assert [word["text"] for word in words] == ["Hello", "you.", "Good", "bye."]
    assert words[2]["start"] == pytest.approx(heard(part).seconds, abs=0.05)
    assert list(words[0]) == ["text", "start", "end"]
    assert len(said(caplog)) == 1


def test_a_part_that_says_nothing_takes_the_subtitles_from_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    part = tmp_path / "part.wav"
    part.write_bytes(wav(1.0))
    whole = assembly(tmp_path, ([part], HELLO), ([part], NOTHING), ([part], MORE))
    assert len(whole.files()) == 1
    text = Path(whole.timings()["srt"].removeprefix("file://")).read_text()
    assert text == "1\n00:00:00,000 --> 00:00:00,500\nHello you.\n\n2\n00:00:02,000 --> 00:00:02,500\nGood bye.\n\n"
    assert said(caplog) == []


@pytest.mark.parametrize("unreadable", [None, {"timestamps": [["late", 1500, 1600]]}, {"timestamps": "none"}])
def test_a_part_whose_timestamps_cannot_be_read_is_named(
    unreadable: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    part = tmp_path / "part.wav"
    part.write_bytes(wav(1.0))
    whole = assembly(tmp_path, ([part], HELLO), ([part], unreadable), ([part], MORE))
    assert set(whole.timings()) == {"timings", "srt", "vtt"}
    assert said(caplog) == [
        "The subtitles lack these parts, whose timestamps cannot be read, or do not fit their sound: 2"
    ]
    caplog.clear()
    assert assembly(tmp_path, ([part], unreadable)).timings() == {}
    assert said(caplog) == ["There are no subtitles, because no part's output holds timestamps that fit its sound"]


def test_a_part_of_unknown_length_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    part, other = tmp_path / "part.wav", tmp_path / "part.bin"
    part.write_bytes(wav(1.0))
    other.write_bytes(b"\0\1\2\3" * 100)
    whole = assembly(tmp_path, ([part], HELLO), ([other], MORE))
    assert len(whole.files()) == 2
    assert whole.timings() == {}
    assert said(caplog)[1] == (
        "There are no subtitles, because the length of part 2 is not known: it is application/octet-stream, and only "
        "WAV and MP3 files are joined"
    )


def test_a_part_without_a_sound_or_with_several_keeps_all_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    part = tmp_path / "part.wav"
    part.write_bytes(wav(1.0))
    for paths, count in (((), "no"), ((part, part), 2)):
        caplog.clear()
        whole = assembly(tmp_path, ([part], HELLO), (paths, MORE))
        assert len(whole.files()) == 1 + len(paths)
        assert whole.timings() == {}
        assert said(caplog)[0].endswith(f"because part 2 has {count} files of sound")
        assert said(caplog)[1] == f"There are no subtitles, because part 2 has {count} files of sound"


def test_what_a_job_makes_beside_the_sound_is_kept(sounds: Path, tmp_path: Path) -> None:
    cover = tmp_path / "cover.png"
    cover.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    part = sounds / "espeak-stream.wav"
    whole, other = assembly(tmp_path, ([cover, part], HELLO), ([part], MORE)).files()
    assert other["path"] == cover.as_uri()
    assert whole["duration"] == pytest.approx(2 * heard(part).seconds, abs=0.001)
    assert whole["size"] == (tmp_path / "whole.wav").stat().st_size
