"""Runs an operator's methods without Airflow around them, for decisions that ``dag.test()`` cannot set up."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator

SLOW = "fal-ai/flux/slow"


class Context(dict[str, Any]):
    """As much of Airflow's context as a pure decision needs; it records what is pushed."""

    max_tries = 0
    try_number = 1
    map_index = -1
    dag_id, run_id, task_id = "the_dag", "the_run", "draw"

    def __init__(self) -> None:
        super().__init__(ti=self)
        self.pushed: list[tuple[str, Any]] = []

    def xcom_push(self, key: str, value: Any) -> None:
        """Record it."""
        self.pushed.append((key, value))

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int) -> Any:
        """Return what was pushed last under the key."""
        del task_ids, map_indexes
        return dict(self.pushed).get(key)


class Memory(dict[str, Any]):
    """A task state store."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        self.pop(key, None)


def operator(**changes: Any) -> FalInvokeOperator:
    """Return an operator for a slow job; ``changes`` are its parameters."""
    given = {"model_id": SLOW, "input": {"prompt": "x"}, "poll_interval": 0.05, **changes}
    return FalInvokeOperator(task_id="draw", **given)


def execute(one: FalInvokeOperator, context: Context) -> Any:
    run_it: Callable[..., Any] = FalInvokeOperator.execute
    return getattr(run_it, "__wrapped__", run_it)(one, context)
