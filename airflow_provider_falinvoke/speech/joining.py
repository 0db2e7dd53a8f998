"""Put the sounds of a speech together: WAV with WAV, MP3 with MP3, in blocks, without decoding anything."""

from __future__ import annotations

import wave
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Any, Literal, TypeAlias

from airflow_provider_falinvoke.speech import mp3

#: Opens a part; called twice for each.
Opener: TypeAlias = Callable[[], AbstractContextManager[IO[bytes]]]
Kind: TypeAlias = Literal["wav", "mp3"]

_FRAMES = 65_536
#: A WAV file counts its bytes in 32 bits.
_LARGEST_WAV = 2**32 - 2**16


@dataclass(frozen=True)
class Sound:
    """What a part is.

    :param kind: None where it is neither a WAV nor an MP3 file.
    :param shape: what it must have in common with those it is joined with.
    :param seconds: how long it really is; None where that is not known.
    :param size: bytes of its sound.
    """

    kind: Kind | None
    shape: tuple[Any, ...] = ()
    seconds: float | None = None
    size: int = 0


def measure(opener: Opener) -> Sound:
    """Return what a part is, and how long by its samples or frames, whatever its header says."""
    with opener() as file:
        start = file.read(12)
    if start.startswith(b"RIFF") and start.endswith(b"WAVE"):
        return _measure_wav(opener)
    if start.startswith(b"ID3") or mp3.header(start[:4]):
        return _measure_mp3(opener)
    return Sound(None)


def common_kind(sounds: Sequence[Sound]) -> Kind | None:
    """Return as what the parts can be joined; None where they cannot."""
    kinds = {(sound.kind, sound.shape) for sound in sounds}
    if len(kinds) != 1 or sum(sound.size for sound in sounds) > _LARGEST_WAV:
        return None
    return sounds[0].kind


def join(openers: Sequence[Opener], kind: Kind, target: IO[bytes]) -> None:
    """Write the parts into one file, in order.

    :param kind: see :func:`common_kind`.
    :param target: a local file; a WAV's header is mended at the end.
    """
    (_join_wav if kind == "wav" else _join_mp3)(openers, target)


def _measure_wav(opener: Opener) -> Sound:
    count = 0
    try:
        with opener() as file, wave.open(file) as part:
            shape = (part.getnchannels(), part.getsampwidth(), part.getframerate())
            width = shape[0] * shape[1]
            while data := part.readframes(_FRAMES):
                count += len(data) // width
    except (wave.Error, EOFError):
        return Sound(None)  # compressed, or damaged
    # A header that speaks of no samples is that of a stream, whose sound this reader would not find.
    return Sound("wav", shape, count / shape[2], count * width) if count else Sound(None)


def _join_wav(openers: Sequence[Opener], target: IO[bytes]) -> None:
    whole = wave.open(target, "wb")  # noqa: SIM115 - target is not ours to close
    for opener in openers:
        with opener() as file, wave.open(file) as part:
            if not whole.tell():
                whole.setparams(part.getparams())
            width = part.getnchannels() * part.getsampwidth()
            while data := part.readframes(_FRAMES):
                whole.writeframesraw(data[: len(data) // width * width])
    whole.close()


def _measure_mp3(opener: Opener) -> Sound:
    shapes: set[tuple[int, int, bool]] = set()
    seconds, size = 0.0, 0
    with opener() as file:
        for frame, data in mp3.frames(file):
            shapes.add(frame.sound)
            seconds += frame.seconds
            size += len(data)
    return Sound("mp3", shapes.pop(), seconds, size) if len(shapes) == 1 else Sound(None)


def _join_mp3(openers: Sequence[Opener], target: IO[bytes]) -> None:
    for opener in openers:
        with opener() as file:
            target.writelines(data for _, data in mp3.frames(file))
