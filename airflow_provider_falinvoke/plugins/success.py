"""Tells a task of ours that Airflow stored its success; called in the task's process, once the api-server has it."""

from __future__ import annotations

from typing import Any

from airflow.listeners import hookimpl


@hookimpl
def on_task_instance_success(task_instance: Any) -> None:
    """Let the operator note it; tasks of other operators, and Airflow's own processes, have nothing to note."""
    acknowledge = getattr(getattr(task_instance, "task", None), "acknowledge_success", None)
    if acknowledge is not None:
        acknowledge()
