"""An Airflow as a cluster has it: CeleryExecutor over Redis and PostgreSQL, two workers, two triggerers.

All on this machine, each component a process group of its own, in a database and under keys of their own.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

import dags_examples
from airflow_provider_falinvoke.emulator import Emulator
from tests.airflow.deployment import Deployment
from tests.airflow.lab import DAGS, SETTINGS, Lab, own_database, url_of

REDIS_HOST, REDIS_DATABASE = "127.0.0.1", 13
WORKERS = ("worker-1", "worker-2")
#: Tasks that a worker runs at a time.
SLOTS = 4
DURATIONS = {
    "fal-ai/flux/schnell": 2.0,
    "fal-ai/fast-sdxl": 3.0,
    "fal-ai/stable-audio-25/text-to-audio": 12.0,
    "fal-ai/elevenlabs/tts/multilingual-v2": 6.0,
}


@contextmanager
def opened(home: Path) -> Iterator[Lab]:
    """Give a lab on Celery; a test is skipped where Redis or PostgreSQL do not answer.

    With FALINVOKE_REQUIRE_REDIS and FALINVOKE_REQUIRE_POSTGRES set it fails instead.
    """
    examples = Path(dags_examples.__file__).parent
    dags = home / "dags"
    dags.mkdir()
    for path in (*examples.glob("*.py"), DAGS / "deployed.py"):
        if path.stem not in ("__init__", "demo"):
            shutil.copy(path, dags)
    with (
        _own_keys() as prefix,
        own_database() as database,
        Emulator(durations=DURATIONS, quota_per_minute=None, quota_per_hour=None) as emulator,
        Deployment(
            home / "airflow",
            dags,
            {"falinvoke_default": {**emulator.connection, "extra": {"requests_per_minute": 3000}}},
            database=url_of(database),
            components=("scheduler", "dag-processor", *WORKERS),
            triggerers=2,
            settings={
                **SETTINGS,
                "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
                "AIRFLOW__CELERY__BROKER_URL": f"redis://{REDIS_HOST}:6379/{REDIS_DATABASE}",
                "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__GLOBAL_KEYPREFIX": prefix,
                "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "3600",
                "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(SLOTS),
                # A machine that runs all of a cluster answers late; a task whose worker waits in vain fails (5 s by
                # default), before it began.
                "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
                # A message that a dying worker had taken, but not begun, is sent again after this (600 s by default).
                "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "90",
                "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
                "AIRFLOW_VAR_FALINVOKE_OUTPUT": (home / "out").as_uri(),
            },
        ) as airflow,
    ):
        yield Lab(home, emulator, airflow, database)


@contextmanager
def _own_keys() -> Iterator[str]:
    """Give a prefix for keys in Redis, and delete what lies under it afterwards."""
    redis = pytest.importorskip("redis", reason="the extra e2e is not installed: make test-celery does that")
    pytest.importorskip("airflow.providers.celery", reason="the extra e2e is not installed: make test-celery does that")
    client: Any = redis.Redis(host=REDIS_HOST, db=REDIS_DATABASE, socket_connect_timeout=5)
    prefix = f"falinvoke_{os.getpid()}_"
    try:
        client.ping()
    except redis.RedisError as error:
        reason = f"no Redis on {REDIS_HOST}:6379: {error}"
        if os.environ.get("FALINVOKE_REQUIRE_REDIS"):
            pytest.fail(reason)
        pytest.skip(reason)
    try:
        yield prefix
    finally:
        for key in client.scan_iter(f"{prefix}*"):
            client.delete(key)
        client.close()


def running(lab: Lab, worker: str) -> int:
    """Return how many tasks a worker runs now: each is a child of one of its pool's processes."""
    pool = psutil.Process(lab.airflow.processes[worker].pid).children()
    return sum(bool(process.children()) for process in pool)


def slot_seconds(lab: Lab) -> dict[str, list[float]]:
    """Return, for each worker, the seconds that each of its tasks held a slot, by Celery's own log."""
    pattern = re.compile(r"Task execute_workload\[[^]]*] succeeded in ([0-9.]+)s")
    return {
        worker: [float(seconds) for seconds in pattern.findall((lab.airflow.home / f"{worker}.log").read_text())]
        for worker in WORKERS
    }
