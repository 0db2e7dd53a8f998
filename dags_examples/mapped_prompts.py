"""One mapped task for each prompt of a list that is known at run time only."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG, task

from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator

with DAG("falinvoke_mapped_prompts", schedule=None, start_date=datetime(2026, 1, 1)) as dag:

    @task
    def prompts() -> list[dict[str, str]]:
        """Return the inputs; in a real pipeline, rows of a table."""
        return [{"prompt": f"A lighthouse in {season}, oil on canvas"} for season in ("spring", "summer", "winter")]

    FalInvokeOperator.partial(
        task_id="draw",
        model_id="fal-ai/fast-sdxl",
        output_path="{{ var.value.get('falinvoke_output', 'file:///tmp/falinvoke') }}",
        # Airflow keeps 250 characters of it; on PostgreSQL a longer one fails the task, after it is paid.
        map_index_template="{{ task.input['prompt'] | truncate(100) }}",
    ).expand(input=prompts())
