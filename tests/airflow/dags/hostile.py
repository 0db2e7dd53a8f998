"""Each way to await a job, of models whose replies and requests hold what Airflow cannot carry, and a plain job."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import DAG, Asset, task

from airflow_provider_falinvoke.operators.batch import FalInvokeBatchOperator
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator
from airflow_provider_falinvoke.operators.speech import FalSpeechOperator
from airflow_provider_falinvoke.sensors.falinvoke import FalInvokeSensor

HOSTILE = "fal-ai/flux/hostile"
COMMON: dict[str, Any] = {
    "output_path": "{{ dag_run.conf['output'] }}",
    "tags": {"emulator-duration": "8"},
}
ODD = "a\0 fo\ud800x"

with DAG("hostile", schedule=None, start_date=datetime(2026, 1, 1), max_active_tasks=16):
    FalInvokeOperator(
        task_id="bystander",
        model_id="fal-ai/flux/bystander",
        input={"prompt": "a fox"},
        output_path=COMMON["output_path"],
        tags={"emulator-duration": "30"},
    )
    single = FalInvokeOperator(
        task_id="single",
        model_id=HOSTILE,
        input={"prompt": "a fox"},
        outlets=[Asset(uri="file:///hostile", name="hostile")],
        **COMMON,
    )
    FalInvokeOperator(task_id="failing", model_id="fal-ai/flux/failing", input={"prompt": "a fox"}, **COMMON)
    FalInvokeBatchOperator(task_id="batch", model_id=HOSTILE, inputs=["a fox", "an owl"], **COMMON)
    FalSpeechOperator(
        task_id="speech",
        model_id="fal-ai/elevenlabs/tts/hostile",
        text="The quick brown fox jumps over the lazy dog. " * 4,
        max_characters=100,
        **COMMON,
    )
    submitted = FalInvokeOperator(
        task_id="submitted", model_id=HOSTILE, input={"prompt": "a fox"}, wait_for_completion=False, tags=COMMON["tags"]
    )
    FalInvokeSensor(task_id="sensor", request_id=submitted.output, output_path=COMMON["output_path"])

    @task.fal_invoke(model_id=HOSTILE, **COMMON)
    def decorated() -> dict[str, Any]:
        """Return what XCom, and a deferral's arguments, would refuse or take for something else."""
        return {"prompt": ODD, "__classname__": "x", "loras": [{"__type": "dict", "__var": {"a": 1}}]}

    decorated()

    @task
    def pulled(result: dict[str, Any]) -> str:
        """Say what a task gets that pulls such a result."""
        return f"{type(result['output']['___type']).__name__} {result['output']['seed']}"

    pulled(single.output)  # type: ignore[arg-type]  # once the task runs it is the result
