"""Sounds that can be played: a melody for audio, a beep for each word for speech. Mono WAV, 16 bits, 8 kHz."""

import array
import hashlib
import io
import math
import sys
import wave
from functools import lru_cache
from typing import NamedTuple

RATE = 8_000
HEADER_BYTES = 44
CHARACTERS_A_SECOND = 15

# A pentatonic scale from A3 on: any order of its notes is pleasant.
_NOTES = (220.0, 261.63, 293.66, 329.63, 392.0, 440.0, 523.25, 587.33)
_NOTE_SECONDS = 0.5
_MELODY_NOTES = 16
_LOUDNESS = 9_000


class Word(NamedTuple):
    """A word of a speech and when it is heard, in seconds from the start."""

    text: str
    start: float
    end: float


def wav_bytes(seconds: float) -> int:
    """Return the size of a WAV file of that length in seconds, without making it."""
    return HEADER_BYTES + 2 * round(seconds * RATE)


def words(text: str) -> list[Word]:
    """Return the words of a text with their times, at some fifteen characters a second."""
    spoken, at = [], 0
    for word in text.split():
        spoken.append(Word(word, at / CHARACTERS_A_SECOND, (at + len(word)) / CHARACTERS_A_SECOND))
        at += len(word) + 1
    return spoken


def speech_seconds(text: str) -> float:
    """Return how long the speech of a text is, in seconds; at least half a second, for an empty text too."""
    spoken = words(text)
    return max(0.5, spoken[-1].end if spoken else 0.0)


@lru_cache(maxsize=8)
def melody(model_id: str, prompt: str, seed: int, seconds: int) -> bytes:
    """Return a WAV file of that many seconds; the same arguments always give the same bytes."""
    key = repr((model_id, prompt, seed)).encode("utf-8", "backslashreplace")
    notes = [_NOTES[byte % len(_NOTES)] for byte in hashlib.sha256(key).digest()[:_MELODY_NOTES]]
    phrase = b"".join(_beep(note, round(_NOTE_SECONDS * RATE)) for note in notes)
    wanted = 2 * seconds * RATE
    return _wav((phrase * (wanted // len(phrase) + 1))[:wanted])


@lru_cache(maxsize=8)
def speech(text: str) -> bytes:
    """Return a WAV file with a beep for each word, as long as the word."""
    samples = bytearray(2 * round(speech_seconds(text) * RATE))
    for word in words(text):
        first = 2 * round(word.start * RATE)
        beep = _beep(_NOTES[len(word.text) % len(_NOTES)], round((word.end - word.start) * RATE))
        samples[first : first + len(beep)] = beep[: len(samples) - first]
    return _wav(bytes(samples))


@lru_cache(maxsize=256)
def _beep(hertz: float, count: int) -> bytes:
    fade = max(1, min(count // 4, RATE // 50))  # without it each beep would begin and end with a click
    step = 2 * math.pi * hertz / RATE
    samples = array.array(
        "h", (int(_LOUDNESS * min(1, n / fade, (count - n) / fade) * math.sin(step * n)) for n in range(count))
    )
    if sys.byteorder == "big":  # pragma: no cover - WAV is little-endian, as is every machine the tests run on
        samples.byteswap()
    return samples.tobytes()


def _wav(samples: bytes) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples)
    return target.getvalue()
