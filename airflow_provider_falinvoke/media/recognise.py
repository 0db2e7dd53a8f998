"""What a file is, from its own bytes: what hosts, URLs and outputs say of it may be wrong, or a trap."""

from __future__ import annotations

import io
import math
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_provider_falinvoke.api.replies import read_error_body
from airflow_provider_falinvoke.api.transfer import MediaFailedError

#: So many bytes decide a file's type.
HEAD_BYTES = 8192
#: So much of a file's start and end is kept to read its measures from.
_START, _END = 2 << 20, 1 << 20
#: Names that the library gives beside the registered ones.
_REGISTERED = {"audio/x-wav": "audio/wav", "audio/x-flac": "audio/flac", "audio/x-aiff": "audio/aiff"}
#: What the libraries read: of other formats they know nothing, and would search the file for it.
_MEASURED_PICTURES = frozenset({"png", "apng", "jpg", "gif", "webp", "tif", "avif", "heic", "jp2", "bmp"})
_MEASURED_SOUNDS = frozenset({"mp3", "wav", "flac", "ogg", "m4a", "mp4", "m4v", "mov", "aiff"})
_CONTROLS = bytes(set(range(32)) - {*b"\t\n\f\r\x1b"}) + b"\x7f"
_MOSTLY = 0.7
_SVG = re.compile(rb"(?is)\s*(<\?xml.*?\?>|<!--.*?-->|<!doctype\s+svg\b[^>\[]*>|\s)*<svg\b")


@dataclass(frozen=True)
class Kind:
    """A file's type.

    :param extension: with its dot.
    """

    content_type: str
    extension: str


#: Kept, because it is paid for, under a name that no program opens by itself.
UNKNOWN = Kind("application/octet-stream", ".bin")


def recognise(head: bytes, declared: str | None) -> Kind:
    """Return the type of a file.

    :param head: its first ``HEAD_BYTES``, or all of it.
    :param declared: what the output says; it decides nothing but whether an SVG is meant to be one.
    :return: the type of a picture, a sound or a film; ``UNKNOWN`` for any other binary.
    :raises MediaFailedError: it is empty, or a text: an error page, say, under an image's name.
    """
    import filetype

    if not head:
        raise MediaFailedError("it is empty")
    if _is_text(head):  # first, because the library takes two letters for a kind: "BM" of "BMW", "GIF", "ID3"
        if declared and declared.lower().startswith("image/svg+xml") and _SVG.match(head.removeprefix(b"\xef\xbb\xbf")):
            return Kind("image/svg+xml", ".svg")
        raise MediaFailedError(f"it is a text and not a file of media; it says: {read_error_body(head)}")
    found = filetype.guess(head)
    if found is not None and found.mime.split("/")[0] in ("image", "audio", "video"):
        return Kind(_REGISTERED.get(found.mime, found.mime), f".{found.extension}")
    return UNKNOWN


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        decoded = head[: len(head) // 2 * 2].decode("utf-16", "replace")
        return "\ufffd" not in decoded[:-1]
    if head.translate(None, _CONTROLS) != head:
        return False
    try:
        head[:-4].decode()  # the last character may be cut
        return True
    except UnicodeDecodeError:
        return sum(byte < 128 for byte in head) > _MOSTLY * len(head)  # noqa: PLR2004 - the end of ASCII


@dataclass(frozen=True)
class Measures:
    """What can be told of a picture or a sound; None for what does not apply, or cannot be read.

    :param width: pixels.
    :param height: pixels.
    :param duration: seconds.
    :param sample_rate: Hz.
    """

    width: int | None = None
    height: int | None = None
    duration: float | None = None
    sample_rate: int | None = None


class Ends:
    """The start and the end of a file that goes by, to read its measures from without reading it back."""

    def __init__(self) -> None:
        self.size = 0
        self._start = bytearray()
        self._last: deque[bytes] = deque()
        self._last_bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self.size += len(chunk)
        if len(self._start) < _START:
            self._start += chunk[: _START - len(self._start)]
        self._last.append(chunk)
        self._last_bytes += len(chunk)
        while self._last_bytes - len(self._last[0]) >= _END:
            self._last_bytes -= len(self._last.popleft())

    def measure(self, kind: Kind) -> Measures:
        """Return what the file's start and end tell of it. A file that misleads its reader costs its measures."""
        extension = kind.extension[1:]
        if extension in _MEASURED_PICTURES:
            return _none_if_unreadable(self._measure_picture)
        if extension in _MEASURED_SOUNDS:
            return _none_if_unreadable(self._measure_sound)
        return Measures()

    def _measure_picture(self) -> Measures:
        import imagesize

        width, height = imagesize.get(io.BytesIO(self._start))
        return Measures(width=_positive(width), height=_positive(height))

    def _measure_sound(self) -> Measures:
        from tinytag import TinyTag

        view: Any = _View(self.size, bytes(self._start), b"".join(self._last))
        tag = TinyTag.get(file_obj=view, tags=False)
        duration = tag.duration if tag.duration and math.isfinite(tag.duration) and tag.duration > 0 else None
        if duration and (tag.bitrate or 0) * 1000 / 8 * duration > 1.1 * self.size:
            duration = None  # a length that was not known yet when the header was written
        return Measures(duration=duration and round(duration, 3), sample_rate=_positive(tag.samplerate))


def _none_if_unreadable(measure: Callable[[], Measures]) -> Measures:
    try:
        return measure()
    except Exception:  # a parser's errors on a broken or hostile file are of any kind, and the file is paid for
        return Measures()


def _positive(number: Any) -> int | None:
    return int(number) if isinstance(number, (int, float)) and 0 < number < math.inf else None


class _View(io.RawIOBase):
    """A file of which only the start and the end are there; reading what is between is an error, not an end."""

    def __init__(self, size: int, start: bytes, end: bytes) -> None:
        self._size, self._start, self._end = size, start, end
        self._at = 0

    def read(self, size: int | None = -1) -> bytes:
        first = min(self._at, self._size)
        last = self._size if size is None or size < 0 else min(first + size, self._size)
        if last <= len(self._start):
            data = self._start[first:last]
        elif first >= (offset := self._size - len(self._end)):
            data = self._end[first - offset : last - offset]
        else:
            raise OSError("this part of the file was not kept")
        self._at = last
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if at < 0:
            raise OSError("before the start of the file")
        self._at = at
        return at

    def tell(self) -> int:
        return self._at
