"""Runs a batch as Airflow does, without Airflow around it: execute, the trigger, the resume, and so on to the end."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator

from airflow_provider_falinvoke._compat import TaskDeferred
from airflow_provider_falinvoke.emulator import Emulator
from airflow_provider_falinvoke.operators.batch import FalInvokeBatchOperator
from airflow_provider_falinvoke.operators.waves import RunsBatch

IMAGE, SLOW, INSTANT = "fal-ai/fast-sdxl", "fal-ai/flux/slow", "fal-ai/flux/schnell"
SMALL = {"image_size": {"width": 32, "height": 32}}


class TaskInstance:
    """As much of a task instance as a batch needs; it records what is pushed.

    :param max_tries: constant over retries, raised by a user's clear.
    :param try_number: raised by each try.
    """

    def __init__(
        self, *, max_tries: int = 0, map_index: int = -1, run_id: str = "manual__1", try_number: int = 1
    ) -> None:
        self.dag_id, self.run_id, self.task_id = "shop", run_id, "pictures"
        self.max_tries, self.map_index, self.try_number = max_tries, map_index, try_number
        self.region_id: str | None = None
        self.region_index: int | None = None
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        """Record it."""
        self.pushed[key] = json.loads(json.dumps(value))


class Runner:
    """Runs tries of one batch.

    :param folder: for all that it writes.
    :param changes: the operator's parameters, beside what all need.
    """

    def __init__(self, folder: Path | str, **changes: Any) -> None:
        self.output = folder if isinstance(folder, str) else folder.as_uri()
        self.ti = TaskInstance()
        self.deferrals: list[dict[str, Any]] = []
        self._changes = changes

    def operator(self, **changes: Any) -> RunsBatch:
        """Return the operator as a new process would make it."""
        given = {"model_id": IMAGE, "input": SMALL, "output_path": self.output, "poll_interval": 0.05}
        return FalInvokeBatchOperator(task_id="pictures", **{**given, **self._changes, **changes})

    def try_(self, **changes: Any) -> dict[str, Any]:
        """Run one try to its end, and return what the task does."""
        try:
            result: dict[str, Any] = call(self.operator(**changes), "execute", self.ti)
        except TaskDeferred as deferred:
            return self.resume(deferred, **changes)
        return result

    def resume(self, deferred: TaskDeferred, **changes: Any) -> dict[str, Any]:
        """Go on from a deferral to the end of the try."""
        while True:
            event = fire(deferred)
            self.deferrals.append(deferred.trigger.serialize()[1])
            try:
                result: dict[str, Any] = call(self.operator(**changes), deferred.method_name, self.ti, event=event)
            except TaskDeferred as again:
                deferred = again
            else:
                return result

    def retry(self, **changes: Any) -> dict[str, Any]:
        """Run the next try."""
        self.ti.try_number += 1
        return self.try_(**changes)

    def clear(self) -> None:
        """Do what a user's clear does."""
        self.ti.max_tries += 1
        self.ti.try_number += 1

    @property
    def home(self) -> Path:
        """The folder of the batch, where it is a local one."""
        return Path(self.output.removeprefix("file://")) / self.ti.dag_id / self.ti.run_id / self.ti.task_id

    def manifest(self) -> list[dict[str, Any]]:
        """Return the lines of the manifest."""
        return [json.loads(line) for line in (self.home / "manifest.jsonl").read_text().splitlines()]

    def phases(self) -> list[str]:
        """Return the state of each item by the journal."""
        return [item["phase"] for item in items_of(self.home / "_batch")]


def items_of(journal: Path) -> list[dict[str, Any]]:
    """Return what the latest of a journal's files say of each item."""
    latest = {path.name.partition(".")[0]: path for path in sorted(journal.glob("items-*.json"))}
    return [item for path in latest.values() for item in json.loads(path.read_text())]


def call(operator: BaseOperator, method: str, ti: TaskInstance, **arguments: Any) -> Any:
    """Call a method of the operator; Airflow wraps execute so that only Airflow may call it."""
    of_class = getattr(type(operator), method)
    return getattr(of_class, "__wrapped__", of_class)(operator, {"ti": ti}, **arguments)


def fire(deferred: TaskDeferred) -> Any:
    """Run the trigger to its event, each made again from plain data, as on their way through Airflow's database."""
    _, arguments = deferred.trigger.serialize()
    trigger = type(deferred.trigger)(**json.loads(json.dumps(arguments)))

    async def event() -> Any:
        return [event.payload async for event in trigger.run()]

    (payload,) = asyncio.run(event())
    return json.loads(json.dumps(payload))


def posts_by_prompt(emulator: Emulator) -> Counter[str]:
    """Return how many jobs were made of each prompt."""
    return Counter(job.input["prompt"] for job in emulator.jobs.values())
