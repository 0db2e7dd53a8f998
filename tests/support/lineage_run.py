"""Runs tasks with the OpenLineage provider's listener; what it was told is for test_lineage.py.

Usage: python -m tests.support.lineage_run FOLDER. It uses a process of its own, because Airflow loads listeners once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

SHORT = "fal-ai/fast-sdxl"


def main(folder: Path) -> None:
    """Leave ``events.jsonl`` from OpenLineage, and ``left.json`` with each task's state and result, in ``folder``."""
    (folder / "dags").mkdir()
    transport = {"type": "file", "log_file_path": str(folder / "events.jsonl"), "append": True}
    os.environ.update(
        AIRFLOW_HOME=str(folder),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__CORE__DAGS_FOLDER=str(folder / "dags"),
        AIRFLOW__OPENLINEAGE__TRANSPORT=json.dumps(transport),
        AIRFLOW__OPENLINEAGE__NAMESPACE="test",
        AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL="0",
        AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME="0",
    )
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.utils.db import initdb

    from airflow_provider_falinvoke.emulator import Emulator, Fault
    from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator
    from airflow_provider_falinvoke.sensors.falinvoke import FalInvokeSensor
    from airflow_provider_falinvoke.triggers import falinvoke as triggers
    from tests.support.dags import run_tasks

    initdb()
    DagBundlesManager().sync_bundles_to_db()
    triggers.RESUME_MARGIN = 0.05

    def draw(task_id: str, **changes: Any) -> FalInvokeOperator:
        given = {"input": {"prompt": "a fox", "num_images": 2}, "output_path": (folder / "out").as_uri(), **changes}
        return FalInvokeOperator(task_id=task_id, model_id=SHORT, poll_interval=0.1, **given)

    def build() -> None:
        draw("on_the_worker", deferrable=False)
        draw("deferred", defer_after=0)
        draw("left_there", output_path=None)
        submitted = draw("submitted", wait_for_completion=False).output
        FalInvokeSensor(task_id="fetched", request_id=submitted, output_path=(folder / "out").as_uri())
        draw("failed", input={"prompt": "an owl"})

    with Emulator(durations={SHORT: 0.35}) as emulator:
        emulator.add_fault(Fault("fail", match_prompt="an owl"))
        os.environ["AIRFLOW_CONN_FALINVOKE_DEFAULT"] = emulator.connection_json
        ran = run_tasks(build)
        posts = len(emulator.posts())
    left = {"states": ran.states, "results": ran.results, "deferred": len(ran.deferred), "posts": posts}
    (folder / "left.json").write_text(json.dumps(left))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
