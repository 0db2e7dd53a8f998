"""What a stranger's output or file holds costs no more than its length: 64 kB of it a fifth of a second."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import ValidationError

from airflow_provider_falinvoke.api.transfer import MediaFailedError
from airflow_provider_falinvoke.exceptions import FalInvokeInputError
from airflow_provider_falinvoke.media import FileName, Place, contents_of, without_inline
from airflow_provider_falinvoke.media.containers import Kind
from airflow_provider_falinvoke.media.find import read_flag
from airflow_provider_falinvoke.media.recognise import Ends, recognise
from airflow_provider_falinvoke.media.save import _decode
from airflow_provider_falinvoke.reuse import KeptResult
from tests.support.samples import flac, mp3, mp4, ogg, picture, wav

pytestmark = pytest.mark.serial

SIZE = 64_000
SECONDS = 0.2
#: So much slower is what coverage traces; and after so many seconds nothing is waited for any more.
TRACED, GIVEN_UP = 5, 20.0

TEXTS = {
    "letters": "a",
    "blanks": " ",
    "lines": "\n",
    "blanks of all kinds": " \t\r\n\u3000",
    "comments": "<!---->",
    "comments that are not closed": "<!--",
    "a comment's end": "-->",
    "declarations": "<?xml?>",
    "declarations that are not closed": "<?xml ",
    "document types": "<!doctype svg>",
    "document types that are not closed": "<!doctype svg ",
    "comments and blanks": "<!-- -->  <?a?>\n",
    "tags that are not closed": "<svg ",
    "scripts": "<script",
    "HTML that is nested": "<p>",
    "smaller": "<",
    "data": "data:",
    "semicolons": ";",
    "parameters": ";a=b",
    "parameters with blanks": "; ",
    "base64 words": ";base64",
    "base64": "QUJD",
    "base64 with an end": "QUI=",
    "nearly a long run": "A" * 4095 + " ",
    "short runs": "A ",
    "per cent": "%",
    "per cent and digits": "%41",
    "commas": ",",
    "dots": ".",
    "dashes": "-",
    "slashes": "/",
    "backslashes": "\\",
    "steps up": "../",
    "brackets": "[",
    "braces": "{",
    "fields": "{number}",
    "quotes": '"',
    "keys": '{"a":',
    "underscores": "_a",
    "capitals": "aB",
    "digits": "1",
    "questions": "?#",
    "full-width": "\uff11",
    "marks": "\u0301",
    "bidirectional": "\u202e",
    "half pairs": "\ud800",
}
IN_OUTPUTS, IN_FILES = ("", "data:"), ("", "<svg", "<?xml", "<!--")

BYTES = {
    "zeros": b"\0",
    "ones": b"\xff",
    "syncs of MP3": b"\xff\xfb\x90\xc4",
    "syncs of MPEG 2.5": b"\xff\xe3\x10\xc4",
    "syncs of AAC": b"\xff\xf1\x50\x80\x01\x00\xfc",
    "empty tags": b"ID3\4\0\0\0\0\0\0",
    "empty boxes": b"\0\0\0\x08free",
    "films in films": b"\0\0\xff\xffmoov",
    "tracks": b"\0\0\0\x08trak",
    "large boxes": b"\0\0\0\1moov\0\0\0\0\0\0\0\x10",
    "boxes to the end": b"\0\0\0\0moov",
    "empty elements": b"\xae\x80",
    "elements to the end": b"\x18\x53\x80\x67\xff",
    "elements in elements": b"\x16\x54\xae\x6b\x82",
    "pages": b"OggS\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    "chunks of RIFF": b"fmt \0\0\0\0",
    "chunks of PNG": b"\0\0\0\0tEXt\0\0\0\0",
    "segments of JPEG": b"\xff\xe0\0\2",
    "blocks of FLAC": b"\4\0\0\0",
    "directories of TIFF": b"\1\0\0\1\4\0\1\0\0\0\x08\0\0\0",
    "UTF-16": "ü".encode("utf-16-le"),
    "Latin-1": b"\xe4\xf6",
    "half a character": b"\xc3",
}
#: What begins like a file and goes on as something else, by the file's extension.
STARTS = {
    "": b"",
    "png": picture("PNG")[:33],
    "apng": picture("PNG")[:33],
    "jpg": picture("JPEG")[:20],
    "gif": picture("GIF")[:13],
    "webp": picture("WEBP")[:16],
    "tif": b"II*\0\x08\0\0\0\xff\xff",
    "bmp": picture("BMP")[:54],
    "avif": picture("AVIF")[:40],
    "heic": picture("AVIF")[:40].replace(b"avif", b"heic"),
    "jp2": b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 ",
    "wav": wav(0.1)[:36],
    "mp3": mp3(2),
    "flac": flac()[:42],
    "ogg": ogg()[:60],
    "m4a": mp4(brand=b"M4A ")[:20],
    "mp4": mp4()[:20],
    "m4v": mp4(brand=b"M4V ")[:20],
    "mov": mp4(brand=b"qt  ")[:20],
    "aiff": b"FORM\0\0\xff\xffAIFF",
    "webm": b"\x1aE\xdf\xa3\x87\x42\x82\x84webm",
    "id3": b"ID3\4\0\0\0\0\0\0",
    "utf-16": b"\xff\xfe",
    "ico": b"\0\0\1\0\xff\xff",
    "ogv": b"OggS\0\2" + bytes(20) + b"\1\x80theora",
}


@contextmanager
def limited(what: str) -> Iterator[None]:
    """Fail where more than the time is spent, by this process's own CPU, so that a busy machine makes no difference."""

    def late(*_: Any) -> None:
        raise AssertionError(f"{what}: more than {GIVEN_UP} s")

    before = signal.signal(signal.SIGVTALRM, late)
    # What is not linear may take for ever. No earlier: coverage's own lock stays locked where it is interrupted.
    signal.setitimer(signal.ITIMER_VIRTUAL, GIVEN_UP)
    since = time.process_time()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    spent, allowed = time.process_time() - since, SECONDS * (TRACED if sys.gettrace() else 1)
    assert spent <= allowed, f"{what}: {spent:.2f} s, more than {allowed} s"


