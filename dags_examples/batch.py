"""Many prompts in one task: submitted in waves, awaited without a worker slot, described line by line in a manifest."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG, task

from airflow_provider_falinvoke.operators.batch import FalInvokeBatchOperator

with DAG("falinvoke_batch", schedule=None, start_date=datetime(2026, 1, 1)) as dag:

    @task
    def prompts() -> list[str]:
        """Return the prompts; thousands of them are better kept in a JSONL file, whose path is passed on."""
        return [f"A {animal} in the snow, {style}" for animal in ("fox", "hare") for style in ("oil", "ink", "pastel")]

    FalInvokeBatchOperator(
        task_id="draw",
        model_id="fal-ai/fast-sdxl",
        inputs=prompts(),
        input={"image_size": "square"},
        output_path="{{ var.value.get('falinvoke_output', 'file:///tmp/falinvoke') }}/batch",
        max_in_flight=4,
    )
