"""The app that the api-server mounts: the page of a task instance, and the files on it.

Airflow's own check stands before each answer: who may not read the DAG's XComs is told 401 or 403. A file is asked for
by its place in the result, never by its path.
"""

from __future__ import annotations

import functools
import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, FastAPI, Header, HTTPException, Path, Query, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from starlette.types import ASGIApp

from airflow_provider_falinvoke.api.printable import printable
from airflow_provider_falinvoke.media.manifest import MediaFile
from airflow_provider_falinvoke.media_tab.found import Found, TaskInstanceKey, find
from airflow_provider_falinvoke.media_tab.lines import last_page, line_at, page_at, starts_line
from airflow_provider_falinvoke.media_tab.page import Entry, Turns, render
from airflow_provider_falinvoke.media_tab.ranges import Span, UnsatisfiableError, span_of
from airflow_provider_falinvoke.media_tab.results import MOST_FILES, Job, read_line
from airflow_provider_falinvoke.media_tab.storage import NotShownError, SlowStorageError, Stored, open_media
from airflow_provider_falinvoke.media_tab.threads import RETRY_AFTER, BusyError, own_threads

log = logging.getLogger(__name__)

#: Jobs of a batch on one page.
PER_PAGE = 24
#: So much of a file is held in memory for each who reads it.
_BLOCK = 1 << 18
_ROUTE = "/media/{dag_id}/{run_id:path}/{task_id}/{map_index}/"

MapIndex = Annotated[str, Path(description="what Airflow's page leaves as it is for a task that is not mapped")]
At = Annotated[int | None, Query(ge=-1, description="where in the manifest; -1 is the last page")]


# Not a plain function, which would take one of Airflow's threads.
async def _key(dag_id: str, run_id: str, task_id: str, map_index: MapIndex) -> TaskInstanceKey:
    number = int(map_index) if re.fullmatch("[0-9]{1,9}", map_index) else -1
    return TaskInstanceKey(dag_id, run_id, task_id, number)


Key = Annotated[TaskInstanceKey, Depends(_key)]


@functools.cache
def application() -> ASGIApp:
    """Return the app, made at its first request."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag

    may_read = Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.XCOM))
    app = FastAPI(title="fal on DigitalOcean: media", openapi_url=None, dependencies=[may_read])
    app.get(_ROUTE)(show_page)
    app.api_route(f"{_ROUTE}file", methods=["GET", "HEAD"])(show_file)
    return app


async def show_page(key: Key, at: At = None) -> Response:
    """Answer with the page of a task instance, or, in its place, with a sentence that says why there is none."""
    try:
        return await own_threads().run(_page, key, at)
    except (BusyError, SlowStorageError):
        return _html(render(word=_BUSY), status=503, headers=_LATER)


async def show_file(
    request: Request,
    key: Key,
    *,
    number: Annotated[int, Query(ge=0)],
    at: At = None,
    range_header: Annotated[str | None, Header(alias="range")] = None,
    if_range: Annotated[str | None, Header()] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Answer with a file of the result, or the part of it that is asked for.

    :param number: its place among the files of its job, from 0.
    :param at: where its job's line begins in the manifest; None for the result's own files.
    """
    try:
        file, opened = await own_threads().run(_found_file, key, at, number, if_none_match or "")
    except NotShownError:
        raise HTTPException(404, _NO_FILE) from None
    except (BusyError, SlowStorageError):
        raise HTTPException(503, _BUSY, headers=_LATER) from None
    headers = {**_FILE_HEADERS, "ETag": _etag(file)}
    if opened is None:
        return Response(status_code=304, headers=headers)
    stored, content_type = opened
    headers["Content-Disposition"] = f"inline; filename*=UTF-8''{quote(file.path.rpartition('/')[2], safe='')}"
    try:
        span = span_of(range_header, stored.size) if if_range in (None, headers["ETag"]) else None
    except UnsatisfiableError:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{stored.size}"})
    sent = span or Span(0, stored.size)
    headers["Content-Length"] = str(sent.stop - sent.start)
    if span is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{stored.size}"
    status = 206 if span else 200
    if request.method == "HEAD":  # a streamed body would be read to its end, and thrown away
        return Response(status_code=status, headers=headers, media_type=content_type)
    return StreamingResponse(_blocks(stored, sent), status, headers, content_type)


async def _blocks(stored: Stored, span: Span) -> AsyncIterator[bytes]:
    """Yield a file's bytes. Between two blocks no thread is taken, however slow the browser is."""
    for start in range(span.start, span.stop, _BLOCK):
        yield await own_threads().run(stored.read, start, min(start + _BLOCK, span.stop))


