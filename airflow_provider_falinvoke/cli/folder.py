"""Where a user wants the files."""

from __future__ import annotations

from pathlib import Path

from airflow_provider_falinvoke.cli.ending import FAILED, EndError


def folder_of(typed: str) -> str:
    """Return the folder as the hook takes it, and make it, so that a wrong one is found before anything is paid.

    :param typed: a path, relative to where the command runs, or a URL.
    :raises EndError: it cannot be made.
    """
    from airflow.sdk import ObjectStoragePath

    url = typed if "://" in typed else f"file://{Path(typed).expanduser().absolute()}"
    try:
        folder = ObjectStoragePath(url)
        folder.fs.makedirs(folder.path, exist_ok=True)
    except Exception as error:  # each storage has errors of its own
        raise EndError(FAILED, f"{typed} cannot be written to: {error}") from None
    return url
