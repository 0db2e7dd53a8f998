"""What the commands of ``airflow falinvoke`` do that spend nothing."""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from importlib.util import find_spec
from typing import Any

from airflow_provider_falinvoke.api.inputs import DOCUMENTED_MODELS
from airflow_provider_falinvoke.api.models import InvocationStatus
from airflow_provider_falinvoke.api.protocol import completed
from airflow_provider_falinvoke.cli.definition import EMULATOR_OPTIONS
from airflow_provider_falinvoke.cli.ending import (
    FAILED,
    INTERRUPTED,
    EndError,
    advice_of,
    code_of,
    command,
    how_to_collect,
    save_files,
)
from airflow_provider_falinvoke.cli.folder import folder_of
from airflow_provider_falinvoke.cli.printing import print_document, print_rows
from airflow_provider_falinvoke.cli.streams import say
from airflow_provider_falinvoke.cli.watch import Watch, WatchedHook
from airflow_provider_falinvoke.exceptions import FalInvokeError
from airflow_provider_falinvoke.hooks.falinvoke import DEFAULT_TIMEOUT, FalInvokeHook

#: What became of a job that ``collect`` was asked for, by the exit code that it stands for.
OUTCOMES = {1: "failed", 2: "failed", 3: "job failed", 4: "still running"}


@command
def models(args: Namespace) -> None:
    """Print the ids of the host's models."""
    print_rows([{"model_id": model_id} for model_id in FalInvokeHook(args.conn_id).list_models()], args.output)
    say(f"The host does not list fal's models. Documented are: {', '.join(DOCUMENTED_MODELS)}.")


@command
def get(args: Namespace) -> None:
    """Print an invocation as the API tells it."""
    watch = Watch(quiet=True)
    WatchedHook(args.conn_id, watch).get(args.request_id)
    print_document(watch.document, args.output)


@command
def collect(args: Namespace) -> None:
    """Wait for each job, save its files, and print what became of it."""
    folder = folder_of(args.to)
    deadline = time.time() + (args.timeout or DEFAULT_TIMEOUT)
    waiting = list(dict.fromkeys(args.request_id))
    rows: list[dict[str, Any]] = []
    codes: list[int] = []
    try:
        while waiting:
            code, row = _bring_home(waiting[0], folder, deadline, args)
            codes.append(code)
            rows.append(row)
            waiting.pop(0)
    except KeyboardInterrupt:
        later = how_to_collect(args.conn_id, waiting, args.to)
        raise EndError(INTERRUPTED, f"Interrupted; the jobs go on, and they are paid. To go on: {later}") from None
    finally:
        print_rows(rows, args.output)
    raise EndError(next((code for code in codes if code), 0))


def _bring_home(request_id: str, folder: str, deadline: float, args: Namespace) -> tuple[int, dict[str, Any]]:
    row: dict[str, Any] = {"request_id": request_id, "outcome": "saved", "files": [], "error": None}
    hook = WatchedHook(args.conn_id, watch := Watch(request_id))
    try:
        with watch:
            invocation = completed(hook.get(request_id))
            if invocation.status is not InvocationStatus.COMPLETED:
                created_at = invocation.created_at.timestamp() if invocation.created_at else None
                invocation = hook.wait(
                    request_id, submitted_at=created_at, deadline=deadline, first_look_at=time.time() + 1
                )
        return 0, {**row, "files": save_files(hook, invocation, folder)}
    except FalInvokeError as error:
        say(f"{error}\n{advice_of(error, args.conn_id, args.to)}".rstrip())
        return code_of(error), {**row, "outcome": OUTCOMES[code_of(error)], "error": str(error)}


def emulator(args: Namespace) -> None:
    """Become the emulator, with the options that were given."""
    if find_spec("PIL") is None:
        say("The emulator needs Pillow: install airflow-provider-falinvoke[emulator], with your Airflow's constraints")
        raise SystemExit(FAILED)
    given: list[str] = []
    for flag, metavar, repeated, _ in EMULATOR_OPTIONS:
        value = getattr(args, flag.removeprefix("--").replace("-", "_"))
        if metavar is None:
            given += [flag] if value else []
        elif value is not None:
            given += [f"{flag}={item}" for item in (value if repeated else [value])]
    # In place of this process, so that signals reach it; and it shares no code with the rest, not even an import.
    os.execv(sys.executable, [sys.executable, "-m", "airflow_provider_falinvoke.emulator", *given])  # noqa: S606 - no shell is wanted
