"""A folder of small files, read and written as a whole."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, Any

from airflow_provider_falinvoke.exceptions import FalInvokeMediaError
from airflow_provider_falinvoke.media.store import Folder as MediaFolder

_READS_AT_ONCE = 16
_BLOCK = 1 << 20


class Folder(MediaFolder):
    """A folder whose files are read, too.

    :param path: as :class:`~airflow.sdk.ObjectStoragePath` takes it.
    :raises FalInvokeMediaError: there is no such storage.
    """

    def __init__(self, path: str) -> None:
        try:
            super().__init__(path)
        except Exception as error:  # each storage has errors of its own
            raise FalInvokeMediaError(
                f"output_path {path} cannot be used: {error}. Nothing was submitted, and nothing is paid."
            ) from error

    def __str__(self) -> str:
        return str(self._path)

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, None where there is no such file. Whatever else is wrong is raised."""
        try:
            data: bytes = self._fs.cat_file((self._path / name).path)
        except FileNotFoundError:
            return None
        return data

    def read_all(self, names: Sequence[str]) -> list[bytes | None]:
        """Return the bytes of several files, read side by side."""
        with ThreadPoolExecutor(_READS_AT_ONCE) as threads:
            return list(threads.map(self.read, names))

    @contextmanager
    def writing(self, name: str, content_type: str) -> Iterator[IO[bytes]]:
        """Give a local file to write to; it is brought here at the end of the ``with`` statement, or not at all."""
        with tempfile.TemporaryFile(prefix="falinvoke-") as local:
            yield local
            local.seek(0)
            target: Any = self.new_file(name, content_type)
            try:
                shutil.copyfileobj(local, target, _BLOCK)
                target.commit()
            except BaseException:
                target.discard()
                raise
