"""A picture, a sound and a speech, each announced as an asset once its file is in storage."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG, Asset

from airflow_provider_falinvoke.operators.audio import FalAudioOperator
from airflow_provider_falinvoke.operators.image import FalImageOperator
from airflow_provider_falinvoke.operators.speech import FalSpeechOperator

OUTPUT = "{{ var.value.get('falinvoke_output', 'file:///tmp/falinvoke') }}/assets"

with DAG("falinvoke_make_assets", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    FalImageOperator(
        task_id="draw",
        prompt="A weather map of the sea, watercolour",
        image_size="landscape_4_3",
        seed=7,
        output_path=OUTPUT,
        outlets=[Asset("falinvoke_picture")],
    )
    FalAudioOperator(
        task_id="play",
        prompt="Waves on a pebble beach, a gull far away",
        seconds_total=5,
        output_path=OUTPUT,
        outlets=[Asset("falinvoke_sound")],
    )
    FalSpeechOperator(
        task_id="say",
        text="Here is the shipping forecast. Wind south-west, five to seven.",
        voice="George",
        output_path=OUTPUT,
        outlets=[Asset("falinvoke_speech")],
    )
