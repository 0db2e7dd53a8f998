"""Mapped jobs of given durations, without retries, for the scheduler's race."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG, get_current_context, task

from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator


@task
def jobs() -> list[dict[str, object]]:
    """Return the arguments of a job for each duration of the run's conf."""
    conf = get_current_context()["dag_run"].conf or {}
    return [
        {"input": {"prompt": f"job {number}"}, "tags": {"emulator-duration": str(seconds)}}
        for number, seconds in enumerate(conf["durations"])
    ]


with DAG("short_jobs", schedule=None, start_date=datetime(2026, 1, 1)):
    FalInvokeOperator.partial(task_id="job", model_id="fal-ai/flux/schnell", retries=0).expand_kwargs(jobs())
