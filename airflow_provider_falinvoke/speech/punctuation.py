"""What ends sentences and clauses, and what does not, in the scripts of the models' languages."""

from __future__ import annotations

from bisect import bisect_right

#: With a blank after it.
SENTENCE_ENDS = frozenset(".!?…।॥؟۔")
#: In scripts that put no blank after it.
WIDE_SENTENCE_ENDS = frozenset("。！？｡．︒")
CLAUSE_ENDS = frozenset(",;:–—،؛")
WIDE_CLAUSE_ENDS = frozenset("，；：、､")
#: Closing quotes and brackets, which belong to what they close.
CLOSERS = frozenset("\"')]}»›”’」』）】》")

#: What stands between the digits of a number, a time or a date.
WITHIN_NUMBERS = ".,:٫٬．，：'’\u00a0\u202f"

_ABBREVIATIONS = """
adm allg anm approx asst aufl ave bd betr bldg blvd brig bros bsp capt cf cmdr corp dept dipl dott ed eds etc evtl excl
fr frl gen geb gebr ggf gov hbf hon hr hrn hrsg inc incl ing inkl insp jh kgl lic lt ltd maj med mgr mons mrd mss mt ord
pers pfc phil pres pte pvt rer resp rev sen sgt sig sog sra srta str supt tit tsd usf usw vgl zb zit zzgl
гл гр др им пр ред рис св см стр ул
"""
#: Titles and the like, whose full stop does not part them from what follows. What refers to a number ("Abs. 2", "p. 7")
#: need not be here: see splitting.py.
ABBREVIATIONS = frozenset(_ABBREVIATIONS.split())

#: First and last characters of the scripts that put no blanks between words: Han, Kana, Thai, Lao, Khmer and Burmese,
#: and the punctuation that goes with them. Hangul is wide, too, but has blanks.
_UNSPACED = (
    ("\u0e00", "\u0eff"),
    ("\u1000", "\u109f"),
    ("\u1780", "\u17ff"),
    ("\u19e0", "\u19ff"),
    ("\u2e80", "\u312f"),
    ("\u3190", "\u9fff"),
    ("\ua9e0", "\ua9ff"),
    ("\uaa60", "\uaa7f"),
    ("\uf900", "\ufaff"),
    ("\ufe30", "\ufe4f"),
    ("\uff00", "\uff9f"),
    ("\U0001aff0", "\U0001b16f"),
    ("\U00020000", "\U0003ffff"),
)
_STARTS = [first for first, _ in _UNSPACED]


def is_unspaced(character: str) -> bool:
    """Whether a character is of a script that puts no blanks between words."""
    place = bisect_right(_STARTS, character) - 1
    return place >= 0 and character <= _UNSPACED[place][1]
