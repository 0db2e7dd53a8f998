"""Subtitles from the times of words: SRT and WebVTT. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from airflow_provider_falinvoke.speech.punctuation import CLOSERS, SENTENCE_ENDS, WIDE_SENTENCE_ENDS
from airflow_provider_falinvoke.speech.timings import Word

#: What a viewer can read at a time, as broadcasters have it.
LINE = 42
LINES = 2
SECONDS = 7.0
#: A silence of so many seconds ends a cue.
SILENCE = 1.0
#: A cue is shown for so long, if the next one lets it.
SHORTEST = 0.5
#: A player shows nothing of a cue that ends as it begins.
_TICK = 0.001
#: What parts the times of a cue must not stand in its text. Looked for from a run's first dash alone: from each, a long
#: run would be read again and again.
_ARROW = re.compile("(?<!-)-{2,}>")
_CLOSERS = "".join(CLOSERS)
_ENDS = tuple(SENTENCE_ENDS | WIDE_SENTENCE_ENDS)


class Cue(NamedTuple):
    """What is shown at a time, in seconds."""

    start: float
    end: float
    lines: tuple[str, ...]


def cues(words: Iterable[Word]) -> Iterator[Cue]:
    """Yield what to show: sentences, or pieces of them that can be read in time, one after the other."""
    before: Cue | None = None
    for cue in _groups(words):
        if before is not None:
            yield _timed(before, cue.start)
        before = cue
    if before is not None:
        yield _timed(before, before.start + SECONDS)


def srt(shown: Iterable[Cue]) -> Iterator[str]:
    """Yield the blocks of an SRT file."""
    for number, cue in enumerate(shown, start=1):
        text = _ARROW.sub("->", "\n".join(cue.lines))
        yield f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{text}\n\n"


def vtt(shown: Iterable[Cue]) -> Iterator[str]:
    """Yield the blocks of a WebVTT file."""
    yield "WEBVTT\n\n"
    for cue in shown:
        text = "\n".join(cue.lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        yield f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{text}\n\n"


def _groups(words: Iterable[Word]) -> Iterator[Cue]:
    shown: Cue | None = None
    for word in words:
        lines = _added(shown.lines if shown else (), word)
        if shown and (_is_over(shown, word) or len(lines) > LINES):
            yield shown
            shown, lines = None, (word.text,)
        shown = Cue(shown.start if shown else word.start, max(word.end, shown.end if shown else 0.0), lines)
    if shown:
        yield shown


def _timed(cue: Cue, following: float) -> Cue:
    """Return a cue that is shown for a while, but not with the following one, if that leaves a while."""
    end = max(cue.end, cue.start + SHORTEST)
    return cue._replace(end=max(min(end, following), cue.start + _TICK))


def _is_over(shown: Cue, word: Word) -> bool:
    """Whether what is shown is a sentence, or has been shown for long enough, before a word."""
    if shown.lines[-1].rstrip(_CLOSERS).endswith(_ENDS) or word.start - shown.end >= SILENCE:
        return True
    return word.end - shown.start > SECONDS


def _added(lines: tuple[str, ...], word: Word) -> tuple[str, ...]:
    longer = lines[-1] + " " * word.blank + word.text if lines else word.text
    return (*lines[:-1], longer) if len(longer) <= LINE or not lines else (*lines, word.text)


def _clock(seconds: float, point: str) -> str:
    thousandths = round(seconds * 1000)
    minutes, thousandths = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{thousandths // 1000:02}{point}{thousandths % 1000:03}"
