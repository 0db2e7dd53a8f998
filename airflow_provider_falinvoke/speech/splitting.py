"""Split a text into parts that are read well one by one: at sentences, else at clauses, else at words. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from airflow_provider_falinvoke.speech.punctuation import (
    CLAUSE_ENDS,
    CLOSERS,
    SENTENCE_ENDS,
    WIDE_CLAUSE_ENDS,
    WIDE_SENTENCE_ENDS,
)

#: So much of the neighbouring parts goes along with each, so that the voice does not start anew.
CONTEXT = 300
#: A full stop after one of these ends no sentence.
_ABBREVIATIONS = frozenset(
    ("mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "vs", "fig", "no", "nr", "mme", "mlle", "sra", "bzw", "ca")
)
_LONGEST_ABBREVIATION = 4
_ZERO_WIDTH_JOINER = "\u200d"


class Part(NamedTuple):
    """A part of a text.

    :param text: what to say.
    :param before: the end of what is said before it.
    :param after: the beginning of what is said after it.
    """

    text: str
    before: str
    after: str


def split(text: str, limit: int) -> list[Part]:
    """Return the parts of a text, none longer than ``limit`` characters; put together they are the text.

    Only blanks between parts are dropped. A character with its accents, or a family of joined emojis, is never torn,
    unless it alone is longer than the limit.

    :param limit: characters, at least 1.
    """
    texts: list[str] = []
    at = 0
    while (at := _skip_blanks(text, at)) < len(text):
        end = len(text) if len(text) - at <= limit else _cut(text, at, at + limit)
        texts.append(text[at:end].rstrip())
        at = end
    return [
        Part(
            one,
            before=_tail(texts[number - 1]) if number else "",
            after=_head(texts[number + 1]) if number + 1 < len(texts) else "",
        )
        for number, one in enumerate(texts)
    ]


def _skip_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _cut(text: str, start: int, end: int) -> int:
    """Return where to end the part that begins at ``start`` and may reach to ``end``."""
    for ends in (_ends_sentence, _ends_clause, _ends_word, _ends_character):
        # The blank after a sentence may be the first character that is too many.
        for cut in range(end, start, -1):
            if ends(text, start, cut):
                return cut
    return _not_within_a_pair(text, end)


def _ends_sentence(text: str, start: int, cut: int) -> bool:
    """Whether a sentence ends just before ``cut``; nothing before ``start`` counts."""
    if text[cut - 1] == "\n" and text[cut - 2 : cut - 1] == "\n":
        return True
    last = _before_closers(text, start, cut)
    if text[last] in WIDE_SENTENCE_ENDS:
        return text[cut] not in WIDE_SENTENCE_ENDS and text[cut] not in CLOSERS
    if text[last] not in SENTENCE_ENDS or not text[cut].isspace():
        return False
    return text[last] != "." or not _abbreviates(text, last)


def _ends_clause(text: str, start: int, cut: int) -> bool:
    if text[cut - 1] == "\n":
        return True
    last = _before_closers(text, start, cut)
    return text[last] in WIDE_CLAUSE_ENDS or (text[last] in CLAUSE_ENDS and text[cut].isspace())


def _ends_word(text: str, start: int, cut: int) -> bool:
    del start
    return text[cut].isspace() or text[cut - 1].isspace()


def _ends_character(text: str, start: int, cut: int) -> bool:
    """Whether what stands before and after ``cut`` is not one character to a reader."""
    before, after = text[cut - 1], text[cut]
    if _ZERO_WIDTH_JOINER in (before, after) or unicodedata.category(after).startswith("M"):
        return False
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\u1160" <= after <= "\u11ff":  # tones of skin, parts of a syllable
        return False
    if _is_half(before, after):
        return False
    # Two letters make a flag, counted from the first of them.
    letters = 0
    while letters < cut - start and _is_flag_letter(text[cut - 1 - letters]):
        letters += 1
    return not (letters % 2 and _is_flag_letter(after))


def _not_within_a_pair(text: str, cut: int) -> int:
    return cut - 1 if cut > 1 and _is_half(text[cut - 1], text[cut]) else cut


def _is_half(before: str, after: str) -> bool:
    """Whether the two are one character that a broken encoding left in two halves."""
    return "\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff"


def _is_flag_letter(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _before_closers(text: str, start: int, cut: int) -> int:
    """Return the place of the last character before ``cut`` that is no closing quote or bracket."""
    last = cut - 1
    while last > start and cut - last <= len(CLOSERS) and text[last] in CLOSERS:
        last -= 1
    return last


def _abbreviates(text: str, stop: int) -> bool:
    """Whether the full stop at ``stop`` belongs to a word that goes on: "Dr. Who", "J. Doe", "e.g. this"."""
    first = stop
    while first > 0 and stop - first <= _LONGEST_ABBREVIATION and text[first - 1].isalpha():
        first -= 1
    word = text[first:stop].lower()
    following = next((character for character in text[stop + 1 : stop + 4] if not character.isspace()), "")
    return word in _ABBREVIATIONS or (len(word) == 1 and word != "i") or following.islower()


def _tail(text: str) -> str:
    if len(text) <= CONTEXT:
        return text
    first = len(text) - CONTEXT
    return text[_between(text, range(first, len(text))) :].strip()


def _head(text: str) -> str:
    return text if len(text) <= CONTEXT else text[: _between(text, range(CONTEXT, 0, -1))].strip()


def _between(text: str, places: Sequence[int]) -> int:
    """Return the first of ``places`` that is between two words, else between two characters, else just the first."""
    for ends in (_ends_word, _ends_character):
        for place in places:
            if ends(text, 0, place):
                return place
    return places[0]
