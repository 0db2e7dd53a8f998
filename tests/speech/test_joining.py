"""Sounds are put together in order, in blocks, and measured by what is really in them."""

from __future__ import annotations

import io
import resource
import struct
import wave
from pathlib import Path

import pytest

from airflow_provider_falinvoke.speech import mp3
from airflow_provider_falinvoke.speech.joining import Opener, Sound, common_kind, join, measure


def wav(seconds: float, *, rate: int = 8000, channels: int = 1, width: int = 2, value: bytes = b"\x01") -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(value * (round(seconds * rate) * channels * width))
    return target.getvalue()


def frame(fill: int, *, rate: int = 9, hertz: int = 0, mono: bool = True) -> bytes:
    """Return a frame of MPEG 1, layer III: 128 kbit/s and 44,100 Hz, 417 bytes."""
    head = bytes((0xFF, 0xFB, rate << 4 | hertz << 2, 0xC0 if mono else 0x00))
    parsed = mp3.header(head)
    assert parsed is not None
    return head + bytes([fill]) * (parsed.size - 4)


def id3(size: int) -> bytes:
    return b"ID3\x04\x00\x00" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0)) + b"\xff" * size


def opener(data: bytes) -> Opener:
    return lambda: io.BytesIO(data)


def joined(*parts: bytes) -> bytes:
    openers = [opener(part) for part in parts]
    kind = common_kind([measure(one) for one in openers])
    assert kind is not None
    target = io.BytesIO()
    join(openers, kind, target)
    return target.getvalue()


