"""Keep files in any storage, whole or not at all: under a final name there is never half a file."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from airflow_provider_falinvoke.media.uploads import CommittedFile, S3File, check_s3

_S3, _GOOGLE, _LOCAL = ("s3", "s3a", "s3n"), ("gs", "gcs"), ("", "file", "local")
#: What follows the name of a file that is being written.
_PART = re.compile(r"\.[0-9a-f]{8}\.part")
#: What a file system answers that cannot sync a folder; it keeps names in another way.
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


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

    def path_of(self, name: str) -> str:
        """Return where a file of this folder lies, as ObjectStoragePath takes it."""
        return str(self._path / name)

    def name_of(self, path: str) -> str | None:
        """Return the name of a file of this folder, None for another; the opposite of :meth:`path_of`."""
        root = self.path_of("x")[:-1]
        return path.removeprefix(root) if path.startswith(root) and ".." not in path.split("/") else None

    def new_file(self, name: str, content_type: str) -> NewFile:
        """Start a file.

        :param name: its name, folders below this one included.
        """
        path, protocol = (self._path / name).path, self._path.protocol
        if protocol in _S3:
            return S3File(self._fs, path, content_type)
        if protocol in _GOOGLE:
            return CommittedFile(self._fs, path, content_type)
        return (_LocalFile if protocol in _LOCAL else _RenamedFile)(self._fs, path)

    def write(self, name: str, data: bytes, content_type: str) -> None:
        """Write a small file."""
        file = self.new_file(name, content_type)
        try:
            file.write(data)
            file.commit()
        except BaseException:
            file.discard()
            raise

    def read(self, name: str) -> bytes | None:
        """Return a small file's bytes, None where there is no such file. Whatever else is wrong is raised."""
        try:
            data: bytes = self._fs.cat_file((self._path / name).path)
        except FileNotFoundError:
            return None
        return data

    def blocks(self, name: str, size: int) -> Iterator[bytes]:
        """Yield a file's bytes, so many at a time."""
        # Some storages' own block is 50 MiB, held in memory.
        with self._fs.open((self._path / name).path, "rb", block_size=size) as file:
            while block := file.read(size):
                yield block

    def names(self, folder: str = "") -> list[str]:
        """Return the names in a folder as it is now; none where there is no such folder.

        :param folder: one below this folder; this one by default.
        """
        path = (self._path / folder if folder else self._path).path
        try:
            if self._path.protocol in _LOCAL:
                return _local_names(path)
            self._fs.invalidate_cache(path)
            return [str(found).rstrip("/").rpartition("/")[2] for found in self._fs.ls(path, detail=False)]
        except FileNotFoundError:
            return []

    def remove(self, name: str) -> None:
        """Remove a file. Whatever is wrong is raised."""
        self._fs.rm_file((self._path / name).path)

    def check(self) -> None:
        """Make sure that files can be kept here, leaving nothing behind but the folder itself."""
        if self._path.protocol in _S3:
            check_s3(self._fs, (self._path / ".falinvoke").path)
        elif self._path.protocol not in _GOOGLE:
            self.new_file(".falinvoke", "application/octet-stream").discard()


class _RenamedFile:
    """Written beside its name and renamed, one step for a file system. What a dead process leaves is a ``.part``."""

    def __init__(self, fs: Any, path: str) -> None:
        self._fs = fs
        self._path = path
        self._folder, _, self._name = path.rpartition("/")
        self._make_folder()
        self._remove_older_parts()
        # A name of its own, because a process that was given up may not be dead, and write on.
        self._part = f"{path}.{secrets.token_hex(4)}.part"
        self._file = fs.open(self._part, "wb")

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def commit(self) -> None:
        self._file.close()
        self._fs.mv(self._part, self._path)

    def discard(self) -> None:
        with contextlib.suppress(OSError):  # what is wrong with the storage has been said
            self._file.close()
            self._fs.rm(self._part)

    def _make_folder(self) -> None:
        self._fs.makedirs(self._folder, exist_ok=True)

    def _names(self) -> list[str]:
        return [str(path).rpartition("/")[2] for path in self._fs.ls(self._folder, detail=False)]

    def _remove_older_parts(self) -> None:
        """Remove what dead processes left; one that lives fails then, as it should where another took over."""
        for name in self._names():
            if name.startswith(self._name) and _PART.fullmatch(name, len(self._name)):
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm(f"{self._folder}/{name}")


class _LocalFile(_RenamedFile):
    """The same on a disk of this machine, and whole or not there after a power failure too."""

    def commit(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        Path(self._part).replace(self._path)  # fsspec's mv would put a file into a folder of its name
        _sync(Path(self._folder))

    def _make_folder(self) -> None:
        folder = Path(self._folder)
        made = [one for one in (folder, *folder.parents) if not one.is_dir()]
        super()._make_folder()
        for one in made:
            _sync(one.parent)

    def _names(self) -> list[str]:
        return _local_names(self._folder)


def _local_names(folder: str) -> list[str]:
    """Return the names in a folder; fsspec's ``ls`` looks at each of 10,000 files."""
    return [path.name for path in Path(folder).iterdir()]


def _sync(folder: Path) -> None:
    """Have a folder's names survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)
