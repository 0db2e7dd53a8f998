"""2,000 tasks that wait in the triggerer: two DAGs of mapped tasks for each design, because mapping ends at 1,024.

What is waited for ends by a plan that lies in a file, so that all of them are waiting when the first one ends.
"""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import DAG, BaseOperator

from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator
from benchmarks.support.probe import LagProbe

PLAN: dict[str, Any] = json.loads(Path(os.environ["FALINVOKE_BENCH_PLAN"]).read_text())
MODEL = "fal-ai/flux/schnell"
PROMPT = {"prompt": "a red fox"}


def ends_at(number: int) -> float:
    """Return when the job of a number ends, in epoch seconds."""
    return float(PLAN["ends_at"] + PLAN["spread"] * number / PLAN["count"])


def left(number: int) -> float:
    """Return the seconds that a job which is submitted now must take to end by the plan."""
    return round(max(1.0, ends_at(number) - time.time()), 3)


class Peer(BaseOperator):
    """Submits as we do, and waits by another trigger.

    :param design: ``http_sensor``, or ``nothing`` for a trigger that asks nobody.
    """

    template_fields = ("number",)

    def __init__(self, *, design: str, number: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.design = design
        self.number = number

    def execute(self, context: Any) -> None:
        """Submit and defer."""
        if self.design == "nothing":
            moment = datetime.fromtimestamp(ends_at(self.number), timezone.utc)
            self.defer(trigger=DateTimeTrigger(moment=moment), method_name="resumed")
        from benchmarks.support.peers import StatusSensorTrigger, path_of

        tags = {"emulator-duration": str(left(self.number))}
        request_id = FalInvokeHook().submit(MODEL, PROMPT, tags).request_id
        trigger = StatusSensorTrigger(endpoint=path_of(str(request_id)), poke_interval=PLAN["interval"])
        self.defer(trigger=trigger, method_name="resumed")

    def resumed(self, context: Any, event: Any = None) -> None:
        """Do nothing: it is not run."""


class Probe(BaseOperator):
    """Defers to a trigger that watches the triggerer's event loop."""

    def execute(self, context: Any) -> None:
        """Defer at once."""
        self.defer(trigger=LagProbe(folder=PLAN["probes"]), method_name="resumed")

    def resumed(self, context: Any, event: Any = None) -> None:
        """Do nothing: it is not run."""


for half in (0, 1):
    numbers = range(half, PLAN["count"], 2)
    with DAG(f"waiting_ours_{half}", schedule=None, user_defined_macros={"left": left}, max_active_tasks=2000):
        FalInvokeOperator.partial(
            task_id="job", model_id=MODEL, input=PROMPT, defer_after=0, poll_interval=PLAN["poll_interval"]
        ).expand(tags=[{"emulator-duration": f"{{{{ left({number}) }}}}"} for number in numbers])
    for design in ("http_sensor", "nothing"):
        with DAG(f"waiting_{design}_{half}", schedule=None, max_active_tasks=2000):
            Peer.partial(task_id="job", design=design).expand(number=list(numbers))

with DAG("probe", schedule=None):
    # Some, so that each of two triggerers gets one.
    Probe.partial(task_id="probe").expand(doc=[str(number) for number in range(PLAN["probe_count"])])
