"""Which folder is a batch's, where the ids of two runs look the same in a path (``a:1``, ``a_1``)."""

from __future__ import annotations

import hashlib

from airflow_provider_falinvoke.batch.claims import run_in
from airflow_provider_falinvoke.batch.storage import Folder
from airflow_provider_falinvoke.exceptions import FalInvokeError, FalInvokeInputError
from airflow_provider_falinvoke.media import Saving
from airflow_provider_falinvoke.media.naming import Place, sanitised

#: The journal's folder in that of the batch.
JOURNAL = "_batch"


def home_of(saving: Saving) -> str:
    """Return the folder of a task instance's batch.

    It is ``{dag_id}/{run_id}/{task_id}`` (and ``/{map_index}``) with each name made safe. Where another run has that,
    it has a digest of the run's id too. A batch stays where it began, even if the other run's folder is removed.

    :raises FalInvokeInputError: no folder is named.
    :raises FalInvokeMediaError: there is no such storage.
    :raises FalInvokeError: it cannot be read, so nobody knows whether a batch began there.
    """
    if saving.output_path is None:
        raise FalInvokeInputError("output_path must name a folder, and is empty; nothing was sent.")
    output_path, place = saving.output_path, saving.place
    digest = hashlib.sha256(place.run_id.encode("utf-8", "replace")).hexdigest()[:8]
    usual, other = (_path(output_path, place, run) for run in ("", f"-{digest}"))
    holder = _run_in(usual)
    if holder is None:
        return usual if _run_in(other) is None else other
    return usual if holder == place.run_id else other


def _path(output_path: str, place: Place, after_the_run: str) -> str:
    run = sanitised(place.run_id) + after_the_run
    parts = [sanitised(place.dag_id), run, sanitised(place.task_id), sanitised(place.map_index)]
    return "/".join([output_path.rstrip("/"), *(part for part in parts if part)])


def _run_in(home: str) -> str | None:
    folder = Folder(f"{home}/{JOURNAL}")
    try:
        return run_in(folder)
    except Exception as error:  # each storage has errors of its own
        raise FalInvokeError(
            f"The batch's journal in {folder} cannot be read ({error}). Nothing was submitted, because jobs that are "
            "paid may be recorded there."
        ) from error
