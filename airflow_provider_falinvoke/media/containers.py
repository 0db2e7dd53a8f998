"""Which kind of file it is, where a few first letters do not tell: by brands, tracks and frames. Pure, and linear."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

# ruff: noqa: PLR2004 - the formats' own numbers


@dataclass(frozen=True)
class Kind:
    """A file's type.

    :param extension: with its dot.
    """

    content_type: str
    extension: str


FLAC, AAC, MP3 = Kind("audio/flac", ".flac"), Kind("audio/aac", ".aac"), Kind("audio/mpeg", ".mp3")
_JXL = Kind("image/jxl", ".jxl")
_AVIF, _HEIC = Kind("image/avif", ".avif"), Kind("image/heic", ".heic")
#: By the first brand that the file names.
_BRANDS = {
    b"avif": _AVIF,
    b"avis": _AVIF,
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), _HEIC),
    b"M4A ": Kind("audio/mp4", ".m4a"),
    b"M4B ": Kind("audio/mp4", ".m4b"),
    b"M4V ": Kind("video/x-m4v", ".m4v"),
    b"qt  ": Kind("video/quicktime", ".mov"),
    b"3gp4": Kind("video/3gpp", ".3gp"),
    b"3gp5": Kind("video/3gpp", ".3gp"),
    b"3gp6": Kind("video/3gpp", ".3gp"),
}
_BMP_HEADERS = frozenset((12, 40, 52, 56, 64, 108, 124))
_MP4_BRANDS = (b"iso", b"mp4", b"avc1", b"dash", b"MSNV", b"cmf")
#: A film's kind, and that of the same container with nothing but sound in it.
_MP4 = Kind("video/mp4", ".mp4"), Kind("audio/mp4", ".m4a")
_WEBM = Kind("video/webm", ".webm"), Kind("audio/webm", ".weba")
_MATROSKA = Kind("video/x-matroska", ".mkv"), Kind("audio/x-matroska", ".mka")
#: Elements of Matroska.
_HEADER, _DOC_TYPE, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x4282, 0x18538067, 0x1F43B675
_TRACKS, _TRACK, _TRACK_TYPE = 0x1654AE6B, 0xAE, 0x83
#: What comes before the first picture or sound has no more boxes than that.
_MOST = 4096


def _iso_kind(head: bytes, declared: str) -> Kind | None:
    name, first, last = next(_boxes(head, 0, len(head)), (b"", 0, 0))
    brands = [head[at : at + 4] for at in (first, *range(first + 8, last, 4))] if name == b"ftyp" else []
    if brands[:1] in ([b"mif1"], [b"msf1"]):
        return next((_BRANDS[brand] for brand in brands if _BRANDS.get(brand) in (_AVIF, _HEIC)), None)
    if brands and brands[0] in _BRANDS:
        return _BRANDS[brands[0]]
    if not any(brand.startswith(_MP4_BRANDS) for brand in brands):
        return None
    handlers = {head[at + 8 : at + 12] for at, _ in _inside(head, (b"moov", b"trak", b"mdia", b"hdlr"))}
    return _film_or_sound(_MP4, b"soun" in handlers, b"vide" in handlers, declared)


def _inside(head: bytes, path: tuple[bytes, ...]) -> Iterator[tuple[int, int]]:
    """Yield where the boxes at the end of a path of names begin and end."""
    found = [(0, len(head))]
    for wanted in path:
        found = [(first, last) for outer in found for name, first, last in _boxes(head, *outer) if name == wanted]
    yield from found


def _boxes(head: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, start and end of each box of ISO's base media format."""
    for _ in range(_MOST):
        size, name, first = int.from_bytes(head[at : at + 4], "big"), head[at + 4 : at + 8], at + 8
        if size == 1:
            size, first = int.from_bytes(head[at + 8 : at + 16], "big"), at + 16
        if first > end or (size and size < first - at):
            return
        last = min(at + size, end) if size else end
        yield name, first, last
        at = last


def _film_or_sound(kinds: tuple[Kind, Kind], sound: bool, film: bool, declared: str) -> Kind:
    only_sound = sound and not film if sound or film else declared.startswith("audio/")
    return kinds[only_sound]


def _ebml_kind(head: bytes, declared: str) -> Kind | None:
    kinds: tuple[Kind, Kind] | None = None
    types: set[int] = set()
    for name, first, last in _elements(head, 0, len(head)):
        if name == _HEADER:
            document = next(
                (head[at:end] for inner, at, end in _elements(head, first, last) if inner == _DOC_TYPE), b""
            )
            kinds = {b"webm": _WEBM, b"matroska": _MATROSKA}.get(document.rstrip(b"\0"))
        elif name == _SEGMENT:
            types = set(_track_types(head, first, last))
            break
    return None if kinds is None else _film_or_sound(kinds, 2 in types, 1 in types, declared)


def _track_types(head: bytes, first: int, last: int) -> Iterator[int]:
    for name, at, end in _elements(head, first, last):
        if name == _TRACKS:
            for entry in (place for inner, *place in _elements(head, at, end) if inner == _TRACK):
                yield from (head[a] for inner, a, b in _elements(head, *entry) if inner == _TRACK_TYPE and b > a)
        elif name == _CLUSTER:  # the film itself
            return


