"""The same request with the same seed again: the files that it made before, in place of a new job.

What a request made is kept as ``_reuse/{fingerprint}.json`` below ``output_path``, and believed only as far as the
files that it names still are what it says.
"""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any

from pydantic import BaseModel, ConfigDict

from airflow_provider_falinvoke.api.models import InvokeRequest
from airflow_provider_falinvoke.api.portable import for_airflow
from airflow_provider_falinvoke.api.printable import printable
from airflow_provider_falinvoke.durable import fingerprint
from airflow_provider_falinvoke.exceptions import FalInvokeInputError, FalInvokeMediaError
from airflow_provider_falinvoke.media.manifest import MediaFile
from airflow_provider_falinvoke.side_effects import not_stopping_the_task

log = logging.getLogger(__name__)

#: Bytes of a file that are read at a time.
_BLOCK = 1 << 20


class KeptResult(BaseModel):
    """A task's result as it is kept; what else somebody wrote into the record is left out."""

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True, protected_namespaces=())

    request_id: str | None
    model_id: str | None
    status: str
    created_at: str | None
    started_at: str | None
    completed_at: str | None
    seconds: float | None
    output: Any
    flagged: list[int]
    files: list[MediaFile]
    left_out: list[str] = []
    manifest: str | None
    prompt: str | None
    estimated_cost: float | None
    reused: bool


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
        """Return the result of the earlier job, marked as reused; None where there is none, or its files changed.

        :raises FalInvokeMediaError: the storage cannot be read, which is not the same as that nothing is there.
        """
        try:
            data = self._folder.read(self._name)
            if data is None:
                return None
            result = KeptResult.model_validate_json(data)
            problem = self._problem_of(result.files)
        except ValueError as error:
            problem = f"what is kept of it is damaged ({printable(error)})"
        except FileNotFoundError as error:
            problem = f"a file of it is gone ({printable(error)})"
        except Exception as error:  # each storage has errors of its own
            raise FalInvokeMediaError(
                f"The files of an earlier job with this request cannot be read ({type(error).__name__}: "
                f"{printable(error)}). Nothing was submitted; a retry looks again, reuse=False pays for a new job."
            ) from error
        if problem:
            log.warning("The files of the same request are not reused, and a new job is paid for: %s", problem)
            return None
        log.info("Reusing the files of the job %s: the same request, nothing is paid", printable(result.request_id))
        return for_airflow({**result.model_dump(mode="json"), "reused": True, "estimated_cost": 0.0})

    def keep(self, result: dict[str, Any]) -> None:
        """Keep a result for the next task with this request. A storage that fails now does not fail the paid job."""
        if not result["files"] or result["flagged"]:
            return
        with not_stopping_the_task(f"The result of the job {printable(result['request_id'])} cannot be kept for reuse"):
            self._folder.write(self._name, json.dumps(result).encode(), "application/json")

    def _problem_of(self, files: list[MediaFile]) -> str | None:
        """Return why a result is not to be trusted, if so."""
        for file in files:
            name = self._folder.name_of(file.path)
            if name is None:
                return f"{file.path} does not lie under output_path"
            digest, size = hashlib.sha256(), 0
            for block in self._folder.blocks(name, _BLOCK):
                digest.update(block)
                size += len(block)
            if (size, digest.hexdigest()) != (file.size, file.sha256):
                return f"{file.path} is not the file that was saved"
        return None if files else "it has no files"
