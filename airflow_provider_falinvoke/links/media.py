"""The link *Media* on a task's page, which leads to the tab with its pictures and sounds."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow.configuration import conf
from airflow.sdk import BaseOperatorLink

from airflow_provider_falinvoke.media_tab import URL_ROUTE

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class MediaLink(BaseOperatorLink):
    """Leads to the Media tab of the task instance; Airflow keeps it when the task ends, whatever its state."""

    @property
    def name(self) -> str:
        """What the button says."""
        return "Media"

    @property
    def xcom_key(self) -> str:
        """Where Airflow keeps the address."""
        return "falinvoke_media"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the tab's address, below ``[api] base_url`` as the worker knows it."""
        del operator
        base = conf.get("api", "base_url", fallback="").rstrip("/")
        mapped = f"/mapped/{ti_key.map_index}" if ti_key.map_index >= 0 else ""
        parts = "/dags/{}/runs/{}/tasks/{}".format(*map(_segment, (ti_key.dag_id, ti_key.run_id, ti_key.task_id)))
        return f"{base}{parts}{mapped}/plugin/{URL_ROUTE}"


def _segment(text: str) -> str:
    return quote(text, safe="")
