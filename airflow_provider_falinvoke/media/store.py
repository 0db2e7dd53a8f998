"""Keep files in any storage, whole or not at all: under a final name there is never half a file."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from typing import Any, Protocol

#: An object store shows nothing under a name until an upload is completed; how to open one with its content type.
_TYPE_OPTION = {"s3": "ContentType", "s3a": "ContentType", "gs": "content_type", "gcs": "content_type"}
#: Bytes of one part of an upload, and of a file that is sent in one request.
_PART_BYTES = 8 << 20


class NewFile(Protocol):
    """A file that is being written."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""

    def commit(self) -> None:
        """Put it under its name, in place of what was there."""

    def discard(self) -> None:
        """Leave nothing of it behind."""


class Folder:
    """A folder in any storage that Airflow's ObjectStoragePath knows.

    Made where the connection of the storage may be looked up (a task's main thread); its files may be written in
    others.

    :param path: as ObjectStoragePath takes it.
    """

    def __init__(self, path: str) -> None:
        from airflow.sdk import ObjectStoragePath

        self._path = ObjectStoragePath(path)
        self._fs: Any = self._path.fs
        self._type_option = _TYPE_OPTION.get(self._path.protocol)

    def path_of(self, name: str) -> str:
        """Return where a file of this folder lies, as ObjectStoragePath takes it."""
        return str(self._path / name)

    def new_file(self, name: str, content_type: str) -> NewFile:
        """Start a file.

        :param name: its name, folders below this one included.
        """
        path = (self._path / name).path
        if self._type_option is None:
            if self._path.protocol in ("", "file", "local"):
                # Its own mv would put a file into a folder of its name, and its own ls looks at each of 10,000 files.
                return _RenamedFile(self._fs, path, os.replace, os.listdir)
            return _RenamedFile(self._fs, path, self._fs.mv, lambda folder: self._fs.ls(folder, detail=False))
        return _UploadedFile(self._fs, path, {self._type_option: content_type})

    def write(self, name: str, data: bytes, content_type: str) -> None:
        """Write a small file."""
        file = self.new_file(name, content_type)
        try:
            file.write(data)
            file.commit()
        except BaseException:
            file.discard()
            raise

    def check(self) -> None:
        """Make sure that files can be kept here, leaving nothing behind but the folder itself."""
        if self._type_option is None:
            self._fs.makedirs(self._path.path, exist_ok=True)
        elif self._type_option == "ContentType":
            # An upload that is begun and given up asks for the very right that a file will need; makedirs would rather
            # make a bucket of a misspelt name.
            probe = self._fs.open((self._path / ".falinvoke").path, "wb", block_size=_PART_BYTES, autocommit=False)
            try:
                probe.flush(force=True)
                with contextlib.suppress(Exception):  # the right to give it up is not needed
                    probe.discard()
            finally:
                probe.closed = True


class _RenamedFile:
    """Written beside its name and renamed, one step for a file system. What a dead process leaves is a ``.part``."""

    def __init__(
        self, fs: Any, path: str, rename: Callable[[str, str], object], names: Callable[[str], list[str]]
    ) -> None:
        self._fs = fs
        self._path = path
        self._rename = rename
        self._names = names
        self._folder = path.rpartition("/")[0]
        fs.makedirs(self._folder, exist_ok=True)
        self._remove_older_parts()
        # A name of its own, because a process that was given up may not be dead, and write on.
        self._part = f"{path}.{secrets.token_hex(4)}.part"
        self._file = fs.open(self._part, "wb")

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def commit(self) -> None:
        self._file.close()
        self._rename(self._part, self._path)

    def discard(self) -> None:
        with contextlib.suppress(OSError):  # what is wrong with the storage has been said
            self._file.close()
            self._fs.rm(self._part)

    def _remove_older_parts(self) -> None:
        """Remove what dead processes left; one that lives fails then, as it should where another took over."""
        own = self._path.rpartition("/")[2]
        for path in self._names(self._folder):
            name = path.rpartition("/")[2]
            if name.startswith(f"{own}.") and name.endswith(".part"):
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm(f"{self._folder}/{name}")


class _UploadedFile:
    """Sent to an object store: a small one in a single request, a larger one in parts that are joined at its end."""

    def __init__(self, fs: Any, path: str, options: dict[str, str]) -> None:
        self._fs = fs
        self._path = path
        self._options = options
        self._first = bytearray()
        self._upload: Any = None

    def write(self, data: bytes) -> None:
        if self._upload is not None:
            self._upload.write(data)
            return
        self._first += data
        if len(self._first) >= _PART_BYTES:
            # Not committed by itself: an object that Python throws away half written would commit its half.
            self._upload = self._fs.open(self._path, "wb", block_size=_PART_BYTES, autocommit=False, **self._options)
            first, self._first = self._first, bytearray()
            self._upload.write(first)

    def commit(self) -> None:
        if self._upload is None:
            self._fs.pipe_file(self._path, bytes(self._first), **self._options)
            return
        self._upload.flush(force=True)
        self._upload.commit()
        self._upload.closed = True

    def discard(self) -> None:
        if self._upload is not None:
            with contextlib.suppress(Exception):  # what is wrong with the storage has been said; parts are no file
                self._upload.discard()
            self._upload.closed = True
