"""How a command ends: with a sentence on stderr and an exit code, and never with a traceback."""

from __future__ import annotations

import functools
import logging
import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import NoReturn

from airflow.utils.cli import suppress_logs_and_warning

from airflow_provider_falinvoke._compat import AirflowException
from airflow_provider_falinvoke.api.models import Invocation
from airflow_provider_falinvoke.cli.streams import say
from airflow_provider_falinvoke.exceptions import (
    FalInvokeError,
    FalInvokeInputError,
    FalInvokeJobFailedError,
    FalInvokeNotFoundError,
    FalInvokeTimeoutError,
)
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.media import Saving, contents_of

FAILED = 1
USAGE = 2
JOB_FAILED = 3
TIMEOUT = 4
INTERRUPTED = 130


class EndError(Exception):
    """Ends the command.

    :param code: the exit code.
    :param message: what to say; nothing where it was said before.
    """

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message)
        self.code = code


def code_of(error: Exception) -> int:
    """Return the exit code for ``error``."""
    if isinstance(error, FalInvokeInputError):
        return USAGE
    if isinstance(error, FalInvokeJobFailedError):
        return JOB_FAILED
    return TIMEOUT if isinstance(error, FalInvokeTimeoutError) else FAILED


def how_to_collect(conn_id: str, request_ids: list[str], folder: str | None = None) -> str:
    """Return the command that brings jobs home later."""
    words = ["airflow", "falinvoke", "collect", *request_ids, "--to", folder or "FOLDER"]
    if conn_id != "falinvoke_default":
        words += ["--conn-id", conn_id]
    return shlex.join(words)


def advice_of(error: Exception, conn_id: str, folder: str | None = None) -> str:
    """Return the command that helps after ``error``, or nothing where there is no job left to collect."""
    request_id = getattr(error, "request_id", None)
    if not request_id or isinstance(error, (FalInvokeJobFailedError, FalInvokeNotFoundError, FalInvokeInputError)):
        return ""
    return f"To collect it: {how_to_collect(conn_id, [request_id], folder)}"


def save_files(hook: FalInvokeHook, invocation: Invocation, folder: str) -> list[str]:
    """Save a job's files, and return their paths; say what of its output is left out."""
    paths = [saved.path for saved in hook.save_media(invocation, folder)]
    for one in Saving(folder).choose(contents_of(invocation.output)).left_out:
        say(f"{invocation.request_id}: not saved: {one}")
    return paths


def command(function: Callable[[Namespace], None]) -> Callable[[Namespace], None]:
    """Make a function a command: it looks up connections as Airflow's own commands do, and ends as they should."""

    @functools.wraps(function)
    def run(args: Namespace) -> None:
        # Without it Airflow does not look into its database for connections (its own commands set it too).
        os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
        _log_to_stderr()
        try:
            quietly(args)
        except EndError as end:
            _end(end.code, str(end))
        except KeyboardInterrupt:
            _end(INTERRUPTED, "Interrupted.")
        except FalInvokeError as error:
            folder = getattr(args, "save_to", None) or getattr(args, "to", None)
            _end(code_of(error), f"{error}\n{advice_of(error, args.conn_id, folder)}".rstrip())
        except AirflowException as error:  # the connection is not defined
            _end(FAILED, f"{error} Or name another one with --conn-id.")

    quietly = suppress_logs_and_warning(function)
    return run


def _log_to_stderr() -> None:
    # Older versions than Airflow 3.3 mix --verbose into the result.
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.setStream(sys.stderr)


def _end(code: int, message: str) -> NoReturn:
    if message:
        say(message)
    raise SystemExit(code) from None
