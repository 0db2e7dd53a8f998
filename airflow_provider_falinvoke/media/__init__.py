"""From an output to files in somebody's own storage: found, fetched, recognised, named, kept, and described."""

from airflow_provider_falinvoke.media.find import Media, find_media, without_inline
from airflow_provider_falinvoke.media.manifest import MediaFile
from airflow_provider_falinvoke.media.naming import DEFAULT_FILE_NAME, FileName, Place
from airflow_provider_falinvoke.media.save import (
    FlagPolicy,
    Saving,
    flagged_numbers,
    refuse_flagged,
    save_manifest,
    save_media,
)

__all__ = [
    "DEFAULT_FILE_NAME",
    "FileName",
    "FlagPolicy",
    "Media",
    "MediaFile",
    "Place",
    "Saving",
    "find_media",
    "flagged_numbers",
    "refuse_flagged",
    "save_manifest",
    "save_media",
    "without_inline",
]
