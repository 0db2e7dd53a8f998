"""Put the sounds of a speech together: WAV with WAV, MP3 with MP3, in blocks, without decoding anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Literal, TypeAlias

from airflow_provider_falinvoke.speech import mp3, wav

#: Opens a part; called twice for each.
Opener: TypeAlias = Callable[[], AbstractContextManager[IO[bytes]]]
Kind: TypeAlias = Literal["wav", "mp3"]
_MP3 = "audio/mpeg"


@dataclass(frozen=True)
class Sound:
    """What a part is.

    :param kind: None where it can be joined with nothing.
    :param form: what it must have in common with those it is joined with, in words; of what cannot be joined, why.
    :param seconds: how long it really is; None where that is not known.
    :param sample_rate: Hz.
    :param size: bytes of its sound.
    :param frames: of an MP3.
    :param rates: the bit rates of these.
    """

    kind: Kind | None
    form: str
    seconds: float | None = None
    sample_rate: int | None = None
    size: int = 0
    frames: int = 0
    rates: frozenset[int] = frozenset()


def measure(opener: Opener, content_type: str | None = None) -> Sound:
    """Return what a part is, and how long by its samples or frames, whatever its header says.

    :param content_type: what it is known to be.
    """
    with opener() as file:
        start = file.read(12)
    if wav.is_wav(start):
        return _measure_wav(opener)
    if content_type == _MP3 or start.startswith(b"ID3") or mp3.header(start[:4]):
        return _measure_mp3(opener)
    return Sound(None, f"{content_type or 'of no known type'}, and only WAV and MP3 files are joined")


def why_apart(sounds: Sequence[Sound]) -> str | None:
    """Return why the parts cannot be joined, in words; None where they can."""
    for number, sound in enumerate(sounds, start=1):
        if sound.kind is None:
            return f"part {number} is {sound.form}"
        if sound.form != sounds[0].form:
            return f"part 1 is {sounds[0].form}, and part {number} is {sound.form}"
    if sounds[0].kind == "wav" and sum(sound.size for sound in sounds) > wav.LARGEST:
        return "together they are larger than a WAV file can be, 4 GiB"
    return None


def join(openers: Sequence[Opener], sounds: Sequence[Sound], target: IO[bytes]) -> None:
    """Write the parts into one file, in order, and leave the file's position at its end.

    :param sounds: what they are, and that nothing keeps them apart; see :func:`why_apart`.
    :param target: a local file.
    """
    (_join_wav if sounds[0].kind == "wav" else _join_mp3)(openers, sounds, target)


def _measure_wav(opener: Opener) -> Sound:
    try:
        with opener() as file:
            form, samples = wav.open_sound(file)
            size = sum(map(len, samples))
    except wav.WavError as error:
        return Sound(None, f"a WAV file, but {error}")
    if not size:
        return Sound(None, "a WAV file without a sound in it")
    return Sound("wav", str(form), size / form.block / form.sample_rate, form.sample_rate, size)


def _join_wav(openers: Sequence[Opener], sounds: Sequence[Sound], target: IO[bytes]) -> None:
    size = sum(sound.size for sound in sounds)
    for number, opener in enumerate(openers):
        with opener() as file:
            form, samples = wav.open_sound(file)
            if number == 0:
                target.write(wav.header(form, size))
            target.writelines(samples)
    target.write(b"\0" * (size % 2))


def _measure_mp3(opener: Opener) -> Sound:
    forms: set[mp3.Sound] = set()
    rates: set[int] = set()
    seconds, size, count = 0.0, 0, 0
    try:
        with opener() as file:
            for frame, data in mp3.frames(file):
                forms.add(frame.sound)
                rates.add(frame.rate)
                seconds += frame.seconds
                size += len(data)
                count += 1
    except mp3.DamagedError as error:
        return Sound(None, f"an MP3 file, but {error}")
    if len(forms) != 1:
        return Sound(
            None, "an MP3 file that changes its form in the middle" if forms else "an MP3 file without a frame"
        )
    (form,) = forms
    return Sound("mp3", str(form), seconds, form.sample_rate, size, count, frozenset(rates))


def _join_mp3(openers: Sequence[Opener], sounds: Sequence[Sound], target: IO[bytes]) -> None:
    """Write the frames, and before them the one that tells players how many there are, and where to seek."""
    first, places = b"", list[int]()
    count, size, number, at = sum(one.frames for one in sounds), sum(one.size for one in sounds), 0, 0
    steady = len(frozenset[int]().union(*(one.rates for one in sounds))) == 1

    def counting() -> bytes:
        return mp3.counting_frame(first, count=count, size=size, steady=steady, places=places)

    for opener in openers:
        with opener() as file:
            for _, data in mp3.frames(file):
                if not number:
                    first = data
                    target.write(counting())
                while len(places) * count <= number * mp3.PLACES and len(places) < mp3.PLACES:
                    places.append(at)
                target.write(data)
                number, at = number + 1, at + len(data)
    places += [at] * (mp3.PLACES - len(places))
    target.seek(0)
    target.write(counting())
    target.seek(0, os.SEEK_END)
