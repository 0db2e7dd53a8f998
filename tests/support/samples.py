"""Small real files of each kind, made here."""

from __future__ import annotations

import io
import struct
import wave

from PIL import Image


def picture(form: str, size: tuple[int, int] = (30, 20)) -> bytes:
    """Return a picture in a format of Pillow's."""
    target = io.BytesIO()
    Image.effect_noise(size, 50).convert("RGB").save(target, form)
    return target.getvalue()


def wav(seconds: float, rate: int = 8000) -> bytes:
    """Return silence, 16 bits, mono."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(2 * round(seconds * rate)))
    return target.getvalue()


def mp3(frames: int = 100) -> bytes:
    """Return silence at 128 kbit/s and 44.1 kHz: 1152 samples a frame."""
    return (b"\xff\xfb\x90\xc4" + bytes(413)) * frames


def flac(seconds: int = 3, rate: int = 44_100) -> bytes:
    """Return a FLAC file's header, without a sound."""
    bits = rate << 44 | 0 << 41 | 15 << 36 | seconds * rate
    info = struct.pack(">HH", 4096, 4096) + bytes(6) + bits.to_bytes(8, "big") + bytes(16)
    return b"fLaC" + b"\x80" + len(info).to_bytes(3, "big") + info + bytes(100)


def box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", len(body) + 8) + name + body


def mp4(seconds: int = 5, *, brand: bytes = b"isom", filler: int = 0, index_last: bool = False) -> bytes:
    """Return a film without a picture in it; ``filler`` bytes of data, before its index or after."""
    index = box(b"moov", box(b"mvhd", bytes(12), struct.pack(">II", 1000, seconds * 1000), bytes(80)))
    data = box(b"mdat", bytes(filler))
    start = box(b"ftyp", brand, bytes(4), brand)
    return start + (data + index if index_last else index + data)


def ogg(seconds: float = 2.0, rate: int = 48_000) -> bytes:
    """Return an Opus file of three pages without a sound."""

    def page(number: int, kind: int, position: int, content: bytes) -> bytes:
        lengths = bytes([len(content)])
        return b"OggS\0" + bytes([kind]) + struct.pack("<qIII", position, 1, number, 0) + b"\1" + lengths + content

    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 0, rate, 0, 0)
    tags = b"OpusTags" + struct.pack("<II", 0, 0)
    return page(0, 2, 0, head) + page(1, 0, 0, tags) + page(2, 4, round(seconds * rate), bytes(10))
