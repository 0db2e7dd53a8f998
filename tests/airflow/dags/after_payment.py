"""Tasks each of which meets something after its payment that SQLite and ``dag.test()`` let pass."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

from airflow.sdk import DAG, Asset, AssetAlias

from airflow_provider_falinvoke.operators.batch import FalInvokeBatchOperator
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator
from airflow_provider_falinvoke.sensors.falinvoke import FalInvokeSensor

OUT = os.environ.get("AFTER_PAYMENT_OUT", "/tmp")
ALIAS, PICTURE = AssetAlias("after_payment"), Asset("after_payment_picture")


def draw(task_id: str, folder: str = "käfer 100% #1?", **changes: Any) -> FalInvokeOperator:
    """Draw a picture on the worker, unless ``changes`` say otherwise."""
    given = {"model_id": "fal-ai/flux/schnell", "input": {"prompt": task_id}, "deferrable": False, **changes}
    return FalInvokeOperator(task_id=task_id, output_path=f"{OUT}/{folder}", outlets=[ALIAS, PICTURE], **given)


with DAG("nach_der_zahlung_é", schedule=None, start_date=datetime(2026, 1, 1), default_args={"retries": 0}):
    draw("zeichne_ü")
    draw("deferred_ü", deferrable=True, defer_after=0)
    # Within Airflow's own bound, and beyond what PostgreSQL can index.
    draw("long", "/".join(["0123456789abcdefghijklmnopqrstuvwxyz" * 6] * 6))
    draw("too_long", "/".join(["é" * 100] * 4))
    FalInvokeSensor(
        task_id="hole_ß",
        request_id=draw("submit", wait_for_completion=False).output,
        output_path=f"{OUT}/geholt ß",
        outlets=[ALIAS],
    )
    FalInvokeBatchOperator(
        task_id="stapel_ö",
        model_id="fal-ai/flux/schnell",
        inputs=["a fox", "an owl"],
        output_path=f"{OUT}/stapel ö",
        outlets=[ALIAS],
    )
    FalInvokeOperator.partial(
        task_id="labelled",
        model_id="fal-ai/flux/schnell",
        deferrable=False,
        map_index_template="{{ task.input['prompt'] }}",
    ).expand(input=[{"prompt": "é" * 300}, {"prompt": "1984"}])
