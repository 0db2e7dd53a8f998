"""The second origin: serves the files that the jobs made, asks for no key, and notices one that leaks to it."""

import hashlib
import re
from collections.abc import Callable
from urllib.parse import unquote

from airflow_provider_falinvoke.emulator import mishaps
from airflow_provider_falinvoke.emulator.faults import DELIVERING, INTERCEPTING, Subject
from airflow_provider_falinvoke.emulator.jobs import Job
from airflow_provider_falinvoke.emulator.outputs import MediaFile, files
from airflow_provider_falinvoke.emulator.records import RecordedRequest
from airflow_provider_falinvoke.emulator.replies import Reply, Request, error_reply
from airflow_provider_falinvoke.emulator.state import State

#: No file has a place of more digits, and Python refuses to read thousands of them.
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)


class Media:
    """Answers the requests to the media origin.

    :param state: what the emulator knows.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def prepare(self, request: Request) -> Callable[[], object] | None:
        """Return the slow part of the answer, to be done off the event loop: making the file, which is then cached."""
        _, file = self._find(request.path)
        return file.make if file else None

    def answer(self, request: Request) -> Reply:
        """Answer a request and record it."""
        job, file = self._find(request.path)
        subject = Subject(job.request_id, job.model_id, job.prompt) if job else Subject()
        path = self._state.path_of(request)
        with self._state.lock:
            now = self._state.now()
            if self._leaks(request):
                self._state.leaks.append(path)
            fault = self._state.faults.first(INTERCEPTING + DELIVERING, "media", subject)
        if fault and fault.kind in INTERCEPTING:
            reply = mishaps.intercepted(fault, self._state.api_url + request.path)
        else:
            reply = self._serve(request, job, file, now)
            reply = mishaps.delivered(fault, reply) if fault else reply
        self._state.record(
            RecordedRequest(
                request.method, path, "media", subject.request_id, subject.model_id, reply.shown_status, now
            )
        )
        return reply

    def _find(self, path: str) -> tuple[Job | None, MediaFile | None]:
        parts = [unquote(part) for part in path.split("/")]
        if len(parts) != 4 or parts[:2] != ["", "files"]:  # noqa: PLR2004 - /files/<request_id>/<name>
            return None, None
        with self._state.lock:
            job, now = self._state.jobs.get(parts[2]), self._state.now()
        if job is None or not job.completed(now):
            return job, None
        return job, next((file for file in files(job) if file.name == parts[3]), None)

    def _leaks(self, request: Request) -> bool:
        key = self._state.api_key
        sent = [request.path, unquote(request.path), request.query, unquote(request.query), *request.headers.values()]
        return "authorization" in request.headers or any(key in text for text in sent)

    def _serve(self, request: Request, job: Job | None, file: MediaFile | None, now: float) -> Reply:
        if request.method not in ("GET", "HEAD"):
            return error_reply(405, "method_not_allowed", "Only GET and HEAD are allowed.")
        if job is None or file is None:
            return error_reply(404, "not_found", "File not found.")
        if self._state.media_ttl is not None and now >= job.ends_at + self._state.media_ttl:
            return error_reply(410, "gone", "The file has expired.")
        return file_reply(request, file.make(), file.content_type)


def file_reply(request: Request, content: bytes, content_type: str) -> Reply:
    """Return the reply for a file: whole, one range of it, or nothing if the client has it already."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"content-type": content_type, "accept-ranges": "bytes", "etag": etag}
    if request.headers.get("if-none-match") == etag:
        return Reply(304, headers)
    if request.headers.get("if-range", etag) != etag or "range" not in request.headers:
        return Reply(200, headers, content)
    span = _span(request.headers["range"], len(content))
    if span is None:
        return Reply(200, headers, content)
    first, last = span
    if first > last:
        return Reply(416, {**headers, "content-range": f"bytes */{len(content)}"})
    return Reply(206, {**headers, "content-range": f"bytes {first}-{last}/{len(content)}"}, content[first : last + 1])


def _span(header: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte, the first beyond the last if nothing is in range; None to ignore the header."""
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size - 1 if int(last) else -1
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        return size, size - 1
    return int(first), min(int(last or size), size - 1)
