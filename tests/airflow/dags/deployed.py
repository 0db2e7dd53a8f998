"""Jobs side by side whose lengths, modes and place are the run's to say; for the deployment on Celery."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import DAG, get_current_context, task

from airflow_provider_falinvoke.operators.batch import FalInvokeBatchOperator
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator


@task(retries=3, retry_delay=timedelta(seconds=1))
def jobs() -> list[dict[str, object]]:
    """Return the arguments of each job of the run's conf."""
    conf = get_current_context()["dag_run"].conf or {}
    return [
        {
            "input": {"prompt": f"job {number}", "image_size": {"width": 64, "height": 64}},
            "tags": {"emulator-duration": str(job["seconds"])},
            "deferrable": job["deferrable"],
            "output_path": conf["output"],
        }
        for number, job in enumerate(conf["jobs"])
    ]


with DAG("deployed_jobs", schedule=None, start_date=datetime(2026, 1, 1), max_active_tasks=64):
    FalInvokeOperator.partial(
        task_id="job", model_id="fal-ai/flux/schnell", retries=5, retry_delay=timedelta(seconds=1)
    ).expand_kwargs(jobs())

with DAG("deployed_batch", schedule=None, start_date=datetime(2026, 1, 1), render_template_as_native_obj=True):
    FalInvokeBatchOperator(
        task_id="batch",
        model_id="fal-ai/flux/schnell",
        inputs="{{ dag_run.conf['inputs'] }}",
        input={"image_size": {"width": 64, "height": 64}},
        output_path="{{ dag_run.conf['output'] }}",
        max_in_flight=250,
        retries=5,
        retry_delay=timedelta(seconds=1),
    )
