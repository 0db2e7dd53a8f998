"""One image a day: the smallest pipeline there is."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG

from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator

with DAG("falinvoke_daily_image", schedule="@daily", start_date=datetime(2026, 1, 1), catchup=False) as dag:
    FalInvokeOperator(
        task_id="draw",
        model_id="fal-ai/flux/schnell",
        input={"prompt": "A futuristic city at sunset on {{ dag_run.run_after | ds }}", "num_images": 1},
        tags={"dag": "{{ dag.dag_id }}"},
        output_path="{{ var.value.get('falinvoke_output', 'file:///tmp/falinvoke') }}",
    )
