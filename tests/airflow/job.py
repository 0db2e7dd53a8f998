"""One run of a chaos DAG, the jobs that it pays for, and what a user or a dying machine does to it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psutil

from airflow_provider_falinvoke.emulator import Fault, RecordedRequest
from tests.airflow.audit import Try
from tests.airflow.door import Door

if TYPE_CHECKING:
    from tests.airflow.lab import Lab


#: How many jobs the batch of a chaos DAG makes.
ITEMS = 6


def request(model: str, seconds: float) -> dict[str, Any]:
    """Return an item of a batch: a small picture that takes so many seconds."""
    fields = {"prompt": model, "image_size": {"width": 64, "height": 64}}
    return {"model_id": model, "input": fields, "tags": {"emulator-duration": str(seconds)}}


class Job:
    """One run of a chaos DAG, and the job, or the batch of jobs, that it pays for.

    :param model_id: a model of its own; the items of a batch have models below it.
    :param path: ``deferrable``, ``sync`` or ``batch``.
    :param seconds: how long the emulator takes for each.
    :param timeout: the operator's timeout in seconds.
    :param output: where the files go.
    """

    def __init__(self, lab: Lab, model_id: str, path: str, *, seconds: float, timeout: float, output: str) -> None:
        self.lab = lab
        self.model_id = model_id
        self.path = path
        self.dag_id = f"chaos_{path}"
        self.output = output
        self.models = [f"{model_id}/{number}" for number in range(ITEMS)] if path == "batch" else [model_id]
        self.conf = {
            "conn_id": "falinvoke_default",
            "model_id": model_id,
            "requests": [request(model, seconds) for model in self.models],
            "seconds": seconds,
            "timeout": timeout,
            "output": output,
        }
        self.run_id = ""

    def fault(self, kind: str, *, on: Any, **options: Any) -> None:
        """Ask the emulator for a fault on this job alone; for a batch on each of its items."""
        for model in self.models:
            self.lab.emulator.add_fault(Fault(kind, on=on, model_id=model, **options))

    def behind_a_door(self) -> Door:
        """Let the job reach the API through a door of its own, and return that."""
        door = self.lab.door(int(self.lab.emulator.connection["port"]))
        self.conf["conn_id"] = self.lab.connect({**self.lab.emulator.connection, "port": door.port})
        return door

    def on_s3(self) -> Door:
        """Let the job save its files, and a batch its journal, on S3 behind a door of its own, and return that."""
        door = self.lab.door(self.lab.s3_port)
        self.output = self.conf["output"] = self.lab.bucket_behind(door)
        return door

    def start(self) -> Job:
        """Start the run."""
        self.run_id = self.lab.airflow.trigger(self.dag_id, **self.conf)
        return self

    @property
    def posts(self) -> list[RecordedRequest]:
        """The POSTs that the emulator saw, refused ones included."""
        return [post for post in self.lab.emulator.posts() if post.model_id in self.models]

    @property
    def paid(self) -> list[str]:
        """The request_ids of the jobs that the emulator made, each of them a bill."""
        return [job.request_id for model in self.models for job in self.lab.bills(model)]

    def tries(self) -> list[Try]:
        """Return the tries of the task so far."""
        return self.lab.airflow.tries(self.dag_id, self.run_id, "job")

    def task_instance(self) -> dict[str, Any]:
        """Return the task instance as Airflow's REST API shows it."""
        found = self.lab.airflow.task_instances(self.dag_id, self.run_id)
        return found[0] if found else {"state": None}

    def state(self) -> str | None:
        """Return the task instance's state."""
        state = self.task_instance()["state"]
        return None if state is None else str(state)

    def until_state(self, *states: str, seconds: float = 120.0) -> str:
        """Wait until the task instance is in one of these states."""

        def reached() -> str | None:
            state = self.state()
            return state if state in states else None

        return str(self.lab.until(f"{self.model_id} ({self.path}) is {' or '.join(states)}", reached, seconds))

    def until_failed(self) -> None:
        """Wait until the task failed and Airflow has heard so from everybody.

        A supervisor that lingers for some seconds reports the end once more, and a task that was cleared meanwhile
        takes that for its own (apache/airflow #71580 in another guise).
        """
        self.until_state("failed", seconds=180)
        time.sleep(8)

    def until_run_failed(self) -> None:
        """Wait until the run failed: a task that is cleared while Airflow ends its run is never begun again."""
        run = f"/dags/{self.dag_id}/dagRuns/{self.run_id}"
        self.lab.until(
            f"the run of {self.model_id} failed", lambda: self.lab.airflow.api("GET", run)["state"] == "failed"
        )

    def until_stopped(self) -> None:
        """Wait until the task failed because a submit may be paid, and said so."""
        state = self.until_ended()
        assert state == "failed", f"the task did not stop: it is {state}, and {len(self.paid)} jobs are paid"
        assert self.tries()[-1].reported, "the task did not say that a submit may be paid"
        time.sleep(8)

    def until_posted(self) -> None:
        """Wait until the emulator has accepted the job, or the first one of the batch."""
        self.lab.airflow.until(f"{self.model_id} ({self.path}) is submitted", lambda: self.paid, seconds=90)

    def until_waiting(self) -> None:
        """Wait until the job is submitted and stored, and the task awaits it: on the worker, or in a triggerer."""
        self.until_posted()
        if self.path == "deferrable":
            self.until_state("deferred")
        else:
            self.lab.airflow.until(f"{self.model_id} is asked for", self._gets, seconds=30)

    def until_looked_at(self) -> None:
        """Wait until the worker has looked at the submitted job once: its request_id is stored by then."""
        self.until_posted()
        self.lab.airflow.until(f"{self.model_id} is asked for", self._gets, seconds=30)

    def _gets(self) -> list[RecordedRequest]:
        return [get for request_id in self.paid for get in self.lab.emulator.gets(request_id)]

    def until_saving(self) -> None:
        """Wait until a file is being fetched."""
        self.lab.airflow.until(
            f"{self.model_id} ({self.path}) is saved",
            lambda: [r for r in self.lab.emulator.requests if r.route == "media" and r.request_id in self.paid],
            seconds=90,
        )

    def until_pausing(self, log_of: int = 1) -> None:
        """Wait until a submit was not taken and the task pauses before the next."""
        pausing = "The submit was not taken"
        self.lab.until(f"{self.model_id} ({self.path}) pauses", lambda: pausing in self.log(attempt=log_of), 90)

    def until_try(self, number: int, seconds: float = 150.0) -> None:
        """Wait until Airflow has begun a further try."""

        def begun() -> bool:
            ti = self.task_instance()
            return int(ti["try_number"]) >= number and ti["state"] == "running"

        self.lab.until(f"try {number} of {self.model_id} ({self.path}) runs", begun, seconds)

    def processes(self) -> tuple[psutil.Process, list[psutil.Process]]:
        """Return the process that supervises the task now, and those that run it."""
        return self.lab.processes_of(str(self.task_instance()["id"]))

    def kill_task(self) -> None:
        """kill -9 the process that runs the task now."""
        for task in self.processes()[1]:
            os.kill(task.pid, signal.SIGKILL)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the worker that runs the task now, supervisor and all; it goes on after the ``with`` statement."""
        worker, tasks = self.processes()
        freeze(worker, *tasks)
        try:
            yield
        finally:
            # The task first: nobody has told it yet that it was given up.
            thaw(*tasks, worker)

    def mark(self, state: str) -> None:
        """Mark the task as a user does."""
        self.lab.airflow.mark(self.dag_id, self.run_id, "job", state=state)

    def clear(self) -> None:
        """Clear the task as a user does."""
        self.lab.airflow.clear(self.dag_id, self.run_id, "job")

    def until_ended(self, seconds: float = 240.0) -> str:
        """Wait until the task ended for good, and return its state."""
        return self.until_state("success", "failed", seconds=seconds)

    def result(self) -> Any:
        """Return the task's XCom."""
        return self.lab.airflow.xcom(self.dag_id, self.run_id, "job")

    def files(self) -> Iterator[tuple[str, str, int]]:
        """Yield of each file of the result the request_id, the path, and the size that lies there."""
        result = self.result()
        rows = [result]
        if self.path == "batch":
            rows = [json.loads(line) for line in self.lab.read(result["manifest"]).splitlines()]
        for row in rows:
            for file in row["files"]:
                yield row["request_id"], file["path"], len(self.lab.read(file["path"]))

    def log(self, attempt: int | None = None) -> str:
        """Return all that the task and its triggers logged.

        :param attempt: in one try alone.
        """
        return self.lab.airflow.log(self.dag_id, self.run_id, "job", attempt=attempt)


def freeze(*processes: psutil.Process) -> None:
    """Stop processes, as a machine does that is out of memory or time."""
    for process in processes:
        with suppress(psutil.Error):
            process.suspend()


def thaw(*processes: psutil.Process) -> None:
    """Let processes go on, one after the other."""
    for process in processes:
        with suppress(psutil.Error):
            process.resume()
        time.sleep(0.5)
