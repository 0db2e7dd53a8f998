"""A file's type and measures come from its bytes, whatever is said of it."""

from __future__ import annotations

import contextlib
import io
import math
import random
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from airflow_provider_falinvoke.api.transfer import MediaFailedError
from airflow_provider_falinvoke.media.containers import Kind
from airflow_provider_falinvoke.media.recognise import HEAD_BYTES, UNKNOWN, Ends, Measures, recognise
from tests.support.samples import aac, box, film, flac, id3, mp3, mp3_of_mpeg_25, mp4, ogg, picture, wav, webm

FILES = {
    "png": (picture("PNG"), "image/png", Measures(width=30, height=20)),
    "jpg": (picture("JPEG"), "image/jpeg", Measures(width=30, height=20)),
    "gif": (picture("GIF"), "image/gif", Measures(width=30, height=20)),
    "webp": (picture("WEBP"), "image/webp", Measures(width=30, height=20)),
    "tif": (picture("TIFF"), "image/tiff", Measures(width=30, height=20)),
    "bmp": (picture("BMP"), "image/bmp", Measures(width=30, height=20)),
    "avif": (picture("AVIF"), "image/avif", Measures(width=30, height=20)),
    "wav": (wav(1.5), "audio/wav", Measures(duration=1.5, sample_rate=8000)),
    "mp3": (mp3(100), "audio/mpeg", Measures(duration=2.612, sample_rate=44_100)),
    "flac": (flac(3), "audio/flac", Measures(duration=3.0, sample_rate=44_100)),
    "ogg": (ogg(2.0), "audio/ogg", Measures(duration=2.0, sample_rate=48_000)),
    "mp4": (mp4(5), "video/mp4", Measures(duration=5.0)),
    "m4a": (mp4(5, brand=b"M4A "), "audio/mp4", Measures(duration=5.0)),
}


def animated(form: str) -> bytes:
    """Return a picture of two frames in a format of Pillow's."""
    target = io.BytesIO()
    one, two = (Image.new("RGB", (30, 20), colour) for colour in ("red", "blue"))
    one.save(target, form, save_all=True, append_images=[two], duration=100)
    return target.getvalue()


