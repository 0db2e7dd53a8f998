"""Sounds are put together in order, in blocks, and measured by what is really in them."""

from __future__ import annotations

import io
import itertools
import resource
import struct
import wave
from pathlib import Path

import pytest

from airflow_provider_falinvoke.speech import mp3
from airflow_provider_falinvoke.speech import wav as wave_files
from airflow_provider_falinvoke.speech.joining import Opener, Sound, join, measure, why_apart


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
    sounds = [measure(one) for one in openers]
    assert why_apart(sounds) is None
    target = io.BytesIO()
    join(openers, sounds, target)
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
    assert measure(opener(wav(0.5))) == Sound("wav", "WAV, PCM, 16 bits, 1 channel(s), 8000 Hz", 0.5, 8000, 8000)
    cut_off = wav(2.0)[:-8000]
    assert measure(opener(cut_off)).seconds == 1.5
    for riff, data in ((-1, -1), (0, 0), (36, 0), (-1, 0), (0x7FFFF024, 0x7FFFF000)):
        streamed = bytearray(wav(0.5))
        streamed[4:8], streamed[40:44] = ((size % 2**32).to_bytes(4, "little") for size in (riff, data))
        assert measure(opener(bytes(streamed))).seconds == 0.5
        with wave.open(io.BytesIO(joined(bytes(streamed), cut_off))) as file:
            assert file.getnframes() == 16_000


@pytest.mark.parametrize("size", [8000, -1, 0x7FFFF000])
@pytest.mark.parametrize("pad", [b"", b"\0"])
@pytest.mark.parametrize("block", [1 << 18, 1000, 7])
def test_no_sound_is_lost_of_what_is_several_wav_files_in_one(
    monkeypatch: pytest.MonkeyPatch, size: int, pad: bytes, block: int
) -> None:
    """Servers that stream a speech send one whole file after the other (remsky/Kokoro-FastAPI #94)."""
    monkeypatch.setattr(wave_files, "_BLOCK", block)
    first = bytearray(wav(0.5))
    first[40:44] = (size % 2**32).to_bytes(4, "little")
    sounds = [measure(opener(wav(1))), measure(opener(bytes(first) + pad + wav(1)))]
    assert why_apart(sounds) == "part 2 is a WAV file, but it is several files, one after the other"


@pytest.mark.parametrize(
    "other",
    [wav(1, rate=16_000), wav(1, channels=2), wav(1, width=1), frame(1) * 3, b"OggS" + b"x" * 100, b"", b"RIFF"],
)
def test_what_is_not_alike_is_not_joined(other: bytes) -> None:
    assert str(why_apart([measure(opener(wav(1))), measure(opener(other))])).startswith("part")


def test_what_is_no_sound_that_we_know_is_said_to_be_none() -> None:
    compressed = bytearray(wav(1))
    compressed[20:22] = b"\x11\x00"  # ADPCM
    for data, why in (
        (bytes(compressed), "a WAV file, but its sound is compressed (format 0x11)"),
        (b"OggS" * 50, "of no known type, and only WAV and MP3 files are joined"),
        (b"", "of no known type, and only WAV and MP3 files are joined"),
        (b"ID3", "an MP3 file without a frame"),
        (b"RIFF\x00\x00\x00\x00WAVE", "a WAV file, but it holds no sound"),
        (wav(1)[:12] + b"fmt \xff\xff\xff\xff" + wav(1)[20:], "a WAV file, but it holds no sound"),
        (wav(1)[:30], "a WAV file, but its format is cut off"),
        (wav(1)[:12] + wav(1)[36:], "a WAV file, but its sound comes before its format"),
        (wav(1)[:22] + bytes(14) + wav(1)[36:], "a WAV file, but its format contradicts itself"),
        (b"RIFF\x00\x00\x00\x00WAVE" + b"junk\0\0\0\0" * 2000, "a WAV file, but it holds no sound"),
        (wav(0), "a WAV file without a sound in it"),
        (frame(1) * 2 + frame(1, hertz=1) * 2, "an MP3 file that changes its form in the middle"),
        (frame(1) + b"x" * 2_000_000, "an MP3 file, but more than 1048576 bytes of it are no sound"),
    ):
        assert measure(opener(data)) == Sound(None, why)
    assert measure(opener(b"fLaC"), "audio/flac").form.startswith("audio/flac, and only")


def test_an_mp3_file_that_begins_with_something_else_is_known_by_its_type() -> None:
    assert measure(opener(b"junk" + frame(1) * 3), "audio/mpeg").frames == 3


def test_a_wav_that_holds_nothing_and_more_than_that_is_no_sound() -> None:
    more = wav(0) + b"LIST\x04\x00\x00\x00INFO"
    told = more[:4] + (len(more) - 8).to_bytes(4, "little") + more[8:]
    assert measure(opener(told)) == Sound(None, "a WAV file without a sound in it")


