"""What the Media tab is looked at with: a picture, a sound, mapped tasks, a batch, and a task that is not ours."""

from __future__ import annotations

from datetime import datetime

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_provider_falinvoke.operators.batch import FalInvokeBatchOperator
from airflow_provider_falinvoke.operators.image import FalImageOperator
from airflow_provider_falinvoke.operators.speech import FalSpeechOperator

OUTPUT = "{{ var.value.falinvoke_output }}"
HOSTILE = "</title><img src=x onerror=\"parent.document.title='hacked'\"><script>document.title='hacked'</script>"
PLACES = ("a harbour", "a lighthouse", "a railway station", "an orchard", "a market")

with DAG("gallery", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    FalImageOperator(
        task_id="draw",
        prompt="A lighthouse in a storm, oil on canvas",
        image_size="landscape_4_3",
        num_images=2,
        seed=7,
        output_path=OUTPUT,
    )
    FalSpeechOperator(task_id="say", text="Good morning. The lighthouse is lit.", output_path=OUTPUT)
    FalImageOperator(task_id="hostile", prompt=HOSTILE, image_size="square", output_path=OUTPUT)
    FalImageOperator.partial(task_id="mapped", image_size="square", output_path=OUTPUT).expand(
        prompt=["a red fox", "a grey heron"]
    )
    FalInvokeBatchOperator(
        task_id="batch",
        model_id="fal-ai/fast-sdxl",
        inputs=[f"{place} in {season}" for place in PLACES for season in ("spring", "summer", "autumn", "winter")] * 2,
        input={"image_size": "square"},
        output_path=OUTPUT,
    )
    EmptyOperator(task_id="other")
