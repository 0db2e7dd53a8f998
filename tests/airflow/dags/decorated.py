"""A decorated function that notes each of its calls, to see whether a deferral calls it again."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

with DAG("decorated", schedule=None, start_date=datetime(2026, 1, 1)):

    @task.fal_invoke(model_id="fal-ai/fast-sdxl", prices={"fal-ai/fast-sdxl": {"per_image": 0.5}})
    def draw(dag_run: Any = None) -> dict[str, Any]:
        """Note the call in a file that the run's conf names."""
        with Path(dag_run.conf["calls"]).open("a") as file:
            file.write("called\n")
        return {"prompt": "a fox", "num_images": 2}

    draw()