def test_chunks_before_the_sound_and_after_it_are_passed_over() -> None:
    plain = wav(0.5)
    more = plain[:12] + b"LIST\x03\x00\x00\x00abc\x00" + plain[12:] + b"id3 \x02\x00\x00\x00xy"
    with wave.open(io.BytesIO(joined(more, plain))) as file:
        assert file.getnframes() == 8000


def test_too_much_for_a_wav_is_not_joined() -> None:
    huge = Sound("wav", "x", 1.0, size=2**31)
    assert why_apart([huge, huge]) == "together they are larger than a WAV file can be, 4 GiB"
    assert why_apart([huge]) is None
    much = Sound("mp3", "x", 1.0, size=2**31)
    assert why_apart([much] * 3) is None


def test_mp3_files_become_one_without_their_tags() -> None:
    counting = frame(0)[:21] + b"Xing" + frame(0)[25:]
    first = id3(300) + counting + frame(1) * 3 + b"TAG" + b"\x00" * 125
    second = id3(70_000) + frame(2) * 2
    whole = joined(first, second)
    count = mp3.header(whole[:4])
    assert count is not None
    assert whole[count.size :] == frame(1) * 3 + frame(2) * 2
    assert whole[21:25] == b"Info"
    assert [int.from_bytes(whole[at : at + 4], "big") for at in (25, 29, 33)] == [7, 5, len(whole)]
    assert whole[37 + 20] == 256 * (count.size + 417) // len(whole)


def test_a_joined_mp3_may_be_joined_again() -> None:
    whole = joined(frame(1) * 3, frame(2, rate=5) * 2)
    again = joined(whole, frame(3))
    assert measure(opener(again)).frames == 6
    assert again.endswith(frame(1) * 3 + frame(2, rate=5) * 2 + frame(3))


@pytest.mark.parametrize("mark_at", [21, 23, 36])
def test_a_frame_that_only_counts_is_known_with_a_checksum_and_by_each_mark(mark_at: int) -> None:
    mark = b"VBRI" if mark_at == 36 else b"Xing"
    counting = frame(0)[:mark_at] + mark + frame(0)[mark_at + 4 :]
    assert measure(opener(counting + frame(1) * 2)).frames == 2


def test_the_last_frame_is_kept_whatever_follows_it() -> None:
    for end in (b"\0" * 40, b"TAG" + bytes(125), b"APETAGEX" + bytes(50), id3(5000), b"LYRICSBEGIN"):
        assert measure(opener(frame(1) * 3 + end)).frames == 3
    assert measure(opener(frame(1) * 3 + id3(5000) + frame(1) * 2)).frames == 5
    assert measure(opener(id3(9) + id3(5000) + frame(1) * 2)).frames == 2


def test_a_counting_frame_has_room_in_each_form_of_sound() -> None:
    versions, modes = (b"\xff\xfb", b"\xff\xf3", b"\xff\xe3"), (0x00, 0x40, 0xC0)
    for version, mode, rate, hertz in itertools.product(versions, modes, range(1, 15), range(3)):
        first = version + bytes((rate << 4 | hertz << 2 | 2, mode | 0x30))
        made = mp3.counting_frame(first, count=3, size=900, steady=False, places=range(100))
        counting, sound = mp3.header(made[:4]), mp3.header(first)
        assert counting is not None
        assert sound is not None
        assert (len(made), counting.sound) == (counting.size, sound.sound)
        assert b"Xing" in made
        assert list(mp3.frames(io.BytesIO(made))) == []


def test_the_length_of_an_mp3_is_that_of_its_frames() -> None:
    sound = measure(opener(id3(50) + frame(1) * 100))
    assert (sound.kind, sound.form, sound.frames) == ("mp3", "MP3, mono, 44100 Hz", 100)
    assert sound.seconds == pytest.approx(100 * 1152 / 44_100)
    varying = frame(1, rate=9) + frame(2, rate=5) + frame(3, rate=14)
    assert measure(opener(varying)).seconds == pytest.approx(3 * 1152 / 44_100)


@pytest.mark.parametrize(
    "other", [frame(1, hertz=1) * 3, frame(1, mono=False) * 3, frame(1) + frame(1, hertz=1) + frame(1, hertz=1)]
)
def test_mp3_files_of_another_sound_are_not_joined(other: bytes) -> None:
    assert why_apart([measure(opener(frame(1) * 3)), measure(opener(other))]) is not None


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
        part.write_bytes(frame(1) * 30_000)
    openers: list[Opener] = [lambda: part.open("rb")] * 3
    measure(openers[0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sounds = [measure(one) for one in openers]
    with (tmp_path / "whole").open("w+b") as target:
        join(openers, sounds, target)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert (tmp_path / "whole").stat().st_size >= 3 * part.stat().st_size - 200
    assert grown < 10_000, "KiB"