def test_wav_files_become_one() -> None:
    whole = joined(wav(0.5, value=b"\x01"), wav(0.25, value=b"\x02"), wav(1.0, value=b"\x03"))
    with wave.open(io.BytesIO(whole)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        assert file.getnframes() == 14_000
        samples = file.readframes(14_000)
    assert samples == b"\x01" * 8000 + b"\x02" * 4000 + b"\x03" * 16_000
    assert struct.unpack("<I", whole[4:8])[0] == len(whole) - 8


def test_the_length_of_a_wav_is_that_of_its_samples() -> None:
    assert measure(opener(wav(0.5))) == Sound("wav", (1, 2, 8000), 0.5, 8000)
    cut_off = wav(2.0)[:-8000]
    assert measure(opener(cut_off)).seconds == 1.5
    streamed = bytearray(wav(0.5))
    streamed[4:8] = streamed[40:44] = b"\xff\xff\xff\xff"
    assert measure(opener(bytes(streamed))).seconds == 0.5
    with wave.open(io.BytesIO(joined(cut_off, bytes(streamed)))) as file:
        assert file.getnframes() == 16_000


@pytest.mark.parametrize(
    "other",
    [wav(1, rate=16_000), wav(1, channels=2), wav(1, width=1), frame(1) * 3, b"OggS" + b"x" * 100, b"", b"RIFF"],
)
def test_what_is_not_alike_is_not_joined(other: bytes) -> None:
    assert common_kind([measure(opener(wav(1))), measure(opener(other))]) is None


def test_what_is_no_sound_that_we_know_is_said_to_be_none() -> None:
    compressed = bytearray(wav(1))
    compressed[20:22] = b"\x11\x00"  # ADPCM
    for data in (bytes(compressed), b"OggS" * 50, b"", b"ID3", b"RIFF\x00\x00\x00\x00WAVE", b"<html>"):
        assert measure(opener(data)) == Sound(None)


def test_a_wav_that_says_that_it_holds_nothing_is_no_sound() -> None:
    streamed = bytearray(wav(0.5))
    streamed[40:44] = b"\x00\x00\x00\x00"
    assert measure(opener(bytes(streamed))) == Sound(None)


def test_too_much_for_a_wav_is_not_joined() -> None:
    huge = Sound("wav", (1, 2, 8000), 1.0, 2**31)
    assert common_kind([huge, huge]) is None
    assert common_kind([huge]) == "wav"


def test_mp3_files_become_one_without_their_tags() -> None:
    counting = frame(0)[:40] + b"Xing" + frame(0)[44:]
    first = id3(300) + counting + frame(1) * 3 + b"TAG" + b"\x00" * 125
    second = id3(70_000) + frame(2) * 2
    assert joined(first, second) == frame(1) * 3 + frame(2) * 2


def test_the_length_of_an_mp3_is_that_of_its_frames() -> None:
    sound = measure(opener(id3(50) + frame(1) * 100))
    assert (sound.kind, sound.shape) == ("mp3", (3, 44_100, True))
    assert sound.seconds == pytest.approx(100 * 1152 / 44_100)
    varying = frame(1, rate=9) + frame(2, rate=5) + frame(3, rate=14)
    assert measure(opener(varying)).seconds == pytest.approx(3 * 1152 / 44_100)


@pytest.mark.parametrize(
    "other", [frame(1, hertz=1) * 3, frame(1, mono=False) * 3, frame(1) + frame(1, hertz=1) + frame(1, hertz=1)]
)
def test_mp3_files_of_another_sound_are_not_joined(other: bytes) -> None:
    assert common_kind([measure(opener(frame(1) * 3)), measure(opener(other))]) is None


@pytest.mark.parametrize(
    ("head", "size", "seconds"),
    [
        (b"\xff\xfb\x90\x00", 417, 1152 / 44_100),
        (b"\xff\xfb\x92\x00", 418, 1152 / 44_100),
        (b"\xff\xfb\xe4\xc0", 960, 1152 / 48_000),
        (b"\xff\xf3\x80\xc0", 208, 576 / 22_050),
        (b"\xff\xe3\x18\xc0", 72, 576 / 8_000),
    ],
)
def test_headers_are_read_as_the_standard_has_them(head: bytes, size: int, seconds: float) -> None:
    parsed = mp3.header(head)
    assert parsed is not None
    assert parsed.size == size
    assert parsed.seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    "head",
    [b"", b"\xff", b"\xff\xfb\x90", b"\x00\xfb\x90\x00", b"\xff\xfd\x90\x00", b"\xff\xeb\x90\x00", b"\xff\xfb\xf0\x00",
     b"\xff\xfb\x00\x00", b"\xff\xfb\x9c\x00"],
)  # fmt: skip
def test_what_is_no_header_is_none(head: bytes) -> None:
    assert mp3.header(head) is None


def test_damage_between_frames_is_passed_over() -> None:
    damaged = frame(1) * 2 + b"\xff\xfb\x90" + b"garbage" * 50 + frame(2) * 2 + frame(3)[:100]
    kept = b"".join(data for _, data in mp3.frames(io.BytesIO(damaged)))
    assert kept.endswith(frame(2) * 2)
    assert kept.startswith(frame(1))


@pytest.mark.parametrize("data", [b"\xff" * 300_000, b"\xff\xfb\x90\x00" * 75_000, b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f"])
def test_hostile_files_end(data: bytes) -> None:
    list(mp3.frames(io.BytesIO(data)))


@pytest.mark.parametrize("kind", ["wav", "mp3"])
def test_joining_takes_no_more_memory_than_a_block(kind: str, tmp_path: Path) -> None:
    part = tmp_path / f"part.{kind}"
    if kind == "wav":
        part.write_bytes(wav(1200, rate=44_100))
    else:
        part.write_bytes(frame(1) * 100_000)
    openers: list[Opener] = [lambda: part.open("rb")] * 3
    measure(openers[0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sounds = [measure(one) for one in openers]
    with (tmp_path / "whole").open("wb") as target:
        join(openers, common_kind(sounds) or "wav", target)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert (tmp_path / "whole").stat().st_size >= 3 * part.stat().st_size - 200
    assert grown < 10_000, "KiB"
