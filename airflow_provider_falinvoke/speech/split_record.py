"""How a text was split, kept with the batch's journal.

The journal knows a part by its text. A retry that split the text in another way, because another version of this
package has other rules, would find none of its parts there, and pay for all of them again.
"""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict, ValidationError

from airflow_provider_falinvoke.batch.storage import Folder
from airflow_provider_falinvoke.exceptions import FalInvokeError
from airflow_provider_falinvoke.speech.splitting import Part, cuts, first_cuts, parts_of

_NAME = "split.json"


class SplitRecord(BaseModel):
    """How a text was split.

    :param text: the text's checksum (SHA-256, hex).
    :param limit: characters of a part, at the most.
    :param ends: where each part ends, in characters.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    limit: int
    ends: list[int]


def split_once(text: str, limit: int, journal: Folder) -> list[Part]:
    """Return the parts of a text: as they were, where an earlier try split it, of whatever version.

    :param journal: the folder of the batch's journal.
    :raises FalInvokeError: the record cannot be read or written; nothing was sent.
    """
    checksum = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    try:
        data = journal.read(_NAME)
        kept = None if data is None else SplitRecord.model_validate_json(data)
        if kept is None or (kept.text, kept.limit) != (checksum, limit):
            # A journal without a record is that of a version that kept none.
            ends = first_cuts(text, limit) if kept is None and journal.names() else cuts(text, limit)
            kept = SplitRecord(text=checksum, limit=limit, ends=ends)
            journal.write(_NAME, kept.model_dump_json().encode(), "application/json")
    except ValidationError as error:
        raise FalInvokeError(
            f"split.json in {journal} is damaged ({error.error_count()} mistakes), so nobody knows which parts of the "
            "text are paid. Nothing was submitted."
        ) from None
    except Exception as error:  # each storage has errors of its own
        raise FalInvokeError(
            f"How the text is split cannot be kept in {journal} ({error}). Nothing was submitted by this try."
        ) from error
    return parts_of(text, kept.ends)
