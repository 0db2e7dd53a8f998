"""What ends sentences and clauses, in the scripts of the models' languages."""

from __future__ import annotations

#: With a blank after it.
SENTENCE_ENDS = frozenset(".!?…।॥؟۔")
#: In scripts that put no blank after it.
WIDE_SENTENCE_ENDS = frozenset("。！？｡．︒")
CLAUSE_ENDS = frozenset(",;:–—،؛")
WIDE_CLAUSE_ENDS = frozenset("，；：、､")
#: Closing quotes and brackets, which belong to what they close.
CLOSERS = frozenset("\"')]}»›”’」』）】》")
