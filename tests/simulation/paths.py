"""The tasks that are simulated: each a way through the package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_falinvoke.operators.batch import FalInvokeBatchOperator
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator
from airflow_provider_falinvoke.operators.speech import FalSpeechOperator
from airflow_provider_falinvoke.sensors.falinvoke import FalInvokeSensor
from airflow_provider_falinvoke.speech.splitting import split
from tests.simulation.api import Weather

if TYPE_CHECKING:
    from tests.simulation.stage import Stage

MODEL = "fal-ai/fast-sdxl"
CAT = "a cat"
#: Few polls, because each is an operation like the others.
_PACE = {"poll_interval": 8}
#: Seconds that a job takes which a worker does not wait for.
_LONG = 25.0
_PROMPTS = ("a cat", "a dog", "an emu", "a fox", "a gnu")
_TEXT = " ".join(f"{word.title()} " + f"{word} " * 19 + "end." for word in ("one", "two", "six"))
_MOST = 100
_PARTS = tuple(part.text for part in split(_TEXT, _MOST))


@dataclass(frozen=True)
class Path:
    """A task, and the world that it meets.

    :param make: returns the operator, from the folder for its files.
    :param prompts: what its jobs are about, in order.
    :param duration: seconds that a job takes.
    :param before: what was before the task.
    :param or_as: another path whose result is as good.
    """

    name: str
    make: Callable[[str], BaseOperator]
    prompts: tuple[str, ...] = (CAT,)
    duration: float = 3.0
    weather: Weather = "fair"
    before: Callable[[Stage], None] | None = None
    or_as: str | None = None


def _single(**changes: Any) -> Callable[[str], BaseOperator]:
    given = {"model_id": MODEL, "input": {"prompt": CAT}, "manifest": True, "deferrable": False, **_PACE, **changes}
    return lambda folder: FalInvokeOperator(task_id="draw", output_path=folder, **given)


def _batch(**changes: Any) -> Callable[[str], BaseOperator]:
    given = {"model_id": MODEL, "inputs": list(_PROMPTS), "max_in_flight": 3, "deferrable": False, **_PACE, **changes}
    return lambda folder: FalInvokeBatchOperator(task_id="draw", output_path=folder, **given)


def _speech(**changes: Any) -> Callable[[str], BaseOperator]:
    given = {"text": _TEXT, "max_characters": _MOST, "deferrable": False, **_PACE, **changes}
    return lambda folder: FalSpeechOperator(task_id="draw", output_path=folder, **given)


def _sensor(**changes: Any) -> Callable[[str], BaseOperator]:
    given = {"request_id": "job-0001", "manifest": True, **_PACE, **changes}
    return lambda folder: FalInvokeSensor(task_id="draw", output_path=folder, **given)


def _submitted_elsewhere(stage: Stage) -> None:
    stage.api.accept(MODEL, CAT)


def _made_before(stage: Stage) -> None:
    stage.run_another_task(_REUSING)


_REUSING = _single(input={"prompt": CAT, "seed": 7}, reuse=True)

PATHS = {
    path.name: path
    for path in (
        Path("sync", _single()),
        Path("deferred", _single(deferrable=True), duration=_LONG),
        Path("nowait", _single(wait_for_completion=False)),
        Path("reuse", _REUSING),
        Path("reused", _REUSING, before=_made_before, or_as="reuse"),
        Path("busy", _single(), weather="busy"),
        Path("refusing", _single(), weather="refusing"),
        Path("slow", _single(), weather="slow"),
        Path("sensor", _sensor(), duration=_LONG, before=_submitted_elsewhere),
        Path("poking", _sensor(mode="poke", poke_interval=8), duration=_LONG, before=_submitted_elsewhere),
        Path("batch", _batch(), prompts=_PROMPTS),
        Path("batch_deferred", _batch(deferrable=True), prompts=_PROMPTS, duration=_LONG),
        Path("batch_busy", _batch(), prompts=_PROMPTS, weather="busy"),
        Path("batch_refusing", _batch(), prompts=_PROMPTS, weather="refusing"),
        Path("speech", _speech(), prompts=_PARTS),
        Path("speech_deferred", _speech(deferrable=True), prompts=_PARTS, duration=_LONG),
    )
}
STORAGES = ("objects", "disk")
