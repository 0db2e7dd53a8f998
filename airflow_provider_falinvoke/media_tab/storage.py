"""Read what a result names from its storage, a piece at a time, with the connections of the api-server."""

from __future__ import annotations

import os
from typing import Any

from airflow_provider_falinvoke.api.transfer import MediaFailedError
from airflow_provider_falinvoke.media.manifest import MediaFile
from airflow_provider_falinvoke.media.recognise import HEAD_BYTES, recognise
from airflow_provider_falinvoke.media_tab.roots import LONGEST, lies_within, place_of

#: Seconds that a storage may take for one answer; its own limits are those of a worker, which has time.
TIME_LIMIT = 5.0
#: These would have the api-server send requests to where a result says.
_REMOTE = ("http", "https", "ftp", "ftps", "sftp", "smb", "ssh", "webhdfs")


class NotShownError(Exception):
    """What is named cannot be shown.

    The message says why, which is for the api-server's log alone: it tells what lies in a storage that the reader may
    not know.
    """


class SlowStorageError(Exception):
    """A storage has not answered in time."""


class Stored:
    """A file in any storage.

    :param path: as :class:`~airflow.sdk.ObjectStoragePath` takes it.
    :raises NotShownError: it is not there, or cannot be reached, or is none that the tab may read.
    :raises SlowStorageError: the storage does not answer.
    """

    def __init__(self, path: str) -> None:
        from airflow.sdk import ObjectStoragePath

        self.path = path
        roots = media_roots()
        # First, because a path is enough to have a connection looked up.
        if len(path) > LONGEST or (roots is not None and not lies_within(path, roots)):
            raise NotShownError("it does not lie in [falinvoke] media_roots")
        try:
            place: Any = ObjectStoragePath(path)
            if place.protocol in _REMOTE:
                raise NotShownError("it is on another host, from which nothing is shown")
            if roots is not None and place.protocol in ("", "file", "local") and not _is_really_below(place, roots):
                raise NotShownError("a link leads out of [falinvoke] media_roots")
            self._fs, self._name = place.fs, place.path
            info = self._ask("info", self._name)
            if info.get("type") != "file":  # opening a pipe would hold a thread of the api-server for ever
                raise NotShownError("it is no file")
            self.size = int(info["size"])
        except FileNotFoundError:
            raise NotShownError("it is not there any more") from None
        except (NotShownError, SlowStorageError):
            raise
        except Exception as error:  # each storage has errors of its own
            raise NotShownError(f"it cannot be read by the api-server ({error!r})") from error

    def read(self, start: int, stop: int) -> bytes:
        """Return some bytes.

        :raises SlowStorageError: the storage does not answer.
        :raises OSError: it cannot be read.
        """
        try:
            data: bytes = self._ask("cat_file", self._name, start=start, end=stop)
        except (SlowStorageError, OSError):
            raise
        except Exception as error:  # each storage has errors of its own
            raise OSError(repr(error)) from error
        return data

    def _ask(self, call: str, *args: Any, **options: Any) -> Any:
        """Call the storage, and wait for so long and no longer, where it is one that can be left."""
        if not getattr(self._fs, "async_impl", False):
            return getattr(self._fs, call)(*args, **options)
        from fsspec.asyn import sync  # type: ignore[import-untyped]  # fsspec has no types
        from fsspec.exceptions import FSTimeoutError  # type: ignore[import-untyped]  # fsspec has no types

        try:
            return sync(self._fs.loop, getattr(self._fs, f"_{call}"), *args, timeout=TIME_LIMIT, **options)
        except FSTimeoutError as error:
            raise SlowStorageError(f"no answer within {TIME_LIMIT:g} s") from error


def media_roots() -> list[str] | None:
    """Return ``[falinvoke] media_roots``; None where the tab may read all that the api-server may."""
    from airflow.configuration import conf

    given = conf.get("falinvoke", "media_roots", fallback="").strip()
    return [root for one in given.split(",") if (root := one.strip())] if given else None


def _is_really_below(place: Any, roots: list[str]) -> bool:
    """Whether a local file lies in one of the roots once each link is followed."""
    local = ["/".join(root.segments) for one in roots if (root := place_of(one)) and root.protocol == "file"]
    return lies_within(os.path.realpath(place.path), [os.path.realpath(one or "/") for one in local])


def open_media(file: MediaFile) -> tuple[Stored, str]:
    """Return a file of a result, and its type.

    A result can be written by hand, and name any file that the api-server can read. So a file is shown only if it is
    what the result says that it is: of that size, and by its own bytes a picture, a sound or a film.

    :raises NotShownError: it is not.
    :raises SlowStorageError: the storage does not answer.
    """
    stored = Stored(file.path)
    if stored.size != file.size:
        raise NotShownError(f"it has {stored.size} bytes, and not the {file.size} that were saved")
    try:
        content_type = recognise(stored.read(0, min(stored.size, HEAD_BYTES)), None).content_type
    except (MediaFailedError, OSError) as error:
        raise NotShownError(f"its first bytes are none of a file of media ({error!r})") from error
    if content_type.partition("/")[0] not in ("image", "audio", "video"):
        raise NotShownError(f"a browser shows no {content_type}")
    return stored, content_type
