"""Mapped jobs of given durations: without retries for the scheduler's race, with many for the storm of kills."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import DAG, get_current_context, task

from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator


@task
def jobs() -> list[dict[str, object]]:
    """Return the arguments of a job for each duration of the run's conf; in the storm, each other one waits inside."""
    run = get_current_context()["dag_run"]
    conf = run.conf or {}
    return [
        {
            "input": {"prompt": f"job {number}"},
            "tags": {"emulator-duration": str(seconds)},
            "deferrable": run.dag_id == "short_jobs" or number % 2 == 0,
        }
        for number, seconds in enumerate(conf["durations"])
    ]


for dag_id, retries in (("short_jobs", 0), ("storm_jobs", 20)):
    with DAG(dag_id, schedule=None, start_date=datetime(2026, 1, 1)):
        FalInvokeOperator.partial(
            task_id="job", model_id="fal-ai/flux/schnell", retries=retries, retry_delay=timedelta(seconds=1)
        ).expand_kwargs(jobs())
