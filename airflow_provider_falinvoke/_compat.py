"""Names that moved between the Airflow versions this package supports."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        TaskDeferralError,
        TaskDeferralTimeout,
        TaskDeferred,
    )
else:
    try:
        from airflow.sdk.exceptions import (
            AirflowException,
            AirflowFailException,
            AirflowNotFoundException,
            AirflowSensorTimeout,
            AirflowSkipException,
            TaskDeferralError,
            TaskDeferralTimeout,
            TaskDeferred,
        )
    except ImportError:  # Airflow 3.1 has them in the core alone
        from airflow.exceptions import (
            AirflowException,
            AirflowFailException,
            AirflowNotFoundException,
            AirflowSensorTimeout,
            AirflowSkipException,
            TaskDeferralError,
            TaskDeferralTimeout,
            TaskDeferred,
        )

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "TaskDeferralError",
    "TaskDeferralTimeout",
    "TaskDeferred",
    "a_clear_drops_the_store",
    "find_stats",
    "hears_of_success",
    "looks_up_awaiting",
]

#: The name under which Airflow registers our listener: its module's.
_LISTENER = "airflow_provider_falinvoke.plugins.success"


def find_stats() -> Any:
    """Return Airflow's ``Stats`` for this process.

    From 3.2 on there are two copies: tasks set up the SDK's, triggerers the core's, and the other one drops what it is
    given. Both are set up where a worker is forked from the scheduler; then the task's own is right.
    """
    copies = _copies_of_stats()
    return next((stats for stats in copies if _is_set_up(stats)), copies[0])


@functools.cache
def _copies_of_stats() -> list[Any]:
    try:
        from airflow.sdk.observability.stats import Stats as TaskStats
    except ImportError:  # Airflow 3.1 has one copy, which sets itself up
        from airflow.stats import Stats

        return [Stats]
    from airflow.observability.stats import Stats as TriggererStats

    return [TaskStats, TriggererStats]


def _is_set_up(stats: Any) -> bool:
    factory = getattr(stats, "factory", None)  # Airflow 3.1 and 3.2
    if factory is None:
        factory = stats.incr.__globals__.get("_factory")
    return factory is not None and getattr(factory, "__name__", "") != "NoStatsLogger"


def hears_of_success() -> bool:
    """Return whether Airflow will tell our listener, in this process, that it stored a task's success."""
    try:
        from airflow.sdk.listener import get_listener_manager
    except ImportError:  # until Airflow 3.1, which has no task state store either
        return False
    return bool(get_listener_manager().pm.has_plugin(_LISTENER))


def a_clear_drops_the_store() -> bool:
    """Return whether a user's clear drops a task's state store, unless it is told to keep it: from Airflow 3.4 on."""
    from airflow import __version__

    major, minor = (int(part) for part in __version__.split(".")[:2])
    return (major, minor) >= (3, 4)


def looks_up_awaiting() -> bool:
    """Return whether Airflow finds connections in this process while it awaits.

    The supervisor of ``dag.test()`` and ``airflow dags test`` takes blocking requests alone: asked awaiting, Airflow
    (3.1 to 3.4) passes over the failure and says that a connection in its database is not defined.
    """
    from airflow.sdk.execution_time import task_runner

    supervisor = getattr(task_runner, "SUPERVISOR_COMMS", None)
    return supervisor is None or hasattr(supervisor, "asend")
