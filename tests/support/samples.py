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


def track(handler: bytes) -> bytes:
    """Return the entry of a film's index for a track: of ``soun`` or ``vide``."""
    return box(b"trak", box(b"tkhd", bytes(84)), box(b"mdia", box(b"hdlr", bytes(8), handler, bytes(13))))


def film(*handlers: bytes, brand: bytes = b"isom") -> bytes:
    """Return a film that lists its tracks, and has nothing in them."""
    start = box(b"ftyp", brand, bytes(4), brand)
    return start + box(b"moov", box(b"mvhd", bytes(100)), *map(track, handlers)) + box(b"mdat", bytes(50))


def webm(*types: int, document: bytes = b"webm") -> bytes:
    """Return a WebM file (or Matroska) of tracks of these types: 1 is a film's, 2 a sound's."""

    def element(name: int, content: bytes, *, open_end: bool = False) -> bytes:
        size = b"\xff" if open_end else (len(content) | 0x4000).to_bytes(2, "big")
        return name.to_bytes((name.bit_length() + 7) // 8, "big") + size + content

    tracks = b"".join(element(0xAE, element(0xD7, b"\1") + element(0x83, bytes([kind]))) for kind in types)
    inside = element(0xEC, bytes(60)) + element(0x1654AE6B, tracks) + element(0x1F43B675, bytes(90), open_end=True)
    header = element(0x1A45DFA3, element(0x4286, b"\1") + element(0x4282, document))
    return header + element(0x18538067, inside, open_end=True)


def id3(size: int = 300) -> bytes:
    """Return a tag of ``size`` bytes, as it stands before a sound."""
    return b"ID3\4\0\0" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0)) + bytes(size)


def aac(frames: int = 5) -> bytes:
    """Return frames of AAC with nothing in them, at 44.1 kHz."""
    return (b"\xff\xf1\x50\x80\x08\x00\xfc" + bytes(57)) * frames


def mp3_of_mpeg_25(frames: int = 5) -> bytes:
    """Return silence at 8 kbit/s and 8 kHz."""
    return (b"\xff\xe3\x18\xc4" + bytes(68)) * frames


def ogg(seconds: float = 2.0, rate: int = 48_000) -> bytes:
    """Return an Opus file of three pages without a sound."""

    def page(number: int, kind: int, position: int, content: bytes) -> bytes:
        lengths = bytes([len(content)])
        return b"OggS\0" + bytes([kind]) + struct.pack("<qIII", position, 1, number, 0) + b"\1" + lengths + content

    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 0, rate, 0, 0)
    tags = b"OpusTags" + struct.pack("<II", 0, 0)
    return page(0, 2, 0, head) + page(1, 0, 0, tags) + page(2, 4, round(seconds * rate), bytes(10))
