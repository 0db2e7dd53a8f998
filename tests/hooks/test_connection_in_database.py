"""The connection in Airflow's database, where users have it: each way to have a job made and awaited finds it there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke.decorators.falinvoke import fal_invoke_task
from airflow_provider_falinvoke.emulator import Emulator
from airflow_provider_falinvoke.operators.batch import FalInvokeBatchOperator
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator
from airflow_provider_falinvoke.operators.speech import FalSpeechOperator
from airflow_provider_falinvoke.sensors.falinvoke import FalInvokeSensor
from tests.support import connections
from tests.support.dags import run_tasks

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_deferral")
CONN_ID = "fal_stored"
MODEL = "fal-ai/fast-sdxl"
SPEECH = "fal-ai/elevenlabs/tts/multilingual-v2"


@pytest.fixture
def stored() -> Iterator[Emulator]:
    """Yield an emulator to which a connection leads that is in Airflow's database, and nowhere else."""
    with (
        Emulator(durations={MODEL: 0.5, SPEECH: 0.5}, quota_per_minute=None, quota_per_hour=None) as emulator,
        connections.stored(emulator.connection, CONN_ID),
    ):
        yield emulator


def arguments(folder: Path, **more: Any) -> dict[str, Any]:
    given = {"fal_conn_id": CONN_ID, "output_path": folder.as_uri(), "poll_interval": 0.2, **more}
    return {"task_id": "make", **given}


def single(folder: Path) -> None:
    FalInvokeOperator(model_id=MODEL, input={"prompt": "one"}, defer_after=0, **arguments(folder))


def mapped(folder: Path) -> None:
    each = FalInvokeOperator.partial(model_id=MODEL, defer_after=0, **arguments(folder))
    each.expand(input=[{"prompt": "one"}, {"prompt": "two"}])


def batch(folder: Path) -> None:
    FalInvokeBatchOperator(model_id=MODEL, inputs=["one", "two", "three"], max_in_flight=2, **arguments(folder))


def batch_on_the_worker(folder: Path) -> None:
    FalInvokeBatchOperator(model_id=MODEL, inputs=["one", "two"], deferrable=False, **arguments(folder))


def sensor(folder: Path) -> None:
    submit = FalInvokeOperator(
        task_id="submit", model_id=MODEL, input={"prompt": "one"}, fal_conn_id=CONN_ID, wait_for_completion=False
    )
    FalInvokeSensor(request_id=submit.output, **arguments(folder))


def decorated(folder: Path) -> None:
    given = arguments(folder, model_id=MODEL, defer_after=0)

    @fal_invoke_task(**given)
    def make() -> str:
        return "one"

    make()


def long_speech(folder: Path) -> None:
    FalSpeechOperator(text="One sentence is here. " * 8, max_characters=100, **arguments(folder))


WAYS: dict[Callable[[Path], None], int] = {
    single: 1,
    mapped: 2,
    batch: 3,
    batch_on_the_worker: 2,
    sensor: 1,
    decorated: 1,
    long_speech: 2,
}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_task_that_waits_finds_the_connection_that_is_in_the_database(
    way: Callable[[Path], None], stored: Emulator, tmp_path: Path
) -> None:
    ran = run_tasks(lambda: way(tmp_path))
    assert ran.state == "success", ran.errors
    assert len(stored.posts()) == WAYS[way]
    assert [path for path in tmp_path.rglob("*") if path.suffix in (".png", ".wav")]
