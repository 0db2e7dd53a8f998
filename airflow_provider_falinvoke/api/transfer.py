"""How far a file's transfer got, and what a response does to it: whole, resumed, refused. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

import httpx

#: The largest file, and the time for one with all tries, where nobody says otherwise.
DEFAULT_MAX_BYTES, DEFAULT_SECONDS = 2 << 30, 600.0
_OK, _PARTIAL, _NO_SUCH_RANGE = 200, 206, 416
#: What a host of media answers for good: most of all, that the URL expired.
_GONE = frozenset(range(400, 500)) - {408, _NO_SUCH_RANGE, 425, 429}

#: Hosts and object stores put other words into Content-Encoding too (aws-chunked, utf-8), which change no byte.
_COMPRESSIONS = frozenset(["gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd", "dcb", "dcz"])


class MediaFailedError(Exception):
    """A file could not be brought home; the message says why, and not which one.

    :param gone: whether its host will not have it later either.
    :param lasting: whether another try would meet the same.
    """

    def __init__(self, message: str, *, gone: bool = False, lasting: bool = False) -> None:
        super().__init__(message)
        self.gone = gone
        self.lasting = lasting


class PassingError(Exception):
    """This try failed; another one may not.

    :param after: seconds that the host asks to wait before the next one.
    """

    def __init__(self, message: str, *, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


@dataclass
class Transfer:
    """How much of a file there is, and whether the rest of it can be had alone.

    :param max_bytes: the largest file.
    """

    max_bytes: int
    size: int = 0
    total: int | None = None
    validator: str | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers of the next request."""
        # A compressed body could be a thousand times as long as what was counted, and a range of it is of no use.
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if self.size and self.validator:
            headers |= {"Range": f"bytes={self.size}-", "If-Range": self.validator}
        return headers

    def begin(self, status: int, headers: httpx.Headers) -> bool:
        """Read the start of a response; return whether the file comes from its start.

        :raises MediaFailedError: the host does not give it, or it is too large.
        :raises PassingError: the host may give it another time.
        """
        if status in _GONE:
            raise MediaFailedError(f"its host answered {status} (such URLs expire)", gone=True)
        if status == _NO_SUCH_RANGE:
            self._forget()
        if status not in (_OK, _PARTIAL):
            raise PassingError(f"its host answered {status}", after=float(_number(headers.get("retry-after")) or 0))
        encoding = headers.get("content-encoding", "").lower()
        if not _COMPRESSIONS.isdisjoint(re.split(r"[,\s]+", encoding)):
            raise MediaFailedError(f"its host sent it compressed ({encoding[:40]!r}), which it was asked not to do")
        if status == _PARTIAL:
            if not self._continues(headers):
                self._forget()
                raise PassingError("its host sent another part of the file than it was asked for")
            return False
        self._forget()
        self.total, self.validator = _number(headers.get("content-length")), _validator_of(headers)
        if self.total is not None and self.total > self.max_bytes:
            raise self._too_large()
        return True

    def take(self, count: int) -> None:
        """Count bytes that came.

        :raises MediaFailedError: they are too many.
        """
        self.size += count
        if self.size > self.max_bytes:
            raise self._too_large()

    def end(self) -> None:
        """Make sure that all of it came, where the host said how much that is.

        :raises PassingError: it did not.
        """
        if self.total is not None and self.size != self.total:
            raise PassingError(f"{self.size} of {self.total} bytes came")

    def _continues(self, headers: httpx.Headers) -> bool:
        """Whether a 206 brings what is missing, all of it, of the same version of the file."""
        match = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", headers.get("content-range", "").strip())
        if match is None or self.validator is None:
            return False
        first, last = int(match[1]), int(match[2])
        total = last + 1 if match[3] == "*" else int(match[3])
        same = headers.get("etag", self.validator) == self.validator or not self.validator.startswith('"')
        return same and first == self.size > 0 and last + 1 == total and self.total in (None, total)

    def _forget(self) -> None:
        self.size, self.total, self.validator = 0, None, None

    def _too_large(self) -> MediaFailedError:
        return MediaFailedError(f"it is larger than {self.max_bytes} bytes (max_file_size)", lasting=True)


def _validator_of(headers: httpx.Headers) -> str | None:
    """Return what tells this version of a file from another, byte for byte."""
    etag = headers.get("etag", "")
    return etag if etag.startswith('"') else headers.get("last-modified") if not etag else None


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,18}", text) else None
