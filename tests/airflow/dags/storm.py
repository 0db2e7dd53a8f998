"""Jobs of every kind in one run, whose models and lengths are the run's to say; for the storm of faults."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, get_current_context, task

from airflow_provider_falinvoke.operators.batch import FalInvokeBatchOperator
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator
from airflow_provider_falinvoke.sensors.falinvoke import FalInvokeSensor

with DAG(
    "storm",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    max_active_tasks=24,
    render_template_as_native_obj=True,
    default_args={"retries": 4, "retry_delay": timedelta(seconds=1)},
):
    common: dict[str, Any] = {"fal_conn_id": "{{ dag_run.conf['conn_id'] }}"}

    def single(task_id: str, **arguments: Any) -> FalInvokeOperator:
        """Return the task of one job."""
        asked = f"dag_run.conf['requests']['{task_id}'][0]"
        return FalInvokeOperator(
            task_id=task_id,
            model_id=f"{{{{ {asked}['model_id'] }}}}",
            input=f"{{{{ {asked}['input'] }}}}",
            tags=f"{{{{ {asked}['tags'] }}}}",  # type: ignore[arg-type]  # a dict when it is rendered
            **common,
            **arguments,
        )

    @task(retries=20)
    def jobs() -> list[dict[str, Any]]:
        """Return the arguments of each mapped job; each other one waits on its worker."""
        requests = (get_current_context()["dag_run"].conf or {})["requests"]["job"]
        return [{**request, "deferrable": number % 2 == 0} for number, request in enumerate(requests)]

    FalInvokeOperator.partial(task_id="job", output_path="{{ dag_run.conf['local'] }}", **common).expand_kwargs(jobs())

    for kind in ("deferrable", "sync"):
        deferrable = kind == "deferrable"
        single(f"single_{kind}", deferrable=deferrable, output_path="{{ dag_run.conf['storage'] }}")
        FalInvokeBatchOperator(
            task_id=f"batch_{kind}",
            model_id="fal-ai/flux/storm",
            inputs=f"{{{{ dag_run.conf['requests']['batch_{kind}'] }}}}",
            output_path="{{ dag_run.conf['storage'] }}",
            max_in_flight=6,
            deferrable=deferrable,
            **common,
        )

    for kind in ("deferrable", "poke"):
        submitted = single(f"submit_{kind}", wait_for_completion=False)
        FalInvokeSensor(
            task_id=f"collect_{kind}",
            request_id=submitted.output,
            output_path="{{ dag_run.conf['local'] }}",
            poke_interval=3,
            deferrable=kind == "deferrable",
            **common,
        )
