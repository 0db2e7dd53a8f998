"""A folder in any storage: many small files read side by side, and files that are written here first."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import IO, Any

from airflow_provider_falinvoke.exceptions import FalInvokeMediaError
from airflow_provider_falinvoke.media.store import Folder as MediaFolder

#: Files that are read, or removed, side by side.
_AT_ONCE = 16
_BLOCK = 1 << 20


class Folder(MediaFolder):
    """A folder that is there for sure, and more ways to read and write in it.

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

    def read_all(self, names: Sequence[str]) -> list[bytes | None]:
        """Return the bytes of several files, read side by side."""
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            return list(threads.map(self.read, names))

    def remove_all(self, names: Sequence[str]) -> None:
        """Remove files that nothing needs any more, side by side; one that cannot be removed does no harm."""
        if names:
            with ThreadPoolExecutor(_AT_ONCE) as threads:
                list(threads.map(self._removed, names))

    def _removed(self, name: str) -> None:
        with suppress(Exception):  # each storage has errors of its own, for a file that is gone too
            self.remove(name)

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
