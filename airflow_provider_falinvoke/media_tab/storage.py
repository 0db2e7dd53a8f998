"""Read what a result names from its storage, a piece at a time, with the connections of the api-server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from airflow_provider_falinvoke.api.transfer import MediaFailedError
from airflow_provider_falinvoke.media.manifest import MediaFile
from airflow_provider_falinvoke.media.recognise import HEAD_BYTES, recognise
from airflow_provider_falinvoke.media_tab.ranges import Span

#: So much of a file is held in memory.
BLOCK = 1 << 18
#: These would have the api-server send requests to where a result says.
_REMOTE = ("http", "https", "ftp", "ftps", "sftp", "smb", "ssh", "webhdfs")


class NotShownError(Exception):
    """What is named cannot be shown; the message says why, without a word of what lies there."""


class Stored:
    """A file in any storage.

    :param path: as :class:`~airflow.sdk.ObjectStoragePath` takes it.
    :raises NotShownError: it is not there, or cannot be reached.
    """

    def __init__(self, path: str) -> None:
        from airflow.sdk import ObjectStoragePath

        self.path = path
        try:
            place: Any = ObjectStoragePath(path)
            if place.protocol in _REMOTE:
                raise NotShownError(f"{path} is on another host, from which nothing is shown.")
            self._fs, self._name = place.fs, place.path
            info = self._fs.info(self._name)
            if info.get("type") != "file":  # opening a pipe would hold a thread of the api-server for ever
                raise NotShownError(f"{path} is no file.")
            self.size = int(info["size"])
        except FileNotFoundError:
            raise NotShownError(f"{path} is not there any more.") from None
        except NotShownError:
            raise
        except Exception as error:  # each storage has errors of its own
            raise NotShownError(f"{path} cannot be read by the api-server ({type(error).__name__}).") from error

    def read(self, start: int, stop: int) -> bytes:
        """Return some bytes."""
        data: bytes = self._fs.cat_file(self._name, start=start, end=stop)
        return data

    def blocks(self, span: Span) -> Iterator[bytes]:
        """Yield bytes, a block at a time."""
        with closing(self._fs.open(self._name, "rb", block_size=BLOCK)) as file:
            file.seek(span.start)
            left = span.stop - span.start
            while left > 0 and (block := file.read(min(BLOCK, left))):
                left -= len(block)
                yield block


def open_media(file: MediaFile) -> tuple[Stored, str]:
    """Return a file of a result, and its type.

    A result can be written by hand, and name any file that the api-server can read. So a file is shown only if it is
    what the result says that it is: of that size, and by its own bytes a picture, a sound or a film.

    :raises NotShownError: it is not.
    """
    stored = Stored(file.path)
    if stored.size != file.size:
        raise NotShownError(f"{file.path} is not the file that was saved: it has {stored.size} bytes, not {file.size}.")
    try:
        content_type = recognise(stored.read(0, min(stored.size, HEAD_BYTES)), None).content_type
    except (MediaFailedError, OSError):
        content_type = ""
    if content_type.partition("/")[0] not in ("image", "audio", "video"):
        raise NotShownError(f"{file.path} is not a picture, a sound or a film that a browser shows.")
    return stored, content_type
