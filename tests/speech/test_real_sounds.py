"""Sounds of several encoders are joined, and decoders that share nothing with us find them whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_falinvoke.speech.joining import Opener, join, measure, why_apart
from tests.support.audio import heard, samples, sox_seconds

STEREO = ("lame-constant.mp3", "lame-varying.mp3", "lame-protected.mp3", "ffmpeg.mp3", "ffmpeg-bare.mp3", "shine.mp3")
ALIKE = {
    "mp3 of all encoders": STEREO,
    "mp3 of constant rate": ("lame-constant.mp3", "shine.mp3"),
    "mp3 of varying rate": ("lame-varying.mp3",) * 2,
    "mp3 mono": ("lame-mono.mp3",) * 3,
    "mp3 of MPEG 2.5": ("lame-slow.mp3",) * 2,
    "wav of streams": ("ffmpeg-stream.wav", "say.wav", "espeak-stream.wav"),
    "wav of a stream alone": ("espeak-stream.wav",),
    "wav 24 bit": ("ffmpeg-stream-24-bit.wav", "24-bit.wav", "24-bit-plain.wav"),
    "wav float": ("float.wav", "float-extensible.wav"),
    "wav extensible": ("many-channels.wav",) * 2,
    "wav A-law": ("a-law.wav",) * 3,
}


def opener(path: Path) -> Opener:
    return lambda: path.open("rb")


def openers(folder: Path, names: tuple[str, ...]) -> list[Opener]:
    return [opener(folder / name) for name in names]


def joined(folder: Path, names: tuple[str, ...], target: Path) -> Path:
    parts = openers(folder, names)
    measured = [measure(part) for part in parts]
    assert why_apart(measured) is None
    with target.open("w+b") as file:
        join(parts, measured, file)
        size = file.tell()
    assert target.stat().st_size == size
    return target


@pytest.mark.parametrize("names", ALIKE.values(), ids=ALIKE)
def test_the_whole_is_as_long_as_its_parts_and_none_of_it_is_broken(
    names: tuple[str, ...], sounds: Path, tmp_path: Path
) -> None:
    measured = [measure(part) for part in openers(sounds, names)]
    whole = joined(sounds, names, tmp_path / f"whole{Path(names[0]).suffix}")
    found = heard(whole)
    assert found.complaints == ""
    assert found.seconds == pytest.approx(sum(sound.seconds or 0 for sound in measured), abs=0.001)
    parts = {name: heard(sounds / name) for name in set(names)}
    a_frame = (measured[0].seconds or 0) / (measured[0].frames or 1e6)
    assert found.seconds == pytest.approx(sum(parts[name].seconds for name in names), abs=a_frame * len(names))
    if whole.suffix == ".mp3":
        assert found.frames == sum(sound.frames for sound in measured) == sum(parts[name].frames for name in names)
    else:
        assert sox_seconds(whole) == pytest.approx(found.seconds, abs=0.001)
        assert samples(whole) == b"".join(samples(sounds / name) for name in names)


def test_what_is_unlike_is_not_joined_and_the_cause_is_said(sounds: Path) -> None:
    def why(*names: str) -> str | None:
        return why_apart([measure(part) for part in openers(sounds, names)])

    assert why("lame-constant.mp3", "lame-mono.mp3") == (
        "part 1 is MP3, stereo, 44100 Hz, and part 2 is MP3, mono, 22050 Hz"
    )
    assert why("say.wav", "24-bit.wav") == (
        "part 1 is WAV, PCM, 16 bits, 1 channel(s), 22050 Hz, and part 2 is WAV, PCM, 24 bits, 1 channel(s), 22050 Hz"
    )
    assert why("say.wav", "compressed.wav") == "part 2 is a WAV file, but its sound is compressed (format 0x2)"
    assert why("float.wav", "24-bit.wav") is not None


def test_a_player_finds_its_way_in_a_whole_of_varying_rate(sounds: Path, tmp_path: Path) -> None:
    """Half of the time lies where the table of contents says."""
    data = joined(sounds, ("lame-constant.mp3", "lame-varying.mp3"), tmp_path / "whole.mp3").read_bytes()
    first, second = (measure(part) for part in openers(sounds, ("lame-constant.mp3", "lame-varying.mp3")))
    at = data.index(b"Xing")
    assert int.from_bytes(data[at + 8 : at + 12], "big") == first.frames + second.frames
    assert int.from_bytes(data[at + 12 : at + 16], "big") == len(data)
    table = data[at + 16 : at + 116]
    assert list(table) == sorted(table)
    assert table[50] / 256 == pytest.approx(first.size / (first.size + second.size), abs=0.02)
