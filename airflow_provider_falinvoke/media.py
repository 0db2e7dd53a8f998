"""Find the files in an output, name them, and stream them to storage."""

from __future__ import annotations

import base64
import binascii
import logging
import mimetypes
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

from airflow_provider_falinvoke.api.drivers import MediaFailedError, stream_to
from airflow_provider_falinvoke.api.models import Invocation
from airflow_provider_falinvoke.api.outcomes import by_hand
from airflow_provider_falinvoke.api.replies import MEDIA_KEYS
from airflow_provider_falinvoke.exceptions import FalInvokeMediaError, FalInvokeMediaGoneError

if TYPE_CHECKING:
    from airflow_provider_falinvoke.api.drivers import HttpClient

log = logging.getLogger(__name__)

#: A prompt that an output repeats may begin with "data:" too; a URI has no blank before its comma.
_DATA_URI = re.compile(r"data:[^\s,]*,")
_EXTENSIONS = {"audio/wav": ".wav", "audio/x-wav": ".wav", "audio/mpeg": ".mp3", "image/jpeg": ".jpg"}


@dataclass(frozen=True)
class Media:
    """One file of an output.

    :param url: an ``https:`` URL, or a ``data:`` URI with the file in it.
    :param content_type: what the output says that it is, if it says so.
    """

    url: str
    content_type: str | None = None

    @property
    def inline(self) -> bool:
        """Whether the file itself is in the URL."""
        return self.url.startswith("data:")


@dataclass(frozen=True)
class SavedFile:
    """One file brought home.

    :param path: where it lies.
    :param size: bytes.
    :param content_type: its type, as the host of the file or the output said.
    """

    path: str
    size: int
    content_type: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict for XCom."""
        return asdict(self)


def find_media(output: Any) -> list[Media]:
    """Return the files that an output names, in order and each once, whatever its shape.

    Shapes: ``images: [{url}]``, ``audio: {url}``, ``audio_file``, ``video``, plain strings for the objects,
    ``audio_url`` and its like, ``b64_json``, ``data:`` URIs, or a URL alone.
    """
    return list(dict.fromkeys(_walk(output)))


def _walk(node: Any, content_type: str | None = None) -> Iterator[Media]:
    if isinstance(node, str):
        if node.startswith(("https://", "http://", "data:")):
            yield Media(node, content_type)
    elif isinstance(node, list):
        for item in node:
            yield from _walk(item)
    elif isinstance(node, dict):
        kind = node.get("content_type") if isinstance(node.get("content_type"), str) else None
        if isinstance(node.get("b64_json"), str):
            yield Media(f"data:{kind or 'application/octet-stream'};base64,{node['b64_json']}", kind)
        for key in MEDIA_KEYS:
            if key in node and key != "b64_json":
                yield from _walk(node[key], kind)


def without_inline(value: Any, *, depth: int = 50) -> Any:
    """Return an output with each inline file replaced by a short note, so that it fits into XCom.

    :param depth: what is nested deeper is left out too.
    """
    if not depth and isinstance(value, (dict, list)):
        return "<nested too deeply>"
    if isinstance(value, dict):
        return {
            key: f"<inline, {len(item)} characters>"
            if key == "b64_json" and isinstance(item, str)
            else without_inline(item, depth=depth - 1)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [without_inline(item, depth=depth - 1) for item in value]
    if isinstance(value, str) and _DATA_URI.match(value):
        return f"<inline {value[5:].split(',', 1)[0].split(';', 1)[0] or 'data'}, {len(value)} characters>"
    return value


def extension(content_type: str | None, url: str) -> str:
    """Return a file's extension, with its dot: what its type or, failing that, its URL suggests."""
    kind = (content_type or "").split(";")[0].strip().lower()
    suffix = _EXTENSIONS.get(kind) or mimetypes.guess_extension(kind)
    if suffix is not None:
        return suffix
    from_url = "" if url.startswith("data:") else PurePosixPath(urlsplit(url).path).suffix
    return from_url if from_url[1:].isalnum() and len(from_url) <= len(".jpeg") else ".bin"


