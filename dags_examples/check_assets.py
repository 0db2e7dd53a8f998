"""Scheduled on assets: reads the manifest from the events that started the run, and checks each file by it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from airflow.sdk import DAG, Asset, ObjectStoragePath, task

# An asset is known by its name; make_assets.py says where these come from.
ASSETS = [Asset("falinvoke_picture"), Asset("falinvoke_sound"), Asset("falinvoke_speech")]

# Airflow drops events for a DAG that is paused, and this one costs nothing.
with DAG(
    "falinvoke_check_assets", schedule=ASSETS, start_date=datetime(2026, 1, 1), is_paused_upon_creation=False
) as dag:

    @task
    def check(triggering_asset_events: Any = None) -> int:
        """Return how many files are what was announced; fail at one that is not."""
        checked = 0
        for asset in ASSETS:
            for event in triggering_asset_events[asset]:
                for file in event.extra["files"]:
                    data = ObjectStoragePath(file["path"]).read_bytes()
                    if hashlib.sha256(data).hexdigest() != file["sha256"]:
                        raise ValueError(f"{file['path']} is not what the job {event.extra['request_id']} made")
                    print(f"{asset.name}: {len(data)} bytes, SHA-256 as announced, {file['path']}")
                    checked += 1
        return checked

    check()
