"""When each word of a speech is heard: read from what a model tells, moved, and put together. Pure.

Times are seconds from the beginning of the sound.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

_TEXT = ("text", "word", "character", "char", "token")
_START = ("start", "start_time", "start_seconds", "begin")
_END = ("end", "end_time", "end_seconds", "stop")
#: What ElevenLabs calls the three lists of an alignment.
_ALIGNMENT = ("characters", "character_start_times_seconds", "character_end_times_seconds")
_FIELDS = 3


class Word(NamedTuple):
    """A word and when it is heard, in seconds; of a script without blanks, a character."""

    text: str
    start: float
    end: float

    def moved(self, seconds: float) -> Word:
        """Return the word so many seconds later."""
        return Word(self.text, self.start + seconds, self.end + seconds)


def read_timings(output: Any) -> list[Word] | None:
    """Return the words of an output's ``timestamps``, or None where there are none that can be read.

    Shapes: ``[{"text": …, "start": …, "end": …}]``, other names for these, ``[["word", start, end]]``, ElevenLabs'
    alignment of three lists, or a list of such. Single characters are put together to words.
    """
    if not isinstance(output, dict):
        return None
    for key in ("timestamps", "alignment", "words"):
        found = _read(output.get(key))
        if found:
            return _words(found)
    return None


def together(parts: Iterable[tuple[Sequence[Word], float]]) -> Iterator[Word]:
    """Yield the words of several sounds, one after the other.

    :param parts: the words of each sound, and how long it really is.
    """
    offset = 0.0
    for words, seconds in parts:
        for word in words:
            moved = word.moved(offset)
            yield moved._replace(start=round(moved.start, 3), end=round(moved.end, 3))
        offset += seconds


def glue(before: str, after: str) -> str:
    """Return what stands between two words: nothing in scripts that put no blanks between them."""
    return "" if before and after and _is_wide(before[-1]) and _is_wide(after[0]) else " "


def _read(value: Any) -> list[Word] | None:
    if isinstance(value, dict):
        return _alignment(value) if _ALIGNMENT[0] in value else next(filter(None, map(_read, value.values())), None)
    if not isinstance(value, list):
        return None
    found: list[Word] = []
    for item in value:
        more = _alignment(item) if isinstance(item, dict) and _ALIGNMENT[0] in item else _one(item)
        if more is None:
            return None
        if found and more and more[0].start < found[-1].start:  # a piece that counts from its own beginning
            more = [word.moved(found[-1].end) for word in more]
        found += more
    return found


def _one(item: Any) -> list[Word] | None:
    if isinstance(item, dict):
        fields = [next((item[name] for name in names if name in item), None) for names in (_TEXT, _START, _END)]
    elif isinstance(item, (list, tuple)) and len(item) == _FIELDS:
        fields = list(item)
    else:
        return None
    return _timed([fields[0]], [fields[1]], [fields[2]])


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
    if any(len(one.text.strip()) > 1 for one in found):
        return [one._replace(text=one.text.strip()) for one in found if one.text.strip()]
    words: list[Word] = []
    open_word = False
    for one in found:
        if not one.text.strip():
            open_word = False
        elif open_word and not _is_wide(one.text):
            last = words[-1]
            words[-1] = Word(last.text + one.text, last.start, one.end)
        else:
            words.append(one)
            open_word = not _is_wide(one.text)
    return words


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in ("W", "F")
