"""A job of 60 s waited for in three ways, and a task that defers for as long and does nothing else; a DAG for each."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
from airflow.sdk import DAG, BaseHook, task

from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator

MODEL = "fal-ai/stable-audio-25/text-to-audio"
FAST_MODEL = "fal-ai/flux/schnell"
PROMPT: dict[str, Any] = {"prompt": "a red fox"}
TAGS = {"emulator-duration": "60"}

with DAG("ours", schedule=None, max_active_runs=32):
    FalInvokeOperator(task_id="ours", model_id=MODEL, input=PROMPT, tags=TAGS)

with DAG("ours_fast_model", schedule=None, max_active_runs=32):
    FalInvokeOperator(task_id="ours_fast_model", model_id=FAST_MODEL, input=PROMPT, tags=TAGS)

with DAG("nothing", schedule=None, max_active_runs=32):
    TimeDeltaSensor(task_id="nothing", delta=timedelta(seconds=60), deferrable=True)

with DAG("fal_client", schedule=None, max_active_runs=32):

    @task
    def fal_client() -> dict[str, Any]:
        """Submit and wait in this slot, as code written around fal's client does."""
        from benchmarks.support import fal_wait

        request_id = FalInvokeHook().submit(MODEL, PROMPT, TAGS).request_id
        connection = BaseHook.get_connection("falinvoke_default")
        url = f"{connection.schema}://{connection.host}:{connection.port}"
        invocation: dict[str, Any] = fal_wait.wait(str(request_id), url, str(connection.password))
        return invocation

    fal_client()
