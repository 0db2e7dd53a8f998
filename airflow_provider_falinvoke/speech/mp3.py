"""The frames of MP3 files: enough to put sounds together without decoding them, and to know how long they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, NamedTuple

_BLOCK = 65_536
_HEADER = 4
#: Bit rates in kbit/s by the header's four bits, of layer III: MPEG 1, and MPEG 2 and 2.5.
_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_HERTZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_MPEG_1, _RESERVED, _LAYER_3 = 3, 1, 1
_ID3_HEADER = 10


class Frame(NamedTuple):
    """A frame's header.

    :param sound: what frames that follow one another must have in common: version, sample rate, mono or not.
    :param size: bytes, header included.
    :param seconds: how long it sounds.
    """

    sound: tuple[int, int, bool]
    size: int
    seconds: float


def frames(file: IO[bytes]) -> Iterator[tuple[Frame, bytes]]:
    """Yield the frames of sound in a file: without tags, and without the frame that only counts the others."""
    reader = _Reader(file)
    reader.skip_id3()
    first = True
    while frame := _next_frame(reader):
        data = reader.take(frame.size)
        if len(data) < frame.size:
            return  # cut off
        if not (first and any(mark in data[:200] for mark in (b"Xing", b"Info", b"VBRI"))):
            yield frame, data
        first = False


def header(data: bytes) -> Frame | None:
    """Return what four bytes say, or None where they are no header of a layer III frame."""
    if len(data) < _HEADER or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:  # noqa: PLR2004 - eleven bits that are set
        return None
    version, layer = (data[1] >> 3) & 3, (data[1] >> 1) & 3
    rate, hertz, padding, mode = data[2] >> 4, (data[2] >> 2) & 3, (data[2] >> 1) & 1, data[3] >> 6
    rates = _RATES_1 if version == _MPEG_1 else _RATES_2
    if version == _RESERVED or layer != _LAYER_3 or rate in (0, len(rates)) or hertz not in range(len(_HERTZ[0])):
        return None
    samples = 1152 if version == _MPEG_1 else 576
    per_second = _HERTZ[version][hertz]
    size = samples // 8 * rates[rate] * 1000 // per_second + padding
    return Frame((version, per_second, mode == 3), size, samples / per_second)  # noqa: PLR2004 - 3 is mono


def _next_frame(reader: _Reader) -> Frame | None:
    """Go on to the next header that another one, or the end, follows; a tag or damage in between is passed over."""
    while len(start := reader.peek(_HEADER)) == _HEADER:
        if frame := header(start):
            after = reader.peek(frame.size + _HEADER)[frame.size :]
            if len(after) < _HEADER or header(after) or after.startswith((b"TAG", b"APE")):
                return frame
        reader.take(reader.distance_to(b"\xff"))
    return None


class _Reader:
    """Reads a file in blocks, and looks ahead."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._buffer = b""
        self._at = 0

    def peek(self, size: int) -> bytes:
        if len(self._buffer) - self._at < size:
            more = self._file.read(max(_BLOCK, size))
            self._buffer = self._buffer[self._at :] + more
            self._at = 0
        return self._buffer[self._at : self._at + size]

    def take(self, size: int) -> bytes:
        data = self.peek(size)
        self._at += len(data)
        return data

    def distance_to(self, mark: bytes) -> int:
        """Return how far the next mark in sight is, at least 1."""
        found = self._buffer.find(mark, self._at + 1)
        return (len(self._buffer) if found < 0 else found) - self._at

    def skip_id3(self) -> None:
        head = self.peek(_ID3_HEADER)
        if len(head) == _ID3_HEADER and head.startswith(b"ID3"):
            size = _ID3_HEADER + sum(
                (byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
            )
            while size > 0 and (skipped := len(self.take(min(size, _BLOCK)))):
                size -= skipped