class Nowhere:
    """An intake that keeps nothing."""

    def write(self, data: bytes) -> None:
        assert data is not None


def name(text: str) -> str:
    return FileName().render(Place(), request_id=text, number=1, extension=".png")


READERS: dict[str, Callable[[str], Any]] = {
    "an output's text": lambda text: contents_of({"prompt": text}),
    "an output's URL": lambda text: contents_of({"images": [text, {"url": text, "content_type": text}]}),
    "an output's key": lambda text: contents_of({text: {text: [text]}}),
    "an output's base64": lambda text: contents_of({"data": [{"b64_json": text}]}),
    "an output for XCom": lambda text: without_inline({"prompt": text, "images": [{"url": text}]}),
    "the source of a file": lambda text: [media.source for media in contents_of([f"https://{text}"]).files],
    "a flag": lambda text: read_flag([text, {text: text}]),
    "an inline file": lambda text: _decode(text, Nowhere(), 1 << 30),  # type: ignore[arg-type]  # all that it needs
    "a record of reuse": KeptResult.model_validate_json,
    "a name": name,
    "a template": FileName,
}
MEASURED = [extension for extension in STARTS if extension not in ("", "webm", "id3", "utf-16", "ico", "ogv")]


def test_what_meets_foreign_bytes_is_linear() -> None:
    refused = contextlib.suppress(MediaFailedError, FalInvokeInputError, ValidationError)
    for label, unit in TEXTS.items():
        text = unit * (SIZE // len(unit))
        for prefix, (reader, read) in itertools.product(IN_OUTPUTS, READERS.items()):
            with limited(f"{reader} of {prefix!r} and {label}"), refused:
                read(prefix + text)
        for prefix, declared, cut in itertools.product(IN_FILES, (None, "image/svg+xml"), (SIZE, SIZE // 2 + 1)):
            with limited(f"a file of {prefix!r} and {label}"), refused:
                recognise((prefix.encode() + text.encode("utf-8", "replace"))[:cut], declared)
    for label, unit_of_bytes in BYTES.items():
        for extension, start in STARTS.items():
            data = start + unit_of_bytes * (SIZE // len(unit_of_bytes))
            with limited(f"{extension} of {label}"), refused:
                recognise(data, "audio/mpeg")
            if extension in MEASURED:
                with limited(f"measures of {extension} of {label}"):
                    ends = Ends()
                    ends.feed(data)
                    ends.measure(Kind("x/y", f".{extension}"))


def test_what_is_nested_or_wide_is_linear() -> None:
    deep: Any = "https://media.invalid/a.png"
    for _ in range(SIZE // 10):
        deep = {"url": [deep], "has_nsfw_concepts": [[]]}
    flags: Any = {"has_nsfw_concepts": json.loads("[" * 900 + "]" * 900), "images": ["https://x.invalid/a"] * 900}
    wide = {"images": [{"url": f"https://media.invalid/{number}"} for number in range(SIZE // 30)]}
    keys = {f"key_{number}": {"url": "https://x.invalid/a", "has_nsfw_concepts": [[[0.5]]]} for number in range(2000)}
    for output in (deep, wide, keys, flags):
        with limited("an output"):
            contents_of(output)
            without_inline(output)
    with limited("JSON that is nested"), pytest.raises((ValueError, RecursionError)):
        json.loads("[" * SIZE)
