"""Save the files of a completed job: each fetched, recognised, named and stored, several at once."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

from airflow_provider_falinvoke.api.downloads import Downloader
from airflow_provider_falinvoke.api.models import Invocation
from airflow_provider_falinvoke.api.printable import printable
from airflow_provider_falinvoke.api.transfer import MediaFailedError
from airflow_provider_falinvoke.exceptions import FalInvokeMediaError, FalInvokeMediaGoneError
from airflow_provider_falinvoke.media.find import Media, contents_of
from airflow_provider_falinvoke.media.intake import Allowance, Intake
from airflow_provider_falinvoke.media.manifest import MediaFile
from airflow_provider_falinvoke.media.settings import Saving, advice_by_hand, refuse_flagged
from airflow_provider_falinvoke.media.store import Folder

log = logging.getLogger(__name__)

#: Files of one job that are fetched at the same time.
_AT_ONCE = 4
#: Seconds that downloads which were stopped have to clear up. A storage that hangs has them no longer.
_GRACE = 10.0
#: So many of what is left out are in the log; the result has more.
_SHOWN = 10
_FROM_URLS = bytes.maketrans(b"-_", b"+/")


def save_media(invocation: Invocation, saving: Saving, downloader: Downloader) -> list[MediaFile]:
    """Bring the files of ``invocation`` into the folder of ``saving``; see the hook's method."""
    contents = contents_of(invocation.output)
    if not contents.files:
        keys = sorted(invocation.output) if isinstance(invocation.output, dict) else type(invocation.output).__name__
        others = f" What may be a file is not in the shape of one: {_some(contents.others)}." if contents.others else ""
        raise FalInvokeMediaGoneError(
            f"The job is completed and paid, but its output names no file; it holds: {printable(keys, 500)}.{others} "
            f"To look at it: {advice_by_hand(invocation)}",
            request_id=invocation.request_id,
        )
    refuse_flagged(invocation, contents.files, saving.on_flagged)
    choice = saving.choose(contents)
    if choice.left_out:
        log.warning(
            "Not all that the output of the job %s holds is saved. Left out: %s. %s",
            printable(invocation.request_id),
            _some(choice.left_out),
            advice_by_hand(invocation),
        )
    try:
        return _save_all(choice.wanted, invocation, saving, downloader)
    except Exception as error:  # each storage has errors of its own, and the job is paid whatever they are
        kind, advice = FalInvokeMediaError, advice_by_hand(invocation)
        if isinstance(error, MediaFailedError) and error.gone:
            kind, advice = FalInvokeMediaGoneError, "A retry asks for new URLs; clearing the task pays for a new job."
        raised = kind(
            f"The job is completed and paid, but a file could not be saved to {saving.output_path}: {error}. {advice}",
            request_id=invocation.request_id,
        )
        raised.may_pass = not (isinstance(error, MediaFailedError) and error.lasting)
        raise raised from error


def save_manifest(result: dict[str, Any], saving: Saving, name: str) -> dict[str, Any]:
    """Write a task's result beside its files, and return it with the path of that in it.

    :param name: of the invocation.
    :raises FalInvokeMediaError: it could not be written.
    """
    assert saving.output_path, "there are files that it describes"
    file_name = saving.file_name.render(saving.place, request_id=name, number="manifest", extension=".json")
    try:
        folder = Folder(saving.output_path)
        result = {**result, "manifest": folder.path_of(file_name)}
        document = json.dumps(result, ensure_ascii=False, indent=2).encode("utf-8", "replace")
        folder.write(file_name, document, "application/json")
    except Exception as error:  # each storage has errors of its own
        raise FalInvokeMediaError(
            f"The job is completed and paid, and its files are saved, but not their manifest: {error}",
            request_id=result["request_id"],
        ) from error
    return result


def _save_all(
    wanted: list[tuple[int, Media]], invocation: Invocation, saving: Saving, downloader: Downloader
) -> list[MediaFile]:
    if not wanted:
        return []
    assert saving.output_path, "the caller wants the files"
    # Here and not in the threads, which must not look a connection up.
    folder, allowance = Folder(saving.output_path), Allowance(saving.max_total_size)
    save = partial(_save_one, invocation, saving, folder, downloader, allowance, name=invocation.name)
    pool = ThreadPoolExecutor(min(_AT_ONCE, len(wanted)), thread_name_prefix="falinvoke-download")
    futures = [pool.submit(save, number=number, media=media) for number, media in wanted]
    try:
        ended, late = wait(futures, timeout=saving.save_timeout, return_when=FIRST_EXCEPTION)
        for future in ended:
            future.result()
        if late:
            raise MediaFailedError(
                f"the time for all files of the job, {saving.save_timeout:g} s, is up (save_timeout)"
            )
        return [future.result() for future in futures]
    except BaseException:
        downloader.stop()
        for future in futures:
            future.cancel()
        wait(futures, timeout=_GRACE)
        raise
    finally:
        pool.shutdown(wait=False)


def _save_one(
    invocation: Invocation,
    saving: Saving,
    folder: Folder,
    downloader: Downloader,
    allowance: Allowance,
    *,
    name: str,
    number: int,
    media: Media,
) -> MediaFile:
    def name_of(extension: str) -> str:
        return saving.file_name.render(saving.place, request_id=name, number=number, extension=extension)

    quote = media.inline or downloader.quotes
    with closing(Intake(folder, name_of, media.content_type, allowance, quote=quote)) as intake:
        try:
            if media.inline:
                _decode(media.url, intake, saving.max_file_size)
            else:
                downloader.fetch(media.url, intake)
            taken = intake.finish()
        except MediaFailedError as error:
            raise MediaFailedError(f"{media.source[:200]}: {error}", gone=error.gone, lasting=error.lasting) from None
    seed = invocation.output.get("seed") if isinstance(invocation.output, dict) else None
    file = MediaFile(
        path=folder.path_of(taken.name),
        size=taken.size,
        sha256=taken.sha256,
        content_type=taken.kind.content_type,
        **asdict(taken.measures),
        number=number,
        seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
        flagged=media.flagged,
        source_url=media.source,
        model_id=invocation.model_id,
        request_id=invocation.request_id,
        created_at=invocation.created_at,
        completed_at=invocation.completed_at,
        saved_at=datetime.now(timezone.utc),
    )
    log.info("Saved %s (%s, %d bytes)", file.path, file.content_type, file.size)
    return file


def _some(words: list[str]) -> str:
    rest = f", and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + rest


def _decode(uri: str, intake: Intake, max_bytes: int) -> None:
    """Take in the file that is in a ``data:`` URI.

    :raises MediaFailedError: it is none, or too large.
    """
    head, _, payload = uri.partition(",")
    data = unquote_to_bytes(payload.encode("utf-8", "replace"))
    if re.search(r";\s*base64\s*$", head, re.IGNORECASE):
        try:
            # Some leave the padding out, break lines, or take the alphabet for URLs. What else is in it, is wrong.
            plain = data.translate(_FROM_URLS, b" \t\r\n").rstrip(b"=")
            data = base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
        except binascii.Error as error:
            raise MediaFailedError(f"it is not base64 ({error})") from None
    if len(data) > max_bytes:
        raise MediaFailedError(f"it is larger than {max_bytes} bytes (max_file_size)", lasting=True)
    intake.write(data)
