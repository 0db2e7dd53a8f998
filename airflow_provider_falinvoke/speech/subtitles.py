"""Subtitles from the times of words: SRT and WebVTT. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from airflow_provider_falinvoke.speech.punctuation import CLOSERS, SENTENCE_ENDS, WIDE_SENTENCE_ENDS
from airflow_provider_falinvoke.speech.timings import Word, glue

#: What a viewer can read at a time, as broadcasters have it.
LINE = 42
LINES = 2
SECONDS = 7.0
#: A silence of so many seconds ends a cue.
SILENCE = 1.0
_ENDS = tuple(SENTENCE_ENDS | WIDE_SENTENCE_ENDS)


class Cue(NamedTuple):
    """What is shown at a time, in seconds."""

    start: float
    end: float
    lines: tuple[str, ...]


def cues(words: Iterable[Word]) -> Iterator[Cue]:
    """Yield what to show: sentences, or pieces of them that can be read in time."""
    shown: list[Word] = []
    for word in words:
        if shown and _is_full(shown, word):
            yield _cue(shown)
            shown = []
        shown.append(word)
    if shown:
        yield _cue(shown)


def srt(shown: Iterable[Cue]) -> Iterator[str]:
    """Yield the blocks of an SRT file."""
    for number, cue in enumerate(shown, start=1):
        text = "\n".join(cue.lines).replace("-->", "->")
        yield f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{text}\n\n"


def vtt(shown: Iterable[Cue]) -> Iterator[str]:
    """Yield the blocks of a WebVTT file."""
    yield "WEBVTT\n\n"
    for cue in shown:
        text = "\n".join(cue.lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        yield f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{text}\n\n"


def _is_full(shown: list[Word], word: Word) -> bool:
    if shown[-1].text.rstrip("".join(CLOSERS)).endswith(_ENDS) or word.start - shown[-1].end >= SILENCE:
        return True
    return word.end - shown[0].start > SECONDS or len(_lines([*shown, word])) > LINES


def _cue(shown: list[Word]) -> Cue:
    return Cue(shown[0].start, max(word.end for word in shown), tuple(_lines(shown)))


def _lines(words: list[Word]) -> list[str]:
    lines = [words[0].text]
    for before, word in itertools.pairwise(words):
        longer = lines[-1] + glue(before.text, word.text) + word.text
        if len(longer) <= LINE:
            lines[-1] = longer
        else:
            lines.append(word.text)
    return lines


def _clock(seconds: float, point: str) -> str:
    thousandths = round(seconds * 1000)
    minutes, thousandths = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{thousandths // 1000:02}{point}{thousandths % 1000:03}"
