"""What a task sees of Airflow 3.3: its task instance, XComs, and the task state store."""

from __future__ import annotations

import json
from typing import Any

from tests.simulation.blows import Kind
from tests.simulation.world import World


class AirflowAwayError(Exception):
    """Airflow's API server, or the backend of XComs or states, does not answer."""


class Airflow:
    """The task instance as Airflow's database has it.

    :param task_id: another task has another state.
    """

    def __init__(self, world: World, task_id: str = "draw") -> None:
        self.world = world
        self.task_id = task_id
        self.attempt = 0
        self.max_tries = 3
        self.states: dict[str, Any] = {}
        self.xcoms: dict[str, Any] = {}
        #: Whether a try's success was stored.
        self.succeeded = False
        #: A result that Airflow stored.
        self.result: Any = None

    def begin(self) -> int:
        """Begin a try, which clears the XComs, and return its number."""
        self.attempt += 1
        self.xcoms.clear()
        self.succeeded = False
        return self.attempt

    def clear(self) -> None:
        """Do what a user's clear does."""
        self.max_tries += 4
        self.succeeded = False

    def context(self, attempt: int) -> dict[str, Any]:
        """Return the context of a try."""
        return {"ti": TaskInstance(self, attempt), "task_state_store": StateStore(self, attempt)}

    def do(self, kind: Kind, name: str, attempt: int, effect: Any, *, old_is_refused: bool = True) -> Any:
        """Do an operation for a try; Airflow refuses an old one, whose id no task instance has any more."""

        def checked() -> Any:
            if attempt == self.attempt:
                return effect()
            if old_is_refused:
                raise AirflowAwayError("404 Not Found: there is no such task instance")
            return None

        return self.world.do(kind, name, checked, before=lambda: AirflowAwayError("the backend does not answer"))


class TaskInstance:
    """As much of a task instance as tasks use."""

    dag_id, run_id, map_index = "shop", "manual__1", -1

    def __init__(self, airflow: Airflow, attempt: int) -> None:
        self._airflow = airflow
        self._attempt = attempt
        self.id = f"00000000-0000-7000-8000-{attempt:012}"
        self.task_id = airflow.task_id
        self.try_number = attempt
        self.max_tries = airflow.max_tries

    def xcom_push(self, key: str, value: Any, **_: Any) -> None:
        """Push."""
        plain = json.loads(json.dumps(value))
        xcoms = self._airflow.xcoms
        self._airflow.do(Kind.XCOM, f"push {key}", self._attempt, lambda: xcoms.__setitem__(key, plain))

    def xcom_pull(self, task_ids: Any = None, key: str = "return_value", **_: Any) -> Any:
        """Pull."""
        del task_ids
        return self._airflow.do(Kind.XCOM, f"pull {key}", self._attempt, lambda: self._airflow.xcoms.get(key))


class StateStore:
    """The task state store as a try has it: an old one finds nothing in it, and cannot write."""

    def __init__(self, airflow: Airflow, attempt: int) -> None:
        self._airflow = airflow
        self._attempt = attempt

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value; every 404 means to the client that there is none."""
        states = self._airflow.states
        found = self._airflow.do(Kind.STORE, f"get {key}", self._attempt, lambda: states.get(key), old_is_refused=False)
        return default if found is None else json.loads(json.dumps(found))

    def set(self, key: str, value: Any, **_: Any) -> None:
        """Store a value."""
        if value is None:
            raise ValueError("Cannot set value as None")
        plain = json.loads(json.dumps(value))
        phase = plain.get("phase", "") if isinstance(plain, dict) else ""
        states = self._airflow.states
        self._airflow.do(Kind.STORE, f"set {key} {phase}", self._attempt, lambda: states.__setitem__(key, plain))

    def delete(self, key: str) -> None:
        """Delete a value."""
        self._airflow.do(Kind.STORE, f"delete {key}", self._attempt, lambda: self._airflow.states.pop(key, None))