#: By name: the file, its type and extension.
CONTAINERS = {
    "an animated AVIF": (animated("AVIF"), "image/avif", ".avif"),
    "an AVIF by its second brand": (picture("AVIF").replace(b"ftypavif", b"ftypmif1"), "image/avif", ".avif"),
    "a HEIC": (box(b"ftyp", b"heix", bytes(4), b"mif1heix") + bytes(50), "image/heic", ".heic"),
    "a JPEG XL": (b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl ", "image/jxl", ".jxl"),
    "an icon": (picture("ICO"), "image/x-icon", ".ico"),
    "an animated PNG": (animated("PNG"), "image/apng", ".apng"),
    "an MP3 behind ID3": (id3() + mp3(), "audio/mpeg", ".mp3"),
    "an MP3 behind two tags": (id3() + id3(9000) + mp3(), "audio/mpeg", ".mp3"),
    "an MP3 of MPEG 2.5": (mp3_of_mpeg_25(), "audio/mpeg", ".mp3"),
    "an AAC": (aac(), "audio/aac", ".aac"),
    "an AAC behind ID3": (id3() + aac(), "audio/aac", ".aac"),
    "a FLAC behind ID3": (id3() + flac(), "audio/flac", ".flac"),
    "a FLAC behind a large picture": (id3(400_000) + flac(), "audio/flac", ".flac"),
    "a WAV of 64 bits": (b"RF64\xff\xff\xff\xffWAVEds64" + bytes(40), "audio/wav", ".wav"),
    "a 3D model": (b"glTF\2\0\0\0" + bytes(60), "model/gltf-binary", ".glb"),
    "a film": (film(b"vide", b"soun"), "video/mp4", ".mp4"),
    "a film of fragments": (film(b"vide", brand=b"iso5"), "video/mp4", ".mp4"),
    "a sound in MP4": (film(b"soun"), "audio/mp4", ".m4a"),
    "a sound of fragments": (film(b"soun", brand=b"dash"), "audio/mp4", ".m4a"),
    "a QuickTime film": (film(b"vide", brand=b"qt  "), "video/quicktime", ".mov"),
    "a WebM": (webm(1, 2), "video/webm", ".webm"),
    "a sound in WebM": (webm(2), "audio/webm", ".weba"),
    "a Matroska film": (webm(1, document=b"matroska"), "video/x-matroska", ".mkv"),
    "a sound in Matroska": (webm(2, document=b"matroska"), "audio/x-matroska", ".mka"),
    "a film in Ogg": (ogg()[:28] + b"\x80theora" + bytes(60), "video/ogg", ".ogv"),
}


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("declared", [None, "application/octet-stream", "text/html"])
def test_a_container_is_recognised_by_what_is_in_it(name: str, declared: str | None) -> None:
    data, content_type, extension = CONTAINERS[name]
    assert recognise(data[:HEAD_BYTES], declared) == Kind(content_type, extension)


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_that_is_cut_anywhere_is_no_error_of_its_own(name: str) -> None:
    data = CONTAINERS[name][0]
    for length in {*range(1, min(len(data), 120)), len(data) // 2, len(data) - 1}:
        with contextlib.suppress(MediaFailedError):  # a few letters may be a text
            recognise(data[:length], None)


@pytest.mark.parametrize(
    ("data", "declared", "extension"),
    [
        (mp4(), "audio/mp4; codecs=mp4a", ".m4a"),
        (mp4(), "video/mp4", ".mp4"),
        (film(b"vide"), "audio/mp4", ".mp4"),
        (webm(), "audio/webm", ".weba"),
        (id3(2 << 20)[:HEAD_BYTES], "audio/flac", ".flac"),
        (id3(2 << 20)[:HEAD_BYTES], None, ".mp3"),
        (b"\xff\x0a" + bytes(50), "image/jxl", ".jxl"),
        (b"\xff\x0a" + bytes(50), "image/png", ".bin"),
    ],
)
def test_what_the_output_says_decides_where_the_bytes_leave_it_open(
    data: bytes, declared: str | None, extension: str
) -> None:
    assert recognise(data, declared).extension == extension


def samples(*first: int, order: str = "<") -> bytes:
    """Return a sound of no format: some samples of 16 bits, and a quiet hum after them."""
    hum = [round(90 * math.sin(number / 9)) for number in range(4000)]
    return struct.pack(f"{order}{len(first) + len(hum)}h", *first, *hum)


@pytest.mark.parametrize(
    "data",
    [
        samples(-2),
        samples(-257),
        samples(-2, order=">"),
        samples(-257, order=">"),
        samples(0, 1),
        samples(0, 1, 1, 0, 0, 0, 0, 0),
        samples(-5, order=">"),
        samples(-13, order=">"),
        samples(-15, order=">"),
        samples(0x4D42),
        b"\xfe\xff" + b"\0\1\0\7" * 2000,
        b"\xff\xfe" + b"\1\0\7\0" * 2000,
        b"ID3" + random.Random(1).randbytes(5000),
    ],
    ids=lambda data: data[:6].hex(),
)
def test_a_sound_of_no_format_is_not_taken_for_what_its_first_samples_look_like(data: bytes) -> None:
    assert recognise(data[:HEAD_BYTES], "audio/pcm") == UNKNOWN


@given(st.binary(max_size=300), st.sampled_from([data for data, *_ in CONTAINERS.values()]), st.integers(0, 200))
@settings(max_examples=300, deadline=None)
def test_no_bytes_are_an_error_of_their_own(noise: bytes, start: bytes, at: int) -> None:
    with contextlib.suppress(MediaFailedError):
        assert recognise(start[:at] + noise + start[at:], "audio/mpeg").extension.startswith(".")


def measured(data: bytes, *, chunk: int = 65_536) -> Measures:
    ends = Ends()
    for start in range(0, len(data), chunk):
        ends.feed(data[start : start + chunk])
    assert ends.size == len(data)
    return ends.measure(recognise(data[:HEAD_BYTES], None))


@pytest.mark.parametrize("extension", FILES)
@pytest.mark.parametrize("declared", [None, "text/html", "application/x-sh", "image/png; charset=x"])
def test_a_type_is_recognised_whatever_is_said_of_it(extension: str, declared: str | None) -> None:
    data, content_type, _ = FILES[extension]
    assert recognise(data[:HEAD_BYTES], declared) == Kind(content_type, f".{extension}")


@pytest.mark.parametrize("extension", FILES)
@pytest.mark.parametrize("chunk", [1000, 1 << 20])
def test_measures_are_read_from_the_bytes(extension: str, chunk: int) -> None:
    data, _, measures = FILES[extension]
    assert measured(data, chunk=chunk) == measures


@pytest.mark.parametrize(
    "data",
    [
        bytes(100),
        b"\x80\x81\x00\x90",
        b"\x7fELF" + bytes(60),
        b"MZ\x90\x00" + bytes(60),
        b"PK\x03\x04" + bytes(60),
        b"\xff" * 5000,
        b"%PDF-1.7\n\x00\x93",
        random.Random(1).randbytes(9000),
    ],
    ids=["zeros", "short", "ELF", "EXE", "zip", "silence in mu-law", "PDF", "noise"],
)
def test_any_other_binary_is_kept_under_a_name_that_no_program_opens(data: bytes) -> None:
    """It is paid for; what it is, its owner may know."""
    assert recognise(data, "image/png") == UNKNOWN == Kind("application/octet-stream", ".bin")
    assert measured(data) == Measures()


PAGES = {
    "HTML": (b"<!doctype html><html><head><title>Not found</title></head></html>", "an HTML page: Not found"),
    "HTML in Latin-1": ("<html><body>Não encontrado: a página já não está disponível".encode("latin-1"), "HTML page"),
    "HTML in UTF-16": ("<html>Not found</html>".encode("utf-16"), "it says"),
    "HTML in UTF-8 with a mark": (b"\xef\xbb\xbf<html>Gone</html>", "Gone"),
    "XML": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "AccessDenied"),
    "JSON": (b'{"message": "Expired token"}', "Expired token"),
    "text": (b"upstream connect error", "upstream connect error"),
    "a long page": (b"<html><p>Sorry</p>" + b"<p>\xc3\xbc</p>" * 5000, "Sorry"),
    "a script": (b"#!/bin/sh\nrm -rf /\n", "rm -rf"),
    "an SVG that is not meant to be one": (b"<svg onload='alert(1)'></svg>", "svg"),
    "HTML with an SVG in it, as an SVG": (b"<html><svg></svg></html>", "HTML page"),
    "a text that begins like a BMP": (b"BMW is a brand, and its picture is not to be had", "BMW is"),
    "a text that begins like a GIF": (b"GIF generation failed", "GIF generation"),
    "a text that begins like an MP3": (b"ID3 tags cannot be read", "ID3 tags"),
    "nothing": (b"", "empty"),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_under_the_name_of_a_file_is_an_error_that_shows_its_words(name: str) -> None:
    page, words = PAGES[name]
    declared = "image/svg+xml" if name.endswith("as an SVG") else "image/png"
    with pytest.raises(MediaFailedError, match=words) as caught:
        recognise(page[:HEAD_BYTES], declared)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "page", [b"<!---->" * 35, b"<?xml?>" * 9 + b"<html>", b"<!-- <svg", b"<!doctype html><svg>", b"<svgs>", b"<"]
)
def test_what_only_begins_like_an_svg_is_none(page: bytes) -> None:
    with pytest.raises(MediaFailedError, match="it is a text"):
        recognise(page, "image/svg+xml")


@pytest.mark.parametrize(
    "start", [b"<!-- a --> <!---->", b"<?xml-stylesheet?>\n<!DOCTYPE svg PUBLIC 'x'>", b" " * 20_000]
)
def test_an_svg_may_come_after_comments_and_declarations(start: bytes) -> None:
    assert recognise(start + b"<SVG></SVG>", "image/svg+xml").extension == ".svg"


def test_a_text_is_not_quoted_where_it_is_not_for_the_log() -> None:
    with pytest.raises(MediaFailedError, match=r"it is a text and not a file of media$"):
        recognise(b"internal secrets", "image/png", quote=False)


def test_an_svg_that_is_declared_as_one_is_a_picture() -> None:
    page = b"<?xml version='1.0'?>\n<!-- made by a model -->\n<svg xmlns='http://www.w3.org/2000/svg'></svg>"
    assert recognise(page, "image/svg+xml; charset=utf-8") == Kind("image/svg+xml", ".svg")
    assert recognise(b"\xef\xbb\xbf" + page, "image/svg+xml").extension == ".svg"


def test_a_long_file_is_measured_by_its_start_and_its_end() -> None:
    """What lies between is not kept: a file of a gigabyte takes no more memory than one of four megabytes."""
    assert measured(wav(600)).duration == 600.0
    assert measured(mp3(60_000)).duration == pytest.approx(1567.3, abs=1)
    assert measured(mp4(7, filler=5 << 20, index_last=True)).duration == 7.0


def test_a_measure_that_would_need_the_middle_of_a_file_is_not_made_up() -> None:
    first, rest = mp4(7)[:20], box(b"mdat", bytes(3 << 20)) + mp4(7)[20:] + box(b"mdat", bytes(3 << 20))
    assert measured(first + rest) == Measures()


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF, 10**6])
def test_a_sound_that_claims_to_be_longer_than_its_file_has_no_duration(length: int) -> None:
    """A program that writes a WAV into a pipe does not know its length when it writes the header."""
    data = wav(1.0)
    claim = data[:40] + struct.pack("<I", length) + data[44:]
    assert measured(claim) == Measures(sample_rate=8000)


@pytest.mark.parametrize("extension", FILES)
def test_a_broken_file_costs_no_more_than_its_measures(extension: str) -> None:
    data = bytearray(FILES[extension][0])
    dice = random.Random(1)
    started = time.process_time()
    for _ in range(50):
        broken = data[: dice.randrange(20, len(data))]
        for _ in range(5):
            broken[dice.randrange(12, len(broken))] = dice.randrange(256)
        ends = Ends()
        ends.feed(bytes(broken))
        measures = ends.measure(Kind(FILES[extension][1], f".{extension}"))
        assert measures.width is None or measures.width > 0
    assert time.process_time() - started < 30


def test_an_mp3_of_garbage_does_not_hold_up_the_task() -> None:
    """A reader that looks for the next frame in a gigabyte of noise would take minutes."""
    data = b"\xff\xfb\x90\xc4" + bytes(8 << 20)
    started = time.process_time()
    assert measured(data).duration is None
    assert time.process_time() - started < 20
