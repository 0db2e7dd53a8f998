"""How files are kept, as a task says it. Imported with every DAG file, so without what only a job's end needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from airflow_provider_falinvoke.api.models import Invocation
from airflow_provider_falinvoke.api.outcomes import by_hand
from airflow_provider_falinvoke.api.transfer import DEFAULT_MAX_BYTES, DEFAULT_SECONDS
from airflow_provider_falinvoke.exceptions import FalInvokeFlaggedError, FalInvokeMediaError
from airflow_provider_falinvoke.media.find import Contents, Media, flagged_numbers
from airflow_provider_falinvoke.media.naming import FileName, Place

FlagPolicy = Literal["keep", "fail", "skip"]
#: So many of what is left out are named.
_SHOWN = 100
#: What brings the storages that are asked for most.
_PROVIDERS = {
    "s3": "apache-airflow-providers-amazon[s3fs]",
    "gs": "apache-airflow-providers-google",
    "abfs": "apache-airflow-providers-microsoft-azure",
}


@dataclass(frozen=True)
class Saving:
    """Where and how files are kept; what operators, sensors and the hook have in common.

    :param output_path: a folder, as :class:`~airflow.sdk.ObjectStoragePath` takes it; None leaves the files where they
        are.
    :param file_name: how they are named in it.
    :param place: where in Airflow they come from, for their names.
    :param manifest: whether to write the result beside them, as JSON.
    :param max_file_size: bytes; a larger file is refused.
    :param download_timeout: seconds for one file, all tries together.
    :param on_flagged: what to do about files that the model's safety checker flagged: ``keep`` them like others,
        ``fail`` and save none, or ``skip`` them alone.
    :param max_files: files of one job; of more, the first are saved.
    :param max_total_size: bytes of all files of one job; more are refused.
    :param save_timeout: seconds for all files of one job.
    """

    output_path: str | None = None
    file_name: FileName = field(default_factory=FileName)
    place: Place = field(default_factory=Place)
    manifest: bool = False
    max_file_size: int = DEFAULT_MAX_BYTES
    download_timeout: float = DEFAULT_SECONDS
    on_flagged: FlagPolicy = "keep"
    max_files: int = 64
    max_total_size: int = 20 << 30
    save_timeout: float = 3600.0

    def choose(self, contents: Contents) -> Choice:
        """Return which files of an output are to be saved."""
        numbered = enumerate(contents.files, start=1)
        kept = [(number, media) for number, media in numbered if not (media.suspect and self.on_flagged == "skip")]
        beyond = [f"{media.where} (beyond max_files, {self.max_files})" for _, media in kept[self.max_files :]]
        left_out = [*beyond, *contents.others]
        rest = [f"and {len(left_out) - _SHOWN} more"] if len(left_out) > _SHOWN else []
        return Choice(kept[: self.max_files], [*left_out[:_SHOWN], *rest])

    def check_folder(self) -> None:
        """Make sure that files can be kept, before a job is paid.

        :raises FalInvokeMediaError: they cannot.
        """
        if not self.output_path:
            return
        from airflow_provider_falinvoke.media.store import Folder

        try:
            Folder(self.output_path).check()
        except Exception as error:  # each storage has errors of its own
            raise FalInvokeMediaError(
                f"output_path {self.output_path} cannot be written to: {error}.{_what_to_install(error)} Nothing was "
                "submitted, and nothing is paid."
            ) from error


def _what_to_install(error: Exception) -> str:
    # Airflow's words for a scheme that none of the installed providers brings.
    found = re.fullmatch(r"No filesystem registered for scheme (\w+)", str(error))
    return f" Install {_PROVIDERS[found[1]]} on each worker." if found and found[1] in _PROVIDERS else ""


@dataclass(frozen=True)
class Choice:
    """What becomes of an output's files.

    :param wanted: the files to save, each with its number in the output, from 1.
    :param left_out: what is not saved and was not asked to be left out, in words: the place, and why.
    """

    wanted: list[tuple[int, Media]]
    left_out: list[str]


def refuse_flagged(invocation: Invocation, found: Sequence[Media], policy: FlagPolicy) -> None:
    """Do nothing unless flagged files are to end the task; what is said and cannot be read may be a flag.

    :raises FalInvokeFlaggedError: there are some, and ``policy`` is ``fail``.
    """
    if policy == "fail" and (flagged := flagged_numbers(found)):
        unread = [number for number in flagged if found[number - 1].unreadable]
        doubt = f" (what is said of {_listed(unread)} cannot be read, and counts as a flag)" if unread else ""
        raise FalInvokeFlaggedError(
            f"The job is completed and paid, but the model's safety checker flagged its files {_listed(flagged)} (of "
            f"{len(found)}){doubt} and on_flagged is 'fail': none was saved. {advice_by_hand(invocation)}",
            request_id=invocation.request_id,
        )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def advice_by_hand(invocation: Invocation) -> str:
    """Return how to ask for a job by hand."""
    return by_hand(invocation.request_id) if invocation.request_id else "The API gave no request_id to ask by."