def save_media(invocation: Invocation, output_path: str, client: HttpClient) -> list[SavedFile]:
    """Stream the files of ``invocation`` into the folder ``output_path``; see the hook's method."""
    found = find_media(invocation.output)
    if not found:
        keys = sorted(invocation.output) if isinstance(invocation.output, dict) else type(invocation.output).__name__
        raise FalInvokeMediaGoneError(
            f"The job is completed and paid, but its output names no file; it holds: {keys}. To look at it: "
            f"{_by_hand(invocation)}",
            request_id=invocation.request_id,
        )
    try:
        folder = _Folder(output_path)
        stem = _safe(invocation.request_id or "result")
        return [folder.save(media, f"{stem}-{number}", client) for number, media in enumerate(found, start=1)]
    except Exception as error:  # each storage has errors of its own, and the job is paid whatever they are
        kind, advice = FalInvokeMediaError, _by_hand(invocation)
        if isinstance(error, MediaFailedError) and error.gone:
            kind, advice = FalInvokeMediaGoneError, "A retry asks for new URLs; clearing the task pays for a new job."
        raise kind(
            f"The job is completed and paid, but a file could not be saved to {output_path}: {error}. {advice}",
            request_id=invocation.request_id,
        ) from error


def _by_hand(invocation: Invocation) -> str:
    return by_hand(invocation.request_id) if invocation.request_id else "The API gave no request_id to ask by."


def check_folder(output_path: str) -> None:
    """Make the folder, so that an unknown storage or a wrong path is found before a job is paid.

    :raises FalInvokeMediaError: it cannot be made.
    """
    try:
        _Folder(output_path)
    except Exception as error:  # each storage has errors of its own
        raise FalInvokeMediaError(
            f"output_path {output_path} cannot be written to: {error}. Nothing was submitted, and nothing is paid."
        ) from error


class _Folder:
    """A folder in any storage. Under a final name a file is whole or not there; what a dead process leaves is a .part.

    :param path: as ObjectStoragePath takes it; made if it does not exist.
    """

    def __init__(self, path: str) -> None:
        from airflow.sdk import ObjectStoragePath

        self._path = ObjectStoragePath(path)
        self._fs = self._path.fs
        self._fs.makedirs(self._path.path, exist_ok=True)

    def save(self, media: Media, stem: str, client: HttpClient) -> SavedFile:
        part = (self._path / f"{stem}.part").path
        try:
            kind, size = self._write(media, part, client)
            content_type = media.content_type or kind
            target = self._path / f"{stem}{extension(content_type, media.url)}"
            self._fs.mv(part, target.path)
        except BaseException:
            if self._fs.exists(part):
                self._fs.rm(part)
            raise
        log.info("Saved %s (%s, %d bytes)", target, content_type, size)
        return SavedFile(path=str(target), size=size, content_type=content_type)

    def _write(self, media: Media, part: str, client: HttpClient) -> tuple[str | None, int]:
        if not media.inline:
            return stream_to(client, media.url, lambda: self._fs.open(part, "wb"))
        kind, data = _decode(media.url)
        with self._fs.open(part, "wb") as sink:
            sink.write(data)
        return kind, len(data)


def _decode(uri: str) -> tuple[str | None, bytes]:
    head, _, payload = uri.removeprefix("data:").partition(",")
    kind = head.split(";")[0] or None
    raw = unquote_to_bytes(payload)
    if not head.endswith(";base64"):
        return kind, raw
    try:
        return kind, base64.b64decode(raw)
    except binascii.Error as error:
        raise MediaFailedError(f"the inline file is not base64 ({error})") from None


def _safe(name: str) -> str:
    return "".join(character if character.isalnum() or character in "-_" else "_" for character in name)[:100]
