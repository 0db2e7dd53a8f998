"""Send files to an object store, which shows nothing under a name until an upload is completed."""

from __future__ import annotations

import contextlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

#: The smallest part that S3 takes, so that several on their way are little memory; a smaller file is one request.
PART_BYTES = 5 << 20
#: Parts of one file that are sent at the same time, and wait to be.
_AT_ONCE = 2


class S3File:
    """A file for S3: a small one in one request, a larger one in parts, several at a time.

    :param fs: s3fs's file system; its own file objects send one part after the other.
    """

    def __init__(self, fs: Any, path: str, content_type: str) -> None:
        self._fs = fs
        self._path = path
        self._target = _target_of(fs, path)
        self._content_type = content_type
        self._blocks: list[bytes] = []
        self._size = 0
        self._upload: dict[str, str] | None = None
        self._parts: deque[Future[dict[str, Any]]] = deque()
        self._sent: list[dict[str, Any]] = []
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="falinvoke-upload")

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._blocks.append(data)
        self._size += len(data)
        if self._size >= PART_BYTES:
            self._send()

    def commit(self) -> None:
        """Put the file under its name."""
        if self._upload is None:
            body = b"".join(self._blocks)
            self._fs.call_s3("put_object", **self._target, ContentType=self._content_type, Body=body)
        else:
            if self._blocks:
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
        body, self._blocks, self._size = b"".join(self._blocks), [], 0
        number = len(self._sent) + len(self._parts) + 1
        self._parts.append(self._pool.submit(self._send_part, self._upload, number, body))

    def _send_part(self, upload: dict[str, str], number: int, body: bytes) -> dict[str, Any]:
        reply = self._fs.call_s3("upload_part", **upload, PartNumber=number, Body=body)
        return {"PartNumber": number, "ETag": reply["ETag"]}


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
    reply = fs.call_s3("create_multipart_upload", **target, ContentType=content_type)
    return {**target, "UploadId": str(reply["UploadId"])}


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
