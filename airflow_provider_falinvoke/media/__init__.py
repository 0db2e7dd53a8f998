"""From an output to files in somebody's own storage: found, fetched, recognised, named, kept, and described.

Here is what a DAG file imports; ``media.save`` and ``media.manifest`` are for the end of a job.
"""

from airflow_provider_falinvoke.media.find import (
    Contents,
    Media,
    contents_of,
    find_media,
    flagged_numbers,
    without_inline,
)
from airflow_provider_falinvoke.media.naming import DEFAULT_FILE_NAME, FileName, Place
from airflow_provider_falinvoke.media.settings import FlagPolicy, Saving, refuse_flagged

__all__ = [
    "DEFAULT_FILE_NAME",
    "Contents",
    "FileName",
    "FlagPolicy",
    "Media",
    "Place",
    "Saving",
    "contents_of",
    "find_media",
    "flagged_numbers",
    "refuse_flagged",
    "without_inline",
]