def _page(key: TaskInstanceKey, at: int | None) -> HTMLResponse:
    found = find(key)
    if found is None or found.result is None:
        return _html(render(word=_word(found)), status=200 if found else 404)
    result = found.result
    entries = [] if result.job is None else [Entry(result.job, "file?")]
    turns, word = None, None
    if result.manifest is not None:
        try:
            listed, turns = _listed(result.manifest, at or 0, sum(len(entry.job.files) for entry in entries))
            entries += listed
        except NotShownError as error:
            _log_why(result.manifest, error)
            word = _NO_MANIFEST
    return _html(render(entries=entries, summary=result.summary, turns=turns, word=word))


def _listed(path: str, at: int, files: int) -> tuple[list[Entry], Turns]:
    """Return the page of a manifest, and where one can turn to.

    :param files: how many files the page has already; where the next job's would be too many, the page ends.
    :raises NotShownError: it is no manifest, or no line begins there.
    """
    manifest = Stored(path)
    try:
        last = last_page(manifest.read, manifest.size, PER_PAGE)
        page = page_at(manifest.read, manifest.size, last if at < 0 else at, PER_PAGE)
    except (ValueError, OSError) as error:
        raise NotShownError(f"from byte {at} on it cannot be read ({error})") from None
    entries: list[Entry] = []
    after = page.after
    for line in page.lines:
        if (job := read_line(line.data)) is None:
            raise NotShownError("it is not the manifest of a batch")
        files += len(job.files)
        if entries and files > MOST_FILES:
            after = line.at
            break
        entries.append(Entry(job, f"file?at={line.at}&"))
    return entries, Turns(before=page.before, after=after)


def _file_of(key: TaskInstanceKey, at: int | None, number: int) -> MediaFile:
    found = find(key)
    if found is None or found.result is None:
        raise NotShownError("there is no result")
    job: Job | None = found.result.job
    if at is not None:
        job = _job_at(found.result.manifest, at)
    if job is None or number >= len(job.files):
        raise NotShownError("there is no such file in the result")
    return job.files[number]


def _job_at(path: str | None, at: int) -> Job | None:
    if path is None or at < 0:
        return None
    try:
        manifest = Stored(path)
        begins = starts_line(manifest.read, manifest.size, at)
        return read_line(line_at(manifest.read, manifest.size, at).data) if begins else None
    except (NotShownError, ValueError, OSError) as error:
        _log_why(path, error)
        return None


def _found_file(
    key: TaskInstanceKey, at: int | None, number: int, known: str
) -> tuple[MediaFile, tuple[Stored, str] | None]:
    """Return a file of the result, opened unless the browser has it already.

    :param known: the ``ETag``s of what the browser has.
    """
    file = _file_of(key, at, number)
    if _etag(file) in known:
        return file, None
    try:
        return file, open_media(file)
    except NotShownError as error:
        _log_why(file.path, error)
        raise


def _etag(file: MediaFile) -> str:
    return f'"{file.sha256}"'


def _log_why(path: str, error: Exception) -> None:
    log.info("The Media tab does not show %s: %s", printable(path), printable(error))


def _word(found: Found | None) -> str:
    if found is None:
        return "There is no such task instance."
    if found.state in ("success", "failed", "skipped", "upstream_failed", "removed"):
        return (
            f"This task instance ({found.state}) has left no pictures or sounds. Its files are shown here where it is "
            "a task of the fal provider that ended with a result, and has an output_path."
        )
    return f"Nothing yet: this task instance is {found.state or 'not queued'}. Its files come when it ends."


# One text for each, whatever lies in the storage: a result can be written by hand, and name any file. Why is logged.
_NO_FILE = "There is no such file in the result, or the api-server cannot show it; its log says why."
_NO_MANIFEST = (
    "The manifest of this task cannot be shown: it is not there any more, or the api-server may not read it, or it is "
    "none. The api-server's log says which."
)
_BUSY = "The storage is slow, or too many files are asked for at once. Try again in a moment."
_LATER = {"Retry-After": str(RETRY_AFTER)}
_FILE_HEADERS = {
    "Accept-Ranges": "bytes",
    "Cache-Control": "private, max-age=3600",
    # An SVG is not recognised as a picture, and nothing else here can run; this is for what nobody thought of.
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def _html(text: Callable[[str], str], *, status: int = 200, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    nonce = secrets.token_urlsafe(16)
    headers = {
        **(headers or {}),
        "Cache-Control": "no-store",
        "Content-Security-Policy": (
            f"default-src 'none'; img-src 'self'; media-src 'self'; style-src 'nonce-{nonce}'; "
            f"script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
        ),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(text(nonce), status, headers)
