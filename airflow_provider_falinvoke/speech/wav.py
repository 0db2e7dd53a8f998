"""WAV files: enough to put sounds together without decoding them, whatever their headers say of their length."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

_BLOCK = 1 << 18
#: What comes before the sound is some kilobytes, a picture at the most; what has more is none of these.
_MOST_CHUNKS = 1000
_LARGEST_FORMAT = 1024
_RIFF_HEADER, _CHUNK_HEADER, _PLAIN_FORMAT, _EXTENSIBLE_FORMAT = 12, 8, 16, 40
_EXTENSIBLE = 0xFFFE
#: Formats of which each sample stands for itself. Their numbers come from Microsoft's mmreg.h.
_FORMATS = {1: "PCM", 3: "float", 6: "A-law", 7: "µ-law"}
#: What follows the number of a format in an extensible header.
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
_UNKNOWN = 0xFFFFFFFF
#: The header of a WAV file, wherever it stands.
_ANOTHER = re.compile(b"RIFF.{4}WAVE", re.DOTALL)
#: A WAV file counts its bytes in 32 bits.
LARGEST = 2**32 - 2**16


class WavError(ValueError):
    """This is no WAV file whose samples can be read, and why."""


@dataclass(frozen=True)
class Format:
    """How the samples are written.

    :param header: the bytes of the file's own ``fmt`` chunk.
    :param tag: the kind of samples.
    :param block: bytes of a sample of all channels.
    :param bits: of a sample of one channel, of which some may be unused.
    """

    header: bytes
    tag: int
    channels: int
    sample_rate: int
    block: int
    bits: int

    def __str__(self) -> str:
        room = 8 * self.block // self.channels
        bits = f"{self.bits} bits" + ("" if room == self.bits else f" in {room}")
        return f"WAV, {_FORMATS[self.tag]}, {bits}, {self.channels} channel(s), {self.sample_rate} Hz"


def open_sound(file: IO[bytes]) -> tuple[Format, Iterator[bytes]]:
    """Return how a file's samples are written, and the samples, in blocks of whole ones.

    A header that was written before the length was known (of a stream) has 0 or a largest number in its place: then the
    sound goes on to the end of the file.

    :raises WavError: it is not such a file.
    """
    head = file.read(_RIFF_HEADER)
    if not is_wav(head):
        raise WavError("it is no WAV file")
    riff = struct.unpack("<I", head[4:8])[0]
    at, form = _RIFF_HEADER, None
    for _ in range(_MOST_CHUNKS):
        start = file.read(_CHUNK_HEADER)
        if len(start) < _CHUNK_HEADER:
            break
        at += _CHUNK_HEADER
        name, size = start[:4], struct.unpack("<I", start[4:])[0]
        if name == b"data":
            if form is None:
                raise WavError("its sound comes before its format")
            # The whole is said to end here, or nowhere, and yet there is more.
            streamed = size == 0 and (riff + _CHUNK_HEADER <= at or riff == _UNKNOWN)
            return form, _samples(file, form.block, None if streamed else size)
        if name == b"fmt " and size <= _LARGEST_FORMAT:
            data = file.read(size + size % 2)
            form = _format(data[:size])
        else:
            file.seek(size + size % 2, 1)
        at += size + size % 2
    raise WavError("it holds no sound")


def is_wav(head: bytes) -> bool:
    """Whether a file that begins so is a WAV file."""
    return head[:4] == b"RIFF" and head[8:12] == b"WAVE"


def header(form: Format, size: int) -> bytes:
    """Return what comes before a sound of ``size`` bytes, which ends the file, with a byte more where that is odd."""
    # What is not PCM has to say how many samples there are.
    fact = b"" if form.tag == 1 else b"fact" + struct.pack("<II", 4, size // form.block)
    chunks = b"fmt " + struct.pack("<I", len(form.header)) + form.header + fact
    return b"RIFF" + struct.pack("<I", 4 + len(chunks) + 8 + size + size % 2) + b"WAVE" + chunks + _data(size)


def _data(size: int) -> bytes:
    return b"data" + struct.pack("<I", size)


def _format(data: bytes) -> Format:
    if len(data) < _PLAIN_FORMAT:
        raise WavError("its format is cut off")
    tag, channels, rate, _, block, bits = struct.unpack("<HHIIHH", data[:_PLAIN_FORMAT])
    end = _PLAIN_FORMAT
    if tag == _EXTENSIBLE and len(data) >= _EXTENSIBLE_FORMAT and data[26:_EXTENSIBLE_FORMAT] == _GUID_TAIL:
        tag, bits, end = struct.unpack("<H", data[24:26])[0], struct.unpack("<H", data[18:20])[0] or bits, len(data)
    if tag not in _FORMATS:
        raise WavError(f"its sound is compressed (format {tag:#x})")
    if not (channels and rate and block) or block % channels or bits > 8 * block // channels:
        raise WavError("its format contradicts itself")
    padded = data[:end] if tag == 1 or end > _PLAIN_FORMAT else data[:end] + b"\0\0"
    return Format(padded, tag, channels, rate, block, bits)


def _samples(file: IO[bytes], block: int, size: int | None) -> Iterator[bytes]:
    """Yield whole samples: ``size`` bytes of them, or to the end of the file.

    :raises WavError: another file follows, of which a player would hear nothing, or its header as a sound.
    """
    left, rest, before = size, b"", b""
    while data := file.read(_BLOCK if left is None else min(_BLOCK, left)):
        left = None if left is None else left - len(data)
        _refuse_another(before := before + data)
        before = before[1 - _RIFF_HEADER :]
        data = rest + data
        whole = len(data) // block * block
        rest = data[whole:]
        if whole:
            yield data[:whole]
    if left == 0:  # of an odd number of bytes, one more may come first
        _refuse_another(before + file.read(_RIFF_HEADER + 1))


def _refuse_another(data: bytes) -> None:
    if _ANOTHER.search(data):
        raise WavError("it is several files, one after the other")
