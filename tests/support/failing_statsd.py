"""A StatsD client that fails for this package's metrics alone; Airflow's own would end each task before it began."""

from __future__ import annotations

from typing import Any

from statsd import StatsClient  # type: ignore[import-untyped]  # no stubs


class FailingClient(StatsClient):  # type: ignore[misc]  # no stubs
    """See ``[metrics] statsd_custom_client_path``."""

    def incr(self, stat: str, *arguments: Any, **named: Any) -> None:
        """Count, but not for this package."""
        _refuse_ours(stat)
        super().incr(stat, *arguments, **named)

    def timing(self, stat: str, *arguments: Any, **named: Any) -> None:
        """Time, but not for this package."""
        _refuse_ours(stat)
        super().timing(stat, *arguments, **named)


def ascii_name(stat: str) -> str:
    """See ``[metrics] stat_name_handler``: without it Airflow's scheduler stops at a dag_id that is not ASCII."""
    return stat.encode("ascii", "replace").decode().replace("?", "_")


def _refuse_ours(stat: str) -> None:
    if "falinvoke" in stat:
        raise ConnectionError("the backend of the metrics is away")
