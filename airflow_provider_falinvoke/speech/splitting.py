"""Split a text into parts that are read well one by one: at sentences, else at clauses, else at words. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from airflow_provider_falinvoke.speech.punctuation import (
    ABBREVIATIONS,
    CLAUSE_ENDS,
    CLOSERS,
    SENTENCE_ENDS,
    WIDE_CLAUSE_ENDS,
    WIDE_SENTENCE_ENDS,
    WITHIN_NUMBERS,
    is_unspaced,
)

#: So much of the neighbouring parts goes along with each, so that the voice does not start anew.
CONTEXT = 300
#: A full stop after one of these ends no sentence. With these alone, and without what is tied below, the first rules
#: split, of which batches may still be under way: see :func:`first_cuts`.
_FIRST_ABBREVIATIONS = frozenset(
    ("mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "vs", "fig", "no", "nr", "mme", "mlle", "sra", "bzw", "ca")
)
_LONGEST_ABBREVIATION = 4
_ZERO_WIDTH_JOINER = "\u200d"
#: Written before their consonants.
_LEADING_VOWELS = frozenset("เแโใไເແໂໃໄ")
#: The combining class of what joins two consonants.
_VIRAMA = 9
_PUNCTUATION = CLOSERS | SENTENCE_ENDS | WIDE_SENTENCE_ENDS | CLAUSE_ENDS | WIDE_CLAUSE_ENDS
#: What is not torn while another place is near. Nothing in it is unbounded, or looks back over what it did not take, so
#: it costs no more than the text's length.
_TIED = re.compile(
    r"(?P<tag><([A-Za-z][\w:-]{0,30})\b[^<>]{0,200}>(?:[^<>]{0,200}</\2>)?|</?[A-Za-z][\w:-]{0,30}\s{0,3}>|"
    r"\[[^\[\]\n]{1,60}\])"
    rf"|(?P<number>\d+(?:[{WITHIN_NUMBERS}]\d+|\x20\d{{3}}(?!\d))*)"
    r"|(?<!\w)(?P<word>[^\W\d_]{1,9})(?=\.\s)"
    r"|(?P<mark>[§№])"
    r"|(?P<blank>[\u00a0\u202f])"
)
#: A full stop, a blank, within one paragraph, and what follows it.
_GAP = re.compile(r"\.?[^\S\n]{0,3}\n?[^\S\n]{0,3}(?=(\S))")
_ROMAN = re.compile(r"[IVXLCDM]{2,9}")
#: "3. Oktober" has an ordinal, "in 1984. Then" ends a sentence.
_LONGEST_ORDINAL = 3


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
    unless it alone is longer than the limit; a number, an abbreviation with what it belongs to, or a tag is torn only
    where no other place is near. Each part has something to say, where the text has.

    :param limit: characters, at least 1.
    """
    return parts_of(text, cuts(text, limit))


def cuts(text: str, limit: int) -> list[int]:
    """Return where each part of a text ends."""
    tied = _tied(text)
    last = len(text) - 1
    while last >= 0 and not text[last].isalnum():
        last -= 1

    def cut(at: int, end: int) -> int:
        # Something to say remains on both sides.
        first = at
        while first < end and not text[first].isalnum():
            first += 1
        for places in (range(min(end, last), first, -1), range(end, at, -1)):
            free = [place for place in places if not tied[place]]
            for found, ends in (
                (free, (_ends_sentence, _ends_clause, _ends_word, _ends_unspaced)),
                (places, (_ends_word, _ends_character)),
            ):
                if place := _best(text, at, found, ends):
                    return place
        return _not_within_a_pair(text, end)

    return list(_ends_of_parts(text, limit, cut))


def first_cuts(text: str, limit: int) -> list[int]:
    """Return where each part of a text ended by the rules before there was a record of it."""

    def cut(at: int, end: int) -> int:
        ends = (_ends_sentence, _ends_clause, _ends_word, _ends_character)
        return _best(text, at, range(end, at, -1), ends) or _not_within_a_pair(text, end)

    return list(_ends_of_parts(text, limit, cut))


def parts_of(text: str, ends: Iterable[int]) -> list[Part]:
    """Return the parts of a text that end there."""
    texts: list[str] = []
    at = 0
    for end in ends:
        texts.append(text[at:end].strip())
        at = end
    return [
        Part(
            one,
            before=_tail(texts[number - 1]) if number else "",
            after=_head(texts[number + 1]) if number + 1 < len(texts) else "",
        )
        for number, one in enumerate(texts)
    ]


def _ends_of_parts(text: str, limit: int, cut: Callable[[int, int], int]) -> Iterator[int]:
    at = 0
    while (at := _skip_blanks(text, at)) < len(text):
        at = len(text) if len(text) - at <= limit else cut(at, at + limit)
        yield at


def _skip_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _best(text: str, start: int, places: Sequence[int], kinds: Sequence[Callable[[str, int, int], bool]]) -> int | None:
    """Return the first of ``places`` at which the best kind of end is found, the best kind first."""
    # The blank after a sentence may be the first character that is too many.
    for ends in kinds:
        for place in places:
            if ends(text, start, place):
                return place
    return None


def _tied(text: str) -> bytearray:
    """Return for each place of a text whether what stands before and after it belongs together."""
    tied = bytearray(len(text) + 1)
    for found in _TIED.finditer(text):
        start, end = found.span()
        if found["blank"] or (found["word"] and not _goes_on(text, found)):
            end = start + 1 if found["word"] else end
        elif found["word"] or found["mark"] or (found["number"] and end - start <= _LONGEST_ORDINAL):
            gap = _GAP.match(text, end)
            # A number's own full stop makes it an ordinal; without one the next word is none of its business.
            if gap and (not found["number"] or (text[end] == "." and gap.end() > end + 1)):
                end = gap.end() + 1
        first = start if found["blank"] else start + 1
        last = end + 1 if found["blank"] else end
        tied[first:last] = b"\x01" * (last - first)
    return tied


def _goes_on(text: str, found: re.Match[str]) -> bool:
    """Whether a word with a full stop belongs to what follows: "Capt. Jones", "Abs. 2", "J. Doe"."""
    word = found["word"]
    gap = _GAP.match(text, found.end())
    if gap is None:
        return False
    return (
        word.lower() in ABBREVIATIONS
        or word.lower() in _FIRST_ABBREVIATIONS
        or (len(word) == 1 and word not in "iI")
        or (len(word) <= _LONGEST_ABBREVIATION and gap[1].isdigit())
        or _ROMAN.fullmatch(word) is not None
    )


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


def _ends_unspaced(text: str, start: int, cut: int) -> bool:
    """Whether a line could be broken at ``cut`` in a script that puts no blanks between words."""
    before, after = text[cut - 1], text[cut]
    if not (is_unspaced(before) or is_unspaced(after)) or after in _PUNCTUATION or before in _LEADING_VOWELS:
        return False
    return unicodedata.combining(before) != _VIRAMA and _ends_character(text, start, cut)


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
    return word in _FIRST_ABBREVIATIONS or (len(word) == 1 and word != "i") or following.islower()


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
