"""Send files to an object store, which shows nothing under a name until an upload is completed."""

from __future__ import annotations

import contextlib
import io
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

#: The size of each part but the last. Three of them, two on their way and one that fills, are little memory; a smaller
#: file is one request.
PART_BYTES = 6 << 20
#: Parts of one file that are sent at the same time, and wait to be.
_AT_ONCE = 2


class _Part(io.BytesIO):
    """The bytes of a request. A file, because botocore would copy bytes into one."""


class S3File:
    """A file for S3: a small one in one request, a larger one in parts, several at a time.

    :param fs: s3fs's file system; its own file objects send one part after the other.
    """

    def __init__(self, fs: Any, path: str, content_type: str) -> None:
        self._fs = fs
        self._path = path
        self._target = _target_of(fs, path)
        self._content_type = content_type
        self._part = _Part()
        self._upload: dict[str, str] | None = None
        self._parts: deque[Future[dict[str, Any]]] = deque()
        self._sent: list[dict[str, Any]] = []
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="falinvoke-upload")
        _rewind_at_each_try(fs, self._target["Bucket"])

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        left = memoryview(data)
        while left:
            # Parts of one size, because some stores (Cloudflare's R2) complete no others.
            room = PART_BYTES - self._part.tell()
            self._part.write(left[:room])
            left = left[room:]
            if self._part.tell() == PART_BYTES:
                self._send()

    def commit(self) -> None:
        """Put the file under its name."""
        if self._upload is None:
            self._fs.call_s3("put_object", **self._target, ContentType=self._content_type, Body=self._part)
        else:
            if self._part.tell():
                self._send()
            while self._parts:
                self._sent.append(self._parts.popleft().result())
            self._fs.call_s3("complete_multipart_upload", **self._upload, MultipartUpload={"Parts": self._sent})
        self._fs.invalidate_cache(self._path)
        self._pool.shutdown()

    def discard(self) -> None:
        """Leave nothing of it behind."""
        self._pool.shutdown(cancel_futures=True)
        if self._upload is not None:
            with contextlib.suppress(Exception):  # what is wrong with the storage has been said
                self._fs.call_s3("abort_multipart_upload", **self._upload)

    def _send(self) -> None:
        if self._upload is None:
            self._upload = _begin(self._fs, self._target, self._content_type)
        while len(self._parts) >= _AT_ONCE:
            self._sent.append(self._parts.popleft().result())
        part, self._part = self._part, _Part()
        number = len(self._sent) + len(self._parts) + 1
        self._parts.append(self._pool.submit(self._send_part, self._upload, number, part))

    def _send_part(self, upload: dict[str, str], number: int, body: _Part) -> dict[str, Any]:
        reply = self._fs.call_s3("upload_part", **upload, PartNumber=number, Body=body)
        return {"PartNumber": number, **{name: reply[name] for name in ("ETag", "ChecksumCRC32") if name in reply}}


def check_s3(fs: Any, path: str) -> None:
    """Begin an upload and give it up: that asks for the very right that a file will need, and leaves nothing.

    fsspec's ``makedirs`` would rather make a bucket of a misspelt name.
    """
    upload = _begin(fs, _target_of(fs, path), "application/octet-stream")
    with contextlib.suppress(Exception):  # the right to give it up is not needed
        fs.call_s3("abort_multipart_upload", **upload)


def _target_of(fs: Any, path: str) -> dict[str, str]:
    bucket, key, _ = fs.split_path(path)
    return {"Bucket": bucket, "Key": key}


def _begin(fs: Any, target: dict[str, str], content_type: str) -> dict[str, str]:
    reply = fs.call_s3("create_multipart_upload", **target, **_checksum(fs, target["Bucket"]), ContentType=content_type)
    return {**target, "UploadId": str(reply["UploadId"])}


def _rewind_at_each_try(fs: Any, bucket: str) -> None:
    """Have a part sent from its beginning: s3fs tries a call again with the very part that was read to its end."""
    events = _client(fs, bucket).meta.events
    for operation in ("PutObject", "UploadPart"):
        events.register(f"before-parameter-build.s3.{operation}", _rewind, unique_id=f"falinvoke-{operation}")


def _rewind(params: dict[str, Any], **_: Any) -> None:
    if isinstance(params.get("Body"), _Part):
        params["Body"].seek(0)


def _client(fs: Any, bucket: str) -> Any:
    import fsspec.asyn  # type: ignore[import-untyped]  # no stubs

    fs.connect()
    return fsspec.asyn.sync(fs.loop, fs.get_s3, bucket)


def _checksum(fs: Any, bucket: str) -> dict[str, str]:
    """Return the checksum that botocore sends with each part, as boto3 does, so that S3 expects that and no other.

    A server that knows no checksums is told of none where AWS's setting ``request_checksum_calculation`` says so.
    """
    config = _client(fs, bucket).meta.config
    supported = getattr(config, "request_checksum_calculation", None) == "when_supported"
    return {"ChecksumAlgorithm": "CRC32"} if supported else {}


class CommittedFile:
    """A file for another object store whose fsspec file system holds an upload back until it is told to commit it."""

    def __init__(self, fs: Any, path: str, content_type: str) -> None:
        # Not committed by itself: an object that Python throws away half written would commit its half.
        self._file = fs.open(path, "wb", block_size=PART_BYTES, autocommit=False, content_type=content_type)

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._file.write(data)

    def commit(self) -> None:
        """Put the file under its name."""
        self._file.flush(force=True)
        self._file.commit()
        self._file.closed = True

    def discard(self) -> None:
        """Leave nothing of it behind."""
        with contextlib.suppress(Exception):  # what is wrong with the storage has been said; parts are no file
            self._file.discard()
        self._file.closed = True
