"""The frames of MP3 files: enough to put sounds together without decoding them, and to know how long they are."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import IO, NamedTuple

_BLOCK = 65_536
_HEADER = 4
#: Bit rates in kbit/s by the header's four bits, of layer III: MPEG 1, and MPEG 2 and 2.5.
_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_HERTZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_MPEG_1, _RESERVED, _LAYER_3, _MONO = 3, 1, 1, 3
_TAG_HEADER = 10
#: What is neither frames nor tags is passed over; a file with more of it than that is no MP3 file.
_MOST_DAMAGE = 1 << 20
#: Places in a table of contents: one for each hundredth of the time.
PLACES = 100
#: After the header of an Xing frame: its mark and its flags, frames, bytes, and the table.
_XING = 4 + 4 + 4 + 4 + PLACES
_HAS_FRAMES, _HAS_BYTES, _HAS_TABLE = 1, 2, 4
_COUNTS = (b"Xing", b"Info", b"VBRI")
#: Where the last of these stands, whatever the frame.
_VBRI = 36


class DamagedError(ValueError):
    """There is too much in a file that is no sound."""


class Sound(NamedTuple):
    """What frames that follow one another must have in common."""

    version: int
    sample_rate: int
    mono: bool

    def __str__(self) -> str:
        return f"MP3, {'mono' if self.mono else 'stereo'}, {self.sample_rate} Hz"


class Frame(NamedTuple):
    """A frame's header.

    :param rate: the bit rate, as the header has it.
    :param size: bytes, header included.
    :param seconds: how long it sounds.
    """

    sound: Sound
    rate: int
    size: int
    seconds: float


def frames(file: IO[bytes]) -> Iterator[tuple[Frame, bytes]]:
    """Yield the frames of sound in a file: without tags, and without the frame that only counts the others.

    :raises DamagedError: it is hardly an MP3 file.
    """
    reader = _Reader(file)
    first = True
    while frame := _next_frame(reader):
        data = reader.take(frame.size)
        if not (first and _counts(data)):
            yield frame, data
        first = False


@lru_cache(maxsize=1024)
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
    return Frame(Sound(version, per_second, mode == _MONO), rate, size, samples / per_second)


def counting_frame(first: bytes, *, count: int, size: int, steady: bool, places: Sequence[int]) -> bytes:
    """Return the frame that goes before all others, and tells players how long the sound is, and where to seek.

    :param first: the first frame of sound.
    :param count: how many frames there are.
    :param size: their bytes.
    :param steady: whether all of them have the same bit rate.
    :param places: how many bytes come before each hundredth of the frames, :data:`PLACES` in all; empty before that is
        known, which takes as many bytes.
    """
    # Without a checksum, and without padding; a rate that leaves room, the sound's own if it does.
    head = bytes((first[0], first[1] | 1, first[2] & 0xFD, first[3] & 0xCF))
    needed = _HEADER + _side_size(head) + _XING
    rate = next(
        one
        for one in (head[2] >> 4, *range(1, len(_RATES_1)))
        if (frame := header(_with_rate(head, one))) and frame.size >= needed
    )
    head = _with_rate(head, rate)
    frame = header(head)
    assert frame is not None
    size += frame.size
    table = bytes(min(255, (frame.size + place) * 256 // size) for place in places).ljust(PLACES, b"\0")
    mark = b"Info" if steady else b"Xing"
    told = struct.pack(">III", _HAS_FRAMES | _HAS_BYTES | _HAS_TABLE, count, min(size, 2**32 - 1))
    return (head + bytes(_side_size(head)) + mark + told + table).ljust(frame.size, b"\0")


def _counts(data: bytes) -> bool:
    """Whether a first frame counts the others and holds no sound; a checksum may come before its mark."""
    side = _HEADER + _side_size(data)
    return any(data.startswith(_COUNTS, place) for place in (side, side + 2, _VBRI))


def _with_rate(head: bytes, rate: int) -> bytes:
    return bytes((head[0], head[1], rate << 4 | head[2] & 0x0F, head[3]))


def _side_size(head: bytes) -> int:
    """Return how many bytes of a frame, after its header, tell where its sound is."""
    mono = head[3] >> 6 == _MONO
    if (head[1] >> 3) & 3 == _MPEG_1:
        return 17 if mono else 32
    return 9 if mono else 17


def _next_frame(reader: _Reader) -> Frame | None:
    """Go on to the next frame; tags and damage before it are passed over.

    One that follows another directly is believed by its header; after anything else, another one, or the end of the
    file, has to follow.
    """
    while len(start := reader.peek(_HEADER)) == _HEADER:
        if frame := header(start):
            whole, in_step = reader.peek(frame.size + _HEADER), frame.sound == reader.sound
            if in_step and len(whole) < frame.size:
                return None  # cut off
            after = header(whole[frame.size : frame.size + _HEADER])
            follows = len(whole) == frame.size or (after is not None and after.sound == frame.sound)
            if len(whole) >= frame.size and (follows or in_step or _is_tag(whole[frame.size :])):
                reader.sound = frame.sound
                return frame
        if not reader.skip_tag():
            reader.sound = None
            reader.damage += len(reader.take(reader.distance_to(b"\xff")))
            if reader.damage > _MOST_DAMAGE:
                raise DamagedError(f"more than {_MOST_DAMAGE} bytes of it are no sound")
    return None


def _is_tag(data: bytes) -> bool:
    return data.startswith((b"TAG", b"APE", b"ID3", b"LYR"))


class _Reader:
    """Reads a file in blocks, and looks ahead.

    :ivar sound: of the frame that was taken last, if nothing else was since.
    :ivar damage: bytes that were passed over.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.sound: Sound | None = None
        self.damage = 0
        self._file = file
        self._buffer = b""
        self._at = 0
        self._ended = False

    def peek(self, size: int) -> bytes:
        if len(self._buffer) - self._at < size and not self._ended:
            more = self._file.read(max(_BLOCK, size))
            self._ended = not more
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

    def skip_tag(self) -> bool:
        """Skip an ID3 tag, if one is next."""
        head = self.peek(_TAG_HEADER)
        if len(head) < _TAG_HEADER or not head.startswith(b"ID3") or max(head[6:]) > 0x7F:  # noqa: PLR2004 - seven bits
            return False
        size = sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        size += _TAG_HEADER * (2 if head[5] & 0x10 else 1)  # it may have a footer
        while size > 0 and (skipped := len(self.take(min(size, _BLOCK)))):
            size -= skipped
        return True
