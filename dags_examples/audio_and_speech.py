"""Audio and speech: submitted without waiting, awaited by sensors, so that both are made at the same time."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG

from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator
from airflow_provider_falinvoke.sensors.falinvoke import FalInvokeSensor

OUTPUT = "{{ var.value.get('falinvoke_output', 'file:///tmp/falinvoke') }}"

with DAG("falinvoke_audio_and_speech", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    play = FalInvokeOperator(
        task_id="submit_audio",
        model_id="fal-ai/stable-audio-25/text-to-audio",
        input={"prompt": "Rain on a tin roof, a distant piano", "seconds_total": 10},
        wait_for_completion=False,
    )
    say = FalInvokeOperator(
        task_id="submit_speech",
        model_id="fal-ai/elevenlabs/tts/multilingual-v2",
        input={"text": "Good morning. Here is the weather of today."},
        wait_for_completion=False,
    )
    FalInvokeSensor(task_id="audio", request_id=play.output, output_path=OUTPUT)
    FalInvokeSensor(task_id="speech", request_id=say.output, output_path=OUTPUT)
