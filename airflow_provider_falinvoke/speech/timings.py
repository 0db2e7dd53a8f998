"""When each word of a speech is heard: read from what a model tells, moved, and put together. Pure.

Times are seconds from the beginning of the sound.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from airflow_provider_falinvoke.speech.punctuation import is_unspaced

_TEXT = ("text", "word", "character", "char", "token")
_START = ("start", "start_time", "start_seconds", "begin")
_END = ("end", "end_time", "end_seconds", "stop")
#: What ElevenLabs calls the three lists of an alignment.
_ALIGNMENT = ("characters", "character_start_times_seconds", "character_end_times_seconds")
_FIELDS = 3
#: A start that falls from beyond the second to before the first is the beginning of another piece, which counts from
#: its own; one that falls less is a model's inaccuracy.
_ABOUT_ZERO, _WELL_ON = 0.1, 0.4
#: Seconds. A word that starts later than this after the end of its sound belongs to another sound, or has another unit.
_BEYOND = 1.0
#: So many objects may be around a list of times.
_DEEPEST = 3
#: Of so many items, one may have several characters, though each stands for a character.
_MOSTLY = 10


#: What ends subtitles, or breaks them, and is no blank.
_CONTROLS = re.compile("[\\x00-\\x08\\x0e-\\x1b\\x7f-\\x84\\x86-\\x9f\\ud800-\\udfff]")


class Word(NamedTuple):
    """A word and when it is heard, in seconds; of a script without blanks, a character.

    :param blank: whether a blank parts it from the word before.
    """

    text: str
    start: float
    end: float
    blank: bool = True

    def moved(self, seconds: float) -> Word:
        """Return the word so many seconds later."""
        return self._replace(start=self.start + seconds, end=self.end + seconds)


def read_timings(output: Any) -> list[Word] | None:
    """Return the words of an output's ``timestamps``; None where there are none that can be read.

    Shapes: ``[{"text": …, "start": …, "end": …}]``, other names for these, ``[["word", start, end]]``, ElevenLabs'
    alignment of three lists, or a list of such. Single characters are put together to words. An empty list is one of
    no words: nothing is said.
    """
    if not isinstance(output, dict):
        return None
    empty = False
    for key in ("timestamps", "alignment", "words"):
        value = output.get(key)
        if found := _read(value):
            return _words(found)
        empty = empty or value == []
    return [] if empty else None


def fit(words: Sequence[Word], seconds: float) -> list[Word] | None:
    """Return the words within a sound's length; None where they cannot be those of this sound.

    :param seconds: how long the sound is.
    """
    if any(word.start > seconds + _BEYOND for word in words):
        return None
    return [word._replace(start=min(word.start, seconds), end=min(word.end, seconds)) for word in words]


def together(parts: Iterable[tuple[Sequence[Word], float]]) -> Iterator[Word]:
    """Yield the words of several sounds, one after the other; none begins before the one before it.

    :param parts: the words of each sound, and how long it really is.
    """
    offset, last, before = 0.0, 0.0, ""
    for words, seconds in parts:
        for number, word in enumerate(words):
            last = max(last, round(word.start + offset, 3))
            blank = word.blank if number else _is_parted(before, word.text)
            yield word._replace(start=last, end=max(last, round(word.end + offset, 3)), blank=blank)
            before = word.text
        offset += seconds


def _read(value: Any, depth: int = 0) -> list[Word] | None:
    if isinstance(value, dict):
        if _ALIGNMENT[0] in value:
            return _alignment(value)
        inner = value.values() if depth < _DEEPEST else ()
        return next(filter(None, (_read(one, depth + 1) for one in inner)), None)
    if not isinstance(value, list):
        return None
    found: list[Word] = []
    offset, last = 0.0, 0.0
    for item in value:
        if item is None:  # a piece of which nothing is told
            continue
        more = _piece(item, depth, found[-1].end - offset if found else 0.0)
        if more is None:
            return None
        if more and more[0].start < _ABOUT_ZERO and last > _WELL_ON:
            offset = found[-1].end
        found += [word.moved(offset) for word in more]
        last = more[-1].start if more else last
    return found if any(word.end for word in found) else None


def _piece(item: Any, depth: int, at: float) -> list[Word] | None:
    """Return the words of one item of a list.

    :param at: when a word is heard that the model could not place, such as a number, or a laugh.
    """
    if isinstance(item, (list, tuple)) and len(item) == _FIELDS:
        text, start, end = item
    elif not isinstance(item, dict):
        return None
    elif _ALIGNMENT[0] in item:
        return _alignment(item)
    elif not any(name in item for name in _TEXT):
        return _read(item, depth + 1)
    else:
        text, start, end = (
            next((item[name] for name in names if name in item), None) for names in (_TEXT, _START, _END)
        )
    known = [time for time in (start, end) if time is not None] or [at]
    return _timed([text], known[:1], known[-1:])


def _alignment(value: dict[str, Any]) -> list[Word] | None:
    lists = [value.get(name) for name in _ALIGNMENT]
    if not all(isinstance(one, list) for one in lists):
        return None
    texts, starts, ends = lists
    return _timed(texts, starts, ends) if len(texts) == len(starts) == len(ends) else None  # type: ignore[arg-type]  # all are lists, see above


def _timed(texts: Sequence[Any], starts: Sequence[Any], ends: Sequence[Any]) -> list[Word] | None:
    words = []
    for text, start, end in zip(texts, starts, ends, strict=True):
        if not isinstance(text, str) or not (_is_time(start) and _is_time(end)):
            return None
        words.append(Word(text, float(start), max(float(start), float(end))))
    return words


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _words(found: Sequence[Word]) -> list[Word]:
    """Put single characters together to words; what are words already stay as they are."""
    items = [one._replace(text=_CONTROLS.sub("", one.text)) for one in found]
    lengths = [length for one in items if (length := len(one.text.strip()))]
    single = sum(1 for length in lengths if length > 1) * _MOSTLY <= len(lengths)
    words: list[Word] = []
    blank = True
    for one in items:
        text = " ".join(one.text.split())
        last = words[-1].text if words else ""
        blank = blank or not one.text or one.text[0].isspace()
        if single and text and not blank and _belongs(last, text):
            words[-1] = words[-1]._replace(text=last + text, end=max(words[-1].end, one.end))
        elif text:
            words.append(one._replace(text=text, blank=blank if single else blank or _is_parted(last, text)))
        blank = (blank and not text) or one.text[-1:].isspace()
    return words


def _belongs(word: str, character: str) -> bool:
    """Whether a character that follows a word without a blank is a part of it."""
    if not (character[0].isalnum() or is_unspaced(character[0])) or unicodedata.category(character[0]).startswith("M"):
        return True  # an accent, a punctuation mark
    return not (is_unspaced(word[-1]) or is_unspaced(character[0]))


def _is_parted(before: str, after: str) -> bool:
    """Whether two words, of which nothing else is known, have a blank between them."""
    return not (before and after and is_unspaced(before[-1]) and is_unspaced(after[0]))
