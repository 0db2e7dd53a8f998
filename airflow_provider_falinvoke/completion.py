"""How a job's end becomes a task's result or failure; what operators and sensors share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_falinvoke import metrics
from airflow_provider_falinvoke._compat import AirflowFailException
from airflow_provider_falinvoke.api.models import Invocation
from airflow_provider_falinvoke.api.outcomes import by_hand
from airflow_provider_falinvoke.api.protocol import completed
from airflow_provider_falinvoke.exceptions import FalInvokeError, FalInvokeInputError, FalInvokeTimeoutError
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.media import find_media, without_inline

#: Airflow's own limit on a deferral lies so many seconds beyond our deadline, so that ours, which names the job and
#: looks at it once more, comes first.
BACKSTOP = 300.0
#: Ten years: what is longer is a slip, and beyond what Airflow's database can store.
LONGEST = 315_360_000.0
#: A shorter pause between two looks would use up the token's quota alone.
SHORTEST_POLL = 0.05


def bring_home(hook: FalInvokeHook, invocation: Invocation, output_path: str | None) -> dict[str, Any]:
    """Save a completed job's files, if they are wanted, and return the task's result.

    :param output_path: the folder for the files, or None to leave them where they are.
    :return: a plain, small, JSON-able dict: ``request_id``, ``model_id``, ``status``, ``created_at``, ``started_at``,
        ``completed_at`` (ISO 8601), ``seconds``, ``output`` without inline files, and ``files``, each with ``path``,
        ``size`` in bytes and ``content_type``.
    :raises FalInvokeMediaError: the files could not be saved.
    """
    files = hook.save_media(invocation, output_path) if output_path else []
    if not output_path and any(media.inline for media in find_media(invocation.output)):
        hook.log.warning(
            "The output holds a file itself (sync_mode), which does not go into XCom; set output_path to keep it. %s",
            by_hand(invocation.request_id) if invocation.request_id else "",
        )
    hook.log.info(
        "The job %s%s is home: %s s by the API's times, %d files saved",
        invocation.request_id,
        f" of {invocation.model_id}" if invocation.model_id else "",
        "unknown" if invocation.seconds is None else invocation.seconds,
        len(files),
    )
    metrics.completed(invocation)
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
    except Exception as error:
        # A sensor turns some of them into Airflow's own.
        ours = error if isinstance(error, FalInvokeError) else error.__cause__
        if isinstance(ours, FalInvokeError):
            metrics.failed(ours)
        if isinstance(error, FalInvokeError) and not error.may_pass:
            raise AirflowFailException(str(error)) from error
        raise


def seconds_of(name: str, value: Any, *, least: float = 0.0) -> float:
    """Return a duration parameter in seconds.

    :param name: the parameter's name, for the error.
    :param value: a number, its text (a rendered template), or a timedelta.
    :param least: the smallest that makes sense.
    :raises FalInvokeInputError: if it is none of these, less than ``least``, or more than ten years.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    return amount_of(name, value, least=least, most=LONGEST, kind="a number of seconds, or a timedelta,")


def poll_interval_of(value: Any) -> float | None:
    """Return the parameter ``poll_interval`` in seconds, None for the growing one."""
    return None if value is None else seconds_of("poll_interval", value, least=SHORTEST_POLL)


def amount_of(
    name: str, value: Any, *, least: float = 0.0, most: float = float("inf"), kind: str = "a number"
) -> float:
    """Return a number parameter that was a template, or a number.

    :param name: the parameter's name, for the error.
    :param least: the smallest that makes sense.
    :param most: the largest that makes sense.
    :param kind: what it has to be, for the error.
    :raises FalInvokeInputError: if it is no number, or out of these bounds.
    """
    try:
        amount = float(value)
    except (TypeError, ValueError):
        amount = math.nan
    if not least <= amount <= most or math.isinf(amount):
        bounds = f"at least {least:g}" + ("" if math.isinf(most) else f" and at most {most:g}")
        raise FalInvokeInputError(f"{name} must be {kind} {bounds}, not {value!r}.")
    return amount


def last_look(hook: FalInvokeHook, request_id: str | None, error: Exception) -> Invocation:
    """Ask once more for a job whose wait was ended by Airflow and not by us: no triggerer ran, or the trigger failed.

    :param error: what Airflow raised.
    :return: the completed invocation.
    :raises FalInvokeTimeoutError: it is still pending.
    """
    if request_id is None:
        raise error
    invocation = completed(hook.get(request_id))
    if invocation.status.ended:
        return invocation
    raise FalInvokeTimeoutError(
        f"Airflow ended the wait for the job {request_id} ({error or type(error).__name__}), which is still "
        f"{invocation.raw_status or 'pending'}. It goes on, and it is paid. {by_hand(request_id)}",
        request_id=request_id,
    )


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
