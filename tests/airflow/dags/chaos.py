"""One job, or a batch, whose model, length and place are the run's to say; for the fault tests, one DAG a path."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_falinvoke.operators.batch import FalInvokeBatchOperator
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator


def common() -> dict[str, Any]:
    """Return the arguments that each task has."""
    return {
        "task_id": "job",
        "model_id": "{{ dag_run.conf['model_id'] }}",
        "fal_conn_id": "{{ dag_run.conf['conn_id'] }}",
        "output_path": "{{ dag_run.conf['output'] }}",
        "timeout": "{{ dag_run.conf['timeout'] }}",
        "retries": 3,
        "retry_delay": timedelta(seconds=1),
    }


for path in ("deferrable", "sync"):
    with DAG(f"chaos_{path}", schedule=None, start_date=datetime(2026, 1, 1), max_active_runs=64):
        FalInvokeOperator(
            input={"prompt": "{{ dag_run.conf['model_id'] }}", "image_size": {"width": 64, "height": 64}},
            tags={"emulator-duration": "{{ dag_run.conf['seconds'] }}"},
            deferrable=path == "deferrable",
            **common(),
        )

with DAG(
    "chaos_batch",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    max_active_runs=64,
    render_template_as_native_obj=True,
):
    FalInvokeBatchOperator(inputs="{{ dag_run.conf['requests'] }}", **common())
