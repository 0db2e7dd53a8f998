"""One job whose model, length and place are the run's to say; for the fault tests, once deferrable and once not."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import DAG

from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator

for path in ("deferrable", "sync"):
    with DAG(f"chaos_{path}", schedule=None, start_date=datetime(2026, 1, 1), max_active_runs=64):
        FalInvokeOperator(
            task_id="job",
            model_id="{{ dag_run.conf['model_id'] }}",
            input={"prompt": "{{ dag_run.conf['model_id'] }}", "image_size": {"width": 64, "height": 64}},
            tags={"emulator-duration": "{{ dag_run.conf['seconds'] }}"},
            output_path="{{ dag_run.conf['output'] }}",
            timeout="{{ dag_run.conf['timeout'] }}",
            deferrable=path == "deferrable",
            retries=3,
            retry_delay=timedelta(seconds=1),
        )