def _elements(head: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the id, start and end of each element of EBML, which Matroska and WebM are made of."""
    for _ in range(_MOST):
        name, id_length = _number(head, at)
        size, size_length = _number(head, at + id_length)
        first = at + id_length + size_length
        if not (id_length and size_length) or first > end:
            return
        bits = 7 * size_length
        # All ones: it goes on to the end of what it is in.
        last = end if size & ((1 << bits) - 1) == (1 << bits) - 1 else min(first + (size & ((1 << bits) - 1)), end)
        yield name, first, last
        at = last


def _number(head: bytes, at: int) -> tuple[int, int]:
    """Return a number with the bit that marks its length, and that length in bytes, 0 where there is none."""
    length = 9 - head[at].bit_length() if at < len(head) else 9
    if length > 8 or at + length > len(head):
        return 0, 0
    return int.from_bytes(head[at : at + length], "big"), length


def _tagged_kind(head: bytes, declared: str) -> Kind | None:
    """Return the kind of sound that comes after ID3 tags, which are put before other sounds than MP3 too."""
    at = 0
    while head.startswith(b"ID3", at):
        size = head[at + 6 : at + 10]
        if len(size) < 4 or max(size) > 0x7F or head[at + 3] == 0xFF:
            return None
        length = sum(byte << shift for byte, shift in zip(size, (21, 14, 7, 0), strict=True))
        at += 10 + length + (10 if head[at + 5] & 0x10 else 0)
    if at < len(head):
        return FLAC if head.startswith(b"fLaC", at) else _frames_kind(head, at) or MP3
    # A tag with a large picture in it: what comes after it is not seen.
    return {"audio/flac": FLAC, "audio/x-flac": FLAC, "audio/aac": AAC}.get(declared, MP3)


def _frames_kind(head: bytes, at: int) -> Kind | None:
    """Return the kind of the frames at a place: of two headers in a row, because one alone may be a sound's sample."""
    for kind, size_of in ((AAC, _adts_size), (MP3, _mpeg_size)):
        size = size_of(head[at : at + 6])
        if size and (at + size + 6 > len(head) or size_of(head[at + size : at + size + 6])):
            return kind
    return None


def _adts_size(header: bytes) -> int:
    """Return the bytes of a frame of AAC, 0 where this is no header of one."""
    if len(header) < 6 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or (header[2] >> 2) & 15 > 12:
        return 0
    size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return size if size > 7 else 0


#: kbit/s of layer III by the header's four bits: of MPEG 1, and of MPEG 2 and 2.5.
_RATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)


def _mpeg_size(header: bytes) -> int:
    """Return the bytes of a frame of MPEG's layer III, 0 where this is no header of one."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, rate, hertz = (header[1] >> 3) & 3, header[2] >> 4, (header[2] >> 2) & 3
    if version == 1 or rate in (0, 15) or hertz == 3:
        return 0
    one = version == 3
    per_second = (44_100, 48_000, 32_000)[hertz] // {3: 1, 2: 2, 0: 4}[version]
    return (144 if one else 72) * _RATES[not one][rate] * 1000 // per_second + ((header[2] >> 1) & 1)


def _glb_kind(head: bytes, _: str) -> Kind | None:
    return Kind("model/gltf-binary", ".glb") if int.from_bytes(head[4:8], "little") in (1, 2) else None


def _wav64_kind(head: bytes, _: str) -> Kind | None:
    return Kind("audio/wav", ".wav") if head[8:12] == b"WAVE" else None


def _ogg_kind(head: bytes, _: str) -> Kind | None:
    return Kind("video/ogg", ".ogv") if b"\x80theora" in head[:512] else None


def _bmp_kind(head: bytes, _: str) -> Kind | None:
    return Kind("image/bmp", ".bmp") if int.from_bytes(head[14:18], "little") in _BMP_HEADERS else None


def _ico_kind(head: bytes, _: str) -> Kind | None:
    """Take it for one where a directory follows, and each picture in it has bytes behind the directory."""
    count = int.from_bytes(head[4:6], "little")
    entries = [head[at : at + 16] for at in range(6, 6 + 16 * min(count, _MOST), 16)]
    real = all(
        len(entry) == 16
        and entry[3] == 0
        and int.from_bytes(entry[8:12], "little") > 0
        and int.from_bytes(entry[12:], "little") >= 6 + 16 * count
        for entry in entries
    )
    return Kind("image/x-icon", ".ico") if entries and real else None


_Reader: TypeAlias = "Callable[[bytes, str], Kind | None]"
_READERS: tuple[tuple[int, bytes, _Reader], ...] = (
    (4, b"ftyp", _iso_kind),
    (0, b"\x1aE\xdf\xa3", _ebml_kind),
    (0, b"ID3", _tagged_kind),
    (0, b"RF64", _wav64_kind),
    (0, b"BW64", _wav64_kind),
    (0, b"OggS", _ogg_kind),
    (0, b"glTF", _glb_kind),
    (0, b"BM", _bmp_kind),
    (0, b"\0\0\1\0", _ico_kind),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", lambda *_: _JXL),
    # The same without its container: two bytes that anything may begin with.
    (0, b"\xff\x0a", lambda _, declared: _JXL if declared == "image/jxl" else None),
)


def kind_of(head: bytes, declared: str) -> Kind | None:
    """Return a file's type, None where it is none of those known here.

    :param head: its first bytes.
    :param declared: what the output says, or nothing; it decides where the bytes leave a question open.
    """
    for at, mark, read in _READERS:
        if head.startswith(mark, at):
            return read(head, declared)
    return _frames_kind(head, 0)
