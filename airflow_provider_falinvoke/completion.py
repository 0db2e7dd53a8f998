"""How a job's end becomes a task's result or failure; what operators and sensors share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args

from airflow_provider_falinvoke import metrics
from airflow_provider_falinvoke._compat import AirflowFailException, AirflowSkipException
from airflow_provider_falinvoke.api.models import Invocation
from airflow_provider_falinvoke.api.outcomes import by_hand
from airflow_provider_falinvoke.api.portable import for_airflow, sendable
from airflow_provider_falinvoke.api.printable import printable
from airflow_provider_falinvoke.api.protocol import completed
from airflow_provider_falinvoke.exceptions import (
    FalInvokeError,
    FalInvokeInputError,
    FalInvokeMediaError,
    FalInvokeTimeoutError,
)
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.media import (
    FileName,
    FlagPolicy,
    Place,
    Saving,
    contents_of,
    flagged_numbers,
    refuse_flagged,
    without_inline,
)
from airflow_provider_falinvoke.media.settings import advice_by_hand

if TYPE_CHECKING:
    from airflow.sdk import Context

#: Airflow's own limit on a deferral lies so many seconds beyond our deadline, so that ours, which names the job and
#: looks at it once more, comes first.
BACKSTOP = 300.0
#: Ten years: what is longer is a slip, and beyond what Airflow's database can store.
LONGEST = 315_360_000.0
#: What such a name holds is rendered in its place: the literal value of a template field, or what is within one.
TEMPLATE_FILES = (".j2", ".jinja2")
#: A shorter pause between two looks would use up the token's quota alone.
SHORTEST_POLL = 0.05


class SavesFiles(Protocol):
    """The parameters of operators and sensors that :class:`~airflow_provider_falinvoke.media.settings.Saving` has."""

    output_path: str | None
    wants_files: bool
    file_name: str
    manifest: bool
    max_file_size: int | str
    download_timeout: float | timedelta | str
    on_flagged: FlagPolicy
    max_files: int | str
    max_total_size: int | str
    save_timeout: float | timedelta | str


def path_text(path: Any) -> Any:
    """Return a parameter that may be a path as its text, which Airflow renders; it leaves a ``Path`` as it is.

    :param path: of any kind: pathlib's, or an ObjectStoragePath. Anything else is returned.
    """
    return str(path) if hasattr(path, "joinpath") else path


def saving_of(task: SavesFiles, context: Context, paid: Invocation | None = None) -> Saving:
    """Return a task's saving parameters, rendered and checked.

    :param paid: the job whose files are to be saved, where it is done already. A template may render to something else
        after a deferral than before the submit, and to something right again at the next try.
    :raises FalInvokeInputError: one of them cannot be right.
    :raises FalInvokeMediaError: the same, of a job that is paid.
    """
    try:
        return _saving_of(task, context)
    except FalInvokeInputError as error:
        if paid is None:
            raise
        raise FalInvokeMediaError(
            f"The job is completed and paid, but where its files go cannot be read any more: {error} "
            f"{advice_by_hand(paid)}",
            request_id=paid.request_id,
        ) from error


def _saving_of(task: SavesFiles, context: Context) -> Saving:
    # A template of a parameter without a value renders to nothing, to None, or to the word for it.
    folder = "" if task.output_path is None else str(task.output_path)
    if task.wants_files and not folder.strip():
        raise FalInvokeInputError(
            "output_path is empty, so the files would be left where they expire. Give a folder; without output_path, "
            "no file is wanted."
        )
    if "None" in folder.split("/"):
        raise FalInvokeInputError(
            f"output_path renders to {folder!r}: something in its template has no value, such as a param that is null."
        )
    if folder and "://" not in folder and not Path(folder).is_absolute():
        raise FalInvokeInputError(
            f"output_path is {folder!r}, which lies in whatever folder a worker was started in, where a retry may not "
            "find it. Begin it with a slash, or with a scheme such as file:// or s3://."
        )
    for name in ("output_path", "file_name"):
        if sendable(str(getattr(task, name)))[1]:
            raise FalInvokeInputError(
                f"{name} has U+0000 or half a surrogate pair in it, so Airflow could not carry the paths of the files. "
                "Nothing was submitted."
            )
    saving = Saving(
        output_path=None if task.output_path is None else str(task.output_path),
        file_name=FileName(task.file_name),
        place=Place.of(context["ti"]),
        manifest=task.manifest,
        max_file_size=int(amount_of("max_file_size", task.max_file_size, least=1, kind="a number of bytes")),
        download_timeout=seconds_of("download_timeout", task.download_timeout, least=1),
        on_flagged=flag_policy_of(task.on_flagged),
        max_files=int(amount_of("max_files", task.max_files, least=1, kind="a number of files")),
        max_total_size=int(amount_of("max_total_size", task.max_total_size, least=1, kind="a number of bytes")),
        save_timeout=seconds_of("save_timeout", task.save_timeout, least=1),
    )
    saving.file_name.check(saving.place)
    return saving


def flag_policy_of(value: Any) -> FlagPolicy:
    """Return the parameter ``on_flagged``.

    :raises FalInvokeInputError: it is no policy.
    """
    if value not in get_args(FlagPolicy):
        raise FalInvokeInputError(f"on_flagged must be 'keep', 'fail' or 'skip', not {value!r}.")
    policy: FlagPolicy = value
    return policy


def bring_home(hook: FalInvokeHook, invocation: Invocation, saving: Saving, **more: Any) -> dict[str, Any]:
    """Save a completed job's files, if they are wanted, and return the task's result.

    :param saving: where and how to keep the files.
    :param more: what the caller knows beside, for the result.
    :return: a plain, small, JSON-able dict: ``request_id``, ``model_id``, ``status``, ``created_at``, ``started_at``,
        ``completed_at`` (ISO 8601), ``seconds``, ``output`` without inline files, ``flagged`` (the numbers of flagged
        files), ``files``, each as :class:`~airflow_provider_falinvoke.media.manifest.MediaFile` has it, ``left_out``
        (what else the output holds and was not saved, in words), ``manifest`` (the path of this result as JSON beside
        the files, or None), and ``more``.
    :raises FalInvokeMediaError: the files could not be saved.
    :raises FalInvokeFlaggedError: files are flagged, and ``on_flagged`` is ``fail``.
    :raises AirflowSkipException: all files are flagged, and ``on_flagged`` is ``skip``.
    """
    contents = contents_of(invocation.output)
    found = contents.files
    flagged = flagged_numbers(found)
    refuse_flagged(invocation, found, saving.on_flagged)
    if saving.on_flagged == "skip" and flagged and len(flagged) == len(found):
        raise AirflowSkipException(
            f"The model's safety checker flagged all {len(found)} files of the job "
            f"{printable(invocation.request_id)}, which is completed and paid, and on_flagged is 'skip': none was "
            "saved."
        )
    if saving.on_flagged != "keep" and found and all(media.flagged is None and not media.unreadable for media in found):
        hook.log.warning("on_flagged is %r, but the output says nothing of its files' safety", saving.on_flagged)
    if not saving.output_path and any(media.inline for media in found):
        hook.log.warning(
            "The output holds a file itself (sync_mode), which does not go into XCom; set output_path to keep it. %s",
            by_hand(invocation.request_id) if invocation.request_id else "",
        )
    files = hook.save_media(invocation, saving) if saving.output_path else []
    hook.log.info(
        "The job %s%s is home: %s s by the API's times, %d files saved",
        printable(invocation.request_id),
        f" of {invocation.model_id}" if invocation.model_id else "",
        "unknown" if invocation.seconds is None else invocation.seconds,
        len(files),
    )
    metrics.completed(invocation)
    result = {
        "request_id": invocation.request_id,
        "model_id": invocation.model_id,
        "status": invocation.status.value,
        "created_at": _iso(invocation.created_at),
        "started_at": _iso(invocation.started_at),
        "completed_at": _iso(invocation.completed_at),
        "seconds": invocation.seconds,
        "output": without_inline(invocation.output),
        "flagged": flagged,
        "files": [file.to_dict() for file in files],
        "left_out": saving.choose(contents).left_out if saving.output_path else [],
        "manifest": None,
        **more,
    }
    result = for_airflow(result)
    if not (saving.manifest and files):
        return result
    from airflow_provider_falinvoke.media.save import save_manifest

    return save_manifest(result, saving, invocation.name)


@contextmanager
def failing_for_good(model_id: str | None = None) -> Iterator[None]:
    """Turn an error that no retry can mend into one after which Airflow does not retry.

    :param model_id: the model that a failure is counted for, where it is not that of the last job.
    :raises AirflowFailException: in place of an error whose ``may_pass`` is False.
    """
    try:
        yield
    except Exception as error:
        # A sensor turns some of them into Airflow's own.
        ours = error if isinstance(error, FalInvokeError) else error.__cause__
        if isinstance(ours, FalInvokeError):
            metrics.failed(ours, model_id)
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
