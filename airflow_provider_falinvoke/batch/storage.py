"""A folder in any storage, for files that are whole or not there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import quote

from airflow_provider_falinvoke.exceptions import FalInvokeMediaError

_READS_AT_ONCE = 16
_SAFE = "-_.~:+@="


def safe_name(name: str) -> str:
    """Return a name as a part of a path: what means something in a path or a URL is percent-encoded."""
    quoted = quote(name, safe=_SAFE)
    return quoted.replace(".", "%2E") if quoted.strip(".") == "" else quoted


class Folder:
    """A folder whose files are each read and written as a whole.

    An object store puts an object whole or not at all. On a local disk a file is written beside its name and moved
    there, so that a process that dies leaves the old one.

    :param path: as :class:`~airflow.sdk.ObjectStoragePath` takes it.
    :raises FalInvokeMediaError: there is no such storage.
    """

    def __init__(self, path: str) -> None:
        from airflow.sdk import ObjectStoragePath

        try:
            self._path: Any = ObjectStoragePath(path)
            self._fs = self._path.fs
        except Exception as error:  # each storage has errors of its own
            raise FalInvokeMediaError(
                f"output_path {path} cannot be used: {error}. Nothing was submitted, and nothing is paid."
            ) from error
        protocol = self._fs.protocol
        self._local = "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def __str__(self) -> str:
        return str(self._path)

    def at(self, name: str) -> str:
        """Return the whole path of a file in the folder."""
        return str(self._path / name)

    def make(self) -> None:
        """Make the folder, where the storage has folders."""
        self._fs.makedirs(self._path.path, exist_ok=True)

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, None where there is no such file. Whatever else is wrong is raised."""
        try:
            data: bytes = self._fs.cat_file(self._inside(name))
        except FileNotFoundError:
            return None
        return data

    def read_all(self, names: Sequence[str]) -> list[bytes | None]:
        """Return the bytes of several files, read side by side."""
        with ThreadPoolExecutor(_READS_AT_ONCE) as threads:
            return list(threads.map(self.read, names))

    def write(self, name: str, data: bytes) -> None:
        """Write a file; an old one of that name stays until the new one is whole."""
        self._place(name, lambda path: self._fs.pipe_file(path, data))

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """Give a local file to write to; it is brought here at the end of the ``with`` statement, or not at all."""
        with tempfile.NamedTemporaryFile(prefix="falinvoke-") as local:
            yield local
            local.flush()
            self._place(name, lambda path: self._fs.put_file(local.name, path))

    def _place(self, name: str, write: Callable[[str], None]) -> None:
        path = self._inside(name)
        if not self._local:
            write(path)
            return
        write(f"{path}.part")
        self._fs.mv(f"{path}.part", path)

    def _inside(self, name: str) -> str:
        return str((self._path / name).path)
