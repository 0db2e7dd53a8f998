"""The same request with the same seed again: the files that it made before, in place of a new job.

What a request made is kept as ``_reuse/{fingerprint}.json`` below ``output_path``, and believed only as far as the
files that it names still are what it says.
"""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any

from airflow_provider_falinvoke.api.models import InvokeRequest
from airflow_provider_falinvoke.api.portable import for_airflow
from airflow_provider_falinvoke.durable import fingerprint
from airflow_provider_falinvoke.exceptions import FalInvokeInputError

log = logging.getLogger(__name__)

#: Bytes of a file that are read at a time.
_BLOCK = 1 << 20


class Kept:
    """What one request made, as an earlier task left it in storage.

    :param request: the request; its tags make no difference.
    :param conn_id: the connection; another one's files are another account's.
    :param output_path: the folder of the files.
    :raises FalInvokeInputError: without a folder nothing can be found; without a seed each job makes something else.
    """

    def __init__(self, request: InvokeRequest, conn_id: str, output_path: str | None) -> None:
        seed = request.input.get("seed")
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise FalInvokeInputError(
                "reuse=True needs a seed in the request, an integer: without one each job makes something else. "
                "Nothing was sent."
            )
        if not output_path:
            raise FalInvokeInputError(
                "reuse=True needs output_path, where the files of earlier jobs lie. Nothing was sent."
            )
        from airflow_provider_falinvoke.media.store import Folder

        self._folder = Folder(output_path)
        self._name = f"_reuse/{fingerprint(request.model_copy(update={'tags': None}), conn_id)}.json"

    def find(self) -> dict[str, Any] | None:
        """Return the result of the earlier job, marked as reused; None where there is none, or its files changed."""
        try:
            data = self._folder.read(self._name)
            if data is None:
                return None
            result = for_airflow(json.loads(data))
            problem = self._problem_of(result)
        except Exception as error:  # each storage has errors of its own; a new job is what was asked for at the least
            problem = f"what is kept of it cannot be read ({type(error).__name__}: {error})"
        if problem:
            log.warning("The files of the same request are not reused, and a new job is paid for: %s", problem)
            return None
        log.info("Reusing the files of the job %s: the same request, nothing is paid", result["request_id"])
        return {**result, "reused": True, "estimated_cost": 0.0}

    def keep(self, result: dict[str, Any]) -> None:
        """Keep a result for the next task with this request. A storage that fails now does not fail the paid job."""
        if not result["files"] or result["flagged"]:
            return
        try:
            self._folder.write(self._name, json.dumps(result).encode(), "application/json")
        except Exception:
            log.exception("The result of the job %s cannot be kept for reuse", result["request_id"])

    def _problem_of(self, result: dict[str, Any]) -> str | None:
        """Return why a result is not to be trusted, if so."""
        for file in result["files"]:
            path = str(file["path"])
            name = self._folder.name_of(path)
            if name is None:
                return f"{path} does not lie under output_path"
            digest, size = hashlib.sha256(), 0
            for block in self._folder.blocks(name, _BLOCK):
                digest.update(block)
                size += len(block)
            if (size, digest.hexdigest()) != (file["size"], file["sha256"]):
                return f"{path} is not the file that was saved"
        return None if result["files"] else "it has no files"
