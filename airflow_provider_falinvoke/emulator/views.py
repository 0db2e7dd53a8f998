"""A job as a test sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_falinvoke.emulator.state import State


@dataclass(frozen=True)
class JobView:
    """A job at the moment it was looked at.

    :param status: the status in the API's own words, whatever spelling is configured.
    :param created_at: when the POST was accepted, in epoch seconds of the emulator.
    :param ends_at: when it ends or ended, in epoch seconds of the emulator.
    :param duration: seconds from the one to the other.
    :param error: what a failed job says; None before its end.
    """

    request_id: str
    model_id: str
    input: Mapping[str, Any]
    tags: list[dict[str, str]] | None
    status: str
    created_at: float
    ends_at: float
    duration: float
    error: Any


def job_views(state: State) -> dict[str, JobView]:
    """Return all jobs by their request_id, in the order of their POSTs."""
    with state.lock:
        now = state.now()
        return {
            job.request_id: JobView(
                job.request_id,
                job.model_id,
                job.input,
                job.tags,
                job.status(now),
                job.created_at,
                job.ends_at,
                job.duration,
                job.failure.error if job.failure and now >= job.ends_at else None,
            )
            for job in state.jobs.values()
        }
