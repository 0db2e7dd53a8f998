"""How a job's end becomes a task's result or failure; what operators and sensors share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_falinvoke._compat import AirflowFailException
from airflow_provider_falinvoke.api.models import Invocation
from airflow_provider_falinvoke.exceptions import FalInvokeError, FalInvokeInputError
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.media import without_inline

#: Airflow's own limit on a deferral lies so many seconds beyond our deadline, so that ours, which names the job and
#: looks at it once more, comes first.
BACKSTOP = 300.0


def bring_home(hook: FalInvokeHook, invocation: Invocation, output_path: str | None) -> dict[str, Any]:
    """Save a completed job's files, if they are wanted, and return the task's result.

    :param output_path: the folder for the files, or None to leave them where they are.
    :return: a plain, small, JSON-able dict: ``request_id``, ``model_id``, ``status``, ``created_at``, ``started_at``,
        ``completed_at`` (ISO 8601), ``seconds``, ``output`` without inline files, and ``files``, each with ``path``,
        ``size`` in bytes and ``content_type``.
    :raises FalInvokeMediaError: the files could not be saved.
    """
    files = hook.save_media(invocation, output_path) if output_path else []
    return {
        "request_id": invocation.request_id,
        "model_id": invocation.model_id,
        "status": invocation.status.value,
        "created_at": _iso(invocation.created_at),
        "started_at": _iso(invocation.started_at),
        "completed_at": _iso(invocation.completed_at),
        "seconds": invocation.seconds,
        "output": without_inline(invocation.output),
        "files": [file.to_dict() for file in files],
    }


@contextmanager
def failing_for_good() -> Iterator[None]:
    """Turn an error that no retry can mend into one after which Airflow does not retry.

    :raises AirflowFailException: in place of an error whose ``may_pass`` is False.
    """
    try:
        yield
    except FalInvokeError as error:
        if error.may_pass:
            raise
        raise AirflowFailException(str(error)) from error


def seconds_of(name: str, value: Any) -> float:
    """Return a duration parameter in seconds.

    :param name: the parameter's name, for the error.
    :param value: a number, its text (a rendered template), or a timedelta.
    :raises FalInvokeInputError: if it is none of these, negative, or not finite.
    """
    return amount_of(name, value.total_seconds() if isinstance(value, timedelta) else value, "a number of seconds")


def amount_of(name: str, value: Any, kind: str = "a number") -> float:
    """Return a number parameter that was a template, or a number.

    :param name: the parameter's name, for the error.
    :param kind: what it has to be, for the error.
    :raises FalInvokeInputError: if it is no number, negative, or not finite.
    """
    try:
        amount = float(value)
    except (TypeError, ValueError):
        amount = -1.0
    if not 0 <= amount < float("inf"):
        raise FalInvokeInputError(f"{name} must be {kind}, at least 0, not {value!r}.")
    return amount


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
