"""Waiting as a PythonOperator with fal's own client does: its request handle, every 0.1 s, in a worker slot."""

from __future__ import annotations

from typing import Any

import httpx
from fal_client.client import Completed, InProgress, SyncRequestHandle


class _Handle(SyncRequestHandle):  # type: ignore[misc]  # unseen by mypy
    def _parse_status(self, data: Any) -> Any:
        # fal's own queue says logs and positions besides, which this API does not have.
        return Completed(logs=None, metrics={}) if data["status"] in ("COMPLETED", "FAILED") else InProgress(logs=None)


def wait(request_id: str, url: str, key: str) -> Any:
    """Wait for a job and return its invocation.

    :param url: the API's origin.
    """
    at = f"{url}/v1/async-invoke/{request_id}"
    with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=120) as client:
        return _Handle(request_id, at, f"{at}/status", f"{at}/cancel", client).get()
