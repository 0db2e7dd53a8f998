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
from airflow_provider_falinvoke.media.containers import Kind, kind_of

#: So many bytes decide a file's type: tags with pictures, and the tracks of a film, may come first.
HEAD_BYTES = 1 << 20
#: So many tell a text from what is none.
_TEXT = 8192
#: So much of a file's start and end is kept to read its measures from.
_START, _END = 2 << 20, 1 << 20
#: Names that the library gives beside the registered ones.
_REGISTERED = {"audio/x-wav": "audio/wav", "audio/x-flac": "audio/flac", "audio/x-aiff": "audio/aiff"}
#: What the libraries read: of other formats they know nothing, and would search the file for it.
_MEASURED_PICTURES = frozenset({"png", "apng", "jpg", "gif", "webp", "tif", "avif", "heic", "jp2", "bmp"})
_MEASURED_SOUNDS = frozenset({"mp3", "wav", "flac", "ogg", "m4a", "mp4", "m4v", "mov", "aiff"})
_CONTROLS = bytes(set(range(32)) - {*b"\t\n\f\r\x1b"}) + b"\x7f"
_MOSTLY = 0.7
#: What may come before an SVG's first tag, and that tag.
_OPENING = re.compile(rb"(?i)\s*(<\?|<!--|<!doctype\s+svg\b[^>\[]*>|<svg\b)")
#: What the library takes for a kind by two to four bytes, which a sound of no format begins with as well.
_TOLD_BETTER = frozenset(["mp3", "aac", "ico", "bmp", "mp4", "m4a", "mov", "m4v", "mkv", "webm", "avif", "heic"])


#: Kept, because it is paid for, under a name that no program opens by itself.
UNKNOWN = Kind("application/octet-stream", ".bin")


def recognise(head: bytes, declared: str | None, *, quote: bool = True) -> Kind:
    """Return the type of a file.

    :param head: its first ``HEAD_BYTES``, or all of it.
    :param declared: what the output says; it decides only whether an SVG is meant to be one, and where the bytes leave
        a question open: whether a film without a list of its tracks is a sound.
    :param quote: whether the error may show what a text says.
    :return: the type of a picture, a sound, a film or a 3D model; ``UNKNOWN`` for any other binary.
    :raises MediaFailedError: it is empty, or a text: an error page, say, under an image's name.
    """
    if not head:
        raise MediaFailedError("it is empty")
    said = (declared or "").partition(";")[0].strip().lower()
    if _is_text(head[:_TEXT]):  # first, because the library takes two letters for a kind: "GIF", "ID3"
        if said == "image/svg+xml" and _is_svg(head):
            return Kind("image/svg+xml", ".svg")
        if not quote:
            raise MediaFailedError("it is a text and not a file of media")
        raise MediaFailedError(f"it is a text and not a file of media; it says: {read_error_body(head[:_TEXT])}")
    return kind_of(head, said) or _by_library(head) or UNKNOWN


def _by_library(head: bytes) -> Kind | None:
    import filetype

    found = filetype.guess(head[:_TEXT])
    if found is None or found.extension in _TOLD_BETTER or found.mime.split("/")[0] not in ("image", "audio", "video"):
        return None
    return Kind(_REGISTERED.get(found.mime, found.mime), f".{found.extension}")


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        decoded = head[: len(head) // 2 * 2].decode("utf-16", "replace")[:-1]
        # Samples of a sound are characters too, but not all of them such as a text has.
        return "\ufffd" not in decoded and "".join(decoded.split()).isprintable()
    if head.translate(None, _CONTROLS) != head:
        return False
    try:
        head[:-4].decode()  # the last character may be cut
        return True
    except UnicodeDecodeError:
        return sum(byte < 128 for byte in head) > _MOSTLY * len(head)  # noqa: PLR2004 - the end of ASCII


def _is_svg(text: bytes) -> bool:
    """Whether nothing but comments and the like comes before an SVG's first tag. No byte is looked at twice."""
    at = len(b"\xef\xbb\xbf") if text.startswith(b"\xef\xbb\xbf") else 0
    while opening := _OPENING.match(text, at):
        if opening[1][:4].lower() == b"<svg":
            return True
        at = opening.end()
        if closing := {b"<?": b"?>", b"<!--": b"-->"}.get(opening[1]):
            end = text.find(closing, at)
            if end < 0:
                return False
            at = end + len(closing)
    return False


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
