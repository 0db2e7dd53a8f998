"""What a stranger's sound or timings hold costs no more than its length: 64 kB of it a fifth of a second."""

from __future__ import annotations

import gc
import io
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from airflow_provider_falinvoke.speech.joining import join, measure, why_apart
from airflow_provider_falinvoke.speech.splitting import split
from airflow_provider_falinvoke.speech.subtitles import cues, srt, vtt
from airflow_provider_falinvoke.speech.timings import fit, read_timings, together
from tests.media.test_hostile import BYTES, SIZE, TEXTS, limited
from tests.support.samples import mp3, wav

pytestmark = pytest.mark.serial

STARTS = {
    "nothing": b"",
    "a WAV's start": wav(0.1)[:12],
    "a WAV's format": wav(0.1)[:36],
    "an MP3": mp3(1),
    "a tag's start": b"ID3\4\0\0\0\0\0\0",
}
UNITS = {
    **BYTES,
    "the smallest frames": b"\xff\xf3\x14\xc4" + bytes(20),
    "frames in frames": b"\xff\xfb\x10\xc4",
    "tags": b"ID3\4\0\0\0\0\0\1x",
    "large tags": b"ID3\4\0\0\x7f\x7f\x7f\x7f",
    "empty chunks": b"junk\0\0\0\0",
    "large chunks": b"junk\xff\xff\xff\xff",
    "formats": b"fmt \x10\0\0\0" + wav(0)[20:36],
    "sounds": b"data\0\0\0\0",
}


@pytest.fixture(autouse=True)
def _cheap_garbage() -> Iterator[None]:
    """Keep what other tests left behind from being searched in the middle of a measured read."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def test_sounds_are_read_in_linear_time() -> None:
    for start_name, start in STARTS.items():
        for name, unit in UNITS.items():
            data = start + unit * (SIZE // len(unit))
            opener = partial(io.BytesIO, data)
            with limited(f"{start_name} and {name}"):
                sound = measure(opener, "audio/mpeg")
            if why_apart([sound]) is None:
                with limited(f"joining {start_name} and {name}"):
                    join([opener], [sound], io.BytesIO())


def timed(texts: list[str]) -> list[list[Any]]:
    return [[text, n / 10, n / 10] for n, text in enumerate(texts)]


def test_timings_are_read_and_shown_in_linear_time() -> None:
    for name, unit in TEXTS.items():
        text = unit * (SIZE // len(unit) // 4)
        for kind, timestamps in (
            ("characters", timed(list(text[: SIZE // 128]))),
            ("one word", timed([text])),
            ("words at one time", [[unit + "a", 0, 0] for _ in range(min(SIZE // len(unit), SIZE // 128))]),
            ("beginnings", [[unit[:9], (n % 2) * 5, 1] for n in range(SIZE // 128)]),
        ):
            with limited(f"{kind} of {name}"):
                words = fit(read_timings({"timestamps": timestamps}) or [], 1e6) or []
                words = list(together([(words, 1e6)]))
                shown = list(cues(words))
                assert [*srt(shown), *vtt(shown)]
    deep: Any = []
    for _ in range(900):
        deep = {"timestamps": deep, "words": [deep]}
    with limited("what is nested"):
        read_timings(deep)


def test_texts_are_split_in_linear_time() -> None:
    for name, unit in TEXTS.items():
        with limited(f"{name} in parts"):
            split("a" + unit * (SIZE // 8 // len(unit)) + "a", 1000)
