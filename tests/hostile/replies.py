"""The replies of the hostile server, built systematically: what is sent, and how it is sent. Pure."""

from __future__ import annotations

import functools
import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: What a host that behaves answers.
GOOD = json.dumps({"request_id": "r1", "status": "QUEUED"}).encode()
PAUSE = 0.05


@dataclass(frozen=True)
class Drip:
    """Bytes that come one by one."""

    data: bytes


@dataclass(frozen=True)
class Endless:
    """Bytes that come again and again, until the client goes.

    :param pause: seconds in between.
    """

    data: bytes
    pause: float = 0.0


class Hold:
    """Nothing more is sent, and the connection stays open."""


class Reset:
    """The connection is reset, and not closed."""


@dataclass(frozen=True)
class Bomb:
    """Zeros, packed by gzip so many times, one in the other."""

    times: int = 1


Part = bytes | Bomb | Drip | Endless | type[Hold] | type[Reset]


@dataclass(frozen=True)
class Hostile:
    """One reply, after which the connection is closed.

    :param name: what is wrong with it.
    :param status: what its first line says, 0 where that is not a status.
    """

    name: str
    parts: tuple[Part, ...]
    status: int = 200

    @property
    def is_slow(self) -> bool:
        """Whether it takes as long as it is let."""
        return any(part is Hold or isinstance(part, Drip) or getattr(part, "pause", 0) for part in self.parts)


def head(status: object = 200, *lines: str, reason: str = "OK", version: str = "HTTP/1.1") -> bytes:
    """Return the head of a reply, with whatever lines."""
    return "\r\n".join([f"{version} {status} {reason}", *lines, "", ""]).encode("latin-1")


def whole(body: bytes = GOOD, status: int = 200, *lines: str) -> bytes:
    """Return a reply that is framed as it should be."""
    return head(status, f"Content-Length: {len(body)}", *lines) + body


def chunked(*chunks: bytes) -> bytes:
    """Return chunks, without the last empty one."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


def deflated(data: bytes) -> bytes:
    """Return data as a bare deflate stream."""
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return engine.compress(data) + engine.flush()


@functools.cache
def bomb(times: int) -> bytes:
    """Return a stream that becomes 200 MiB of zeros, unpacked so many times."""
    if times > 1:
        return gzip.compress(bomb(times - 1))
    engine = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
    zeros = bytes(1 << 20)
    return b"".join(engine.compress(zeros) for _ in range(200)) + engine.flush()


def all_replies() -> list[Hostile]:
    """Return every reply; the same in each process."""
    return [
        *_statuses(),
        *_framings(),
        *_codings(),
        *_sizes(),
        *_speeds(),
        *_ends(),
        *_bodies(),
        *_headers(),
        *_strangers(),
    ]


def _statuses() -> Iterator[Hostile]:
    for status in (
        *(101, 199, 200, 201, 202, 203, 204, 205, 206, 207, 226, 299, 300, 301, 302, 303, 304, 305, 307, 308, 399),
        *(400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 415, 418, 421, 422, 425, 429, 431, 451, 499),
        *(500, 501, 502, 503, 504, 507, 511, 520, 529, 599, 600, 799, 999),
    ):
        yield Hostile(f"status {status}", (whole(GOOD, status),), status)
    for status in (301, 302, 303, 307, 308):
        yield Hostile(f"a redirect {status} to itself", (whole(GOOD, status, "Location: /"),), status)
        yield Hostile(f"a redirect {status} to nowhere", (whole(b"", status, "Location: http://[::1"),), status)
    for word in ("000", "99", "1000", "20", "-200", "2e2", "abc", "", "\uff12\uff10\uff10"):
        yield Hostile(f"status {word!r}", (f"HTTP/1.1 {word} OK\r\nContent-Length: 2\r\n\r\n{{}}".encode(),), 0)


def _framings() -> Iterator[Hostile]:
    size = len(GOOD)
    for name, line in {
        "too long": f"Content-Length: {size + 100}",
        "too short": f"Content-Length: {size - 10}",
        "zero": "Content-Length: 0",
        "negative": "Content-Length: -1",
        "with a sign": f"Content-Length: +{size}",
        "hexadecimal": f"Content-Length: {size:#x}",
        "beyond every integer": "Content-Length: " + "9" * 400,
        "doubled": f"Content-Length: {size}\r\nContent-Length: {size}",
        "doubled in one line": f"Content-Length: {size}, {size}",
        "doubled unlike": f"Content-Length: {size}\r\nContent-Length: {size + 1}",
        "a word": "Content-Length: many",
        "empty": "Content-Length:",
        "beside chunks": f"Content-Length: {size}\r\nTransfer-Encoding: chunked",
        "a strange transfer": "Transfer-Encoding: xz",
        "a transfer in two steps": "Transfer-Encoding: gzip, chunked",
        "a transfer named twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    }.items():
        yield Hostile(f"length {name}", (head(200, line) + GOOD,))
    start = head(200, "Transfer-Encoding: chunked")
    for name, body in {
        "whole": chunked(GOOD) + b"0\r\n\r\n",
        "by the byte": chunked(*(GOOD[i : i + 1] for i in range(size))) + b"0\r\n\r\n",
        "without an end": chunked(GOOD),
        "with trailers": chunked(GOOD) + b"0\r\nX-Later: 1\r\n\r\n",
        "with endless trailers": chunked(GOOD) + b"0\r\n" + b"X: 1\r\n" * 50_000,
        "with a wrong size": b"5\r\n" + GOOD + b"\r\n0\r\n\r\n",
        "with no size": b"\r\n" + GOOD + b"\r\n0\r\n\r\n",
        "with a negative size": b"-5\r\n" + GOOD,
        "with a size beyond every integer": b"f" * 64 + b"\r\n" + GOOD,
        "with a long extension": b"%x;%s\r\n%s\r\n0\r\n\r\n" % (size, b"e" * 200_000, GOOD),
        "by line feeds alone": b"%x\n%s\n0\n\n" % (size, GOOD),
    }.items():
        yield Hostile(f"chunks {name}", (start + body,))
    for version in ("HTTP/1.0", "HTTP/1.2", "HTTP/2", "HTTP/3.0", "HTTP/0.9", "http/1.1", "HTTP/11", "XTTP/1.1"):
        yield Hostile(f"version {version}", (head(200, version=version) + GOOD,))
    yield Hostile("until it closes", (head(200) + GOOD,))
    yield Hostile("line feeds alone", (head(200).replace(b"\r", b"") + GOOD,))
    yield Hostile("returns alone", (head(200).replace(b"\n", b"") + GOOD,), 0)
    yield Hostile("two replies", (whole() + whole(b"{}", 500),))
    yield Hostile("blank lines before it", (b"\r\n" * 20 + whole(),))


def _codings() -> Iterator[Hostile]:
    packed = gzip.compress(GOOD)
    for name, (coding, body) in {
        "gzip": ("gzip", packed),
        "gzip that is plain": ("gzip", GOOD),
        "gzip cut off": ("gzip", packed[:-12]),
        "gzip damaged": ("gzip", packed[:20] + b"\xff" * 20 + packed[40:]),
        "gzip in two members": ("gzip", gzip.compress(GOOD[:10]) + gzip.compress(GOOD[10:])),
        "gzip and then rubbish": ("gzip", packed + b"rubbish" * 100),
        "gzip of nothing": ("gzip", gzip.compress(b"")),
        "gzip in gzip": ("gzip, gzip", gzip.compress(packed)),
        "gzip a thousand times": (", ".join(["gzip"] * 1000), packed),
        "deflate": ("deflate", zlib.compress(GOOD)),
        "deflate, bare": ("deflate", deflated(GOOD)),
        "deflate that is plain": ("deflate", GOOD),
        "br": ("br", b"\x1b\x2f\x00\xf8\x27"),
        "zstd": ("zstd", b"\x28\xb5\x2f\xfd\x04\x00"),
        "compress": ("compress", b"\x1f\x9d\x90"),
        "utf-8": ("utf-8", GOOD),
        "aws-chunked": ("aws-chunked", GOOD),
        "of no name": (",,, ", GOOD),
        "not ASCII": ("gzïp", GOOD),
    }.items():
        yield Hostile(f"coding {name}", (whole(body, 200, f"Content-Encoding: {coding}"),))
    for status in (200, 202, 404, 429, 500):
        yield Hostile(f"a bomb with {status}", (head(status, "Content-Encoding: gzip"), Bomb()), status)
    yield Hostile("a bomb in a bomb", (head(200, "Content-Encoding: gzip, gzip"), Bomb(2)))
    yield Hostile("a bomb in two bombs", (head(200, "Content-Encoding: gzip, gzip, gzip"), Bomb(3)))


def _sizes() -> Iterator[Hostile]:
    for count in (100, 500, 5_000, 200_000):
        yield Hostile(f"{count} headers", (whole(GOOD, 200, *(f"X-{i}: {i}" for i in range(count))),))
    for size in (8_000, 9_000, 60_000, 200_000, 5_000_000):
        yield Hostile(f"a header of {size} bytes", (whole(GOOD, 200, "X-Long: " + "x" * size),))
    yield Hostile("a reason of 9,000 bytes", (head(200, "Content-Length: 2", reason="x" * 9_000) + b"{}",))
    yield Hostile("a header without an end", (b"HTTP/1.1 200 OK\r\nX: ", Endless(b"x" * 65_536)))
    yield Hostile("headers without an end", (b"HTTP/1.1 200 OK\r\n", Endless(b"X: 1\r\n" * 1_000)))
    yield Hostile("a status line without an end", (b"HTTP/1.1 200 ", Endless(b"O" * 65_536)), 0)
    for status in (200, 202, 404, 500):
        begin = b'{"request_id": "r1", "status": "COMPLETED", "output": "'
        yield Hostile(f"{status} without an end", (head(status), begin, Endless(b"x" * 65_536)), status)
        yield Hostile(
            f"{status} in chunks without an end",
            (head(status, "Transfer-Encoding: chunked"), chunked(begin), Endless(chunked(b"x" * 65_536))),
            status,
        )
    yield Hostile("blanks without an end", (head(200), Endless(b" " * 65_536)))
    yield Hostile("numbers without an end", (head(200), b'{"request_id": "r1", "n": ', Endless(b"9" * 65_536)))


def _speeds() -> Iterator[Hostile]:
    good = whole()
    for name, at in {
        "the first byte": 0,
        "the status": 12,
        "the headers": len(good) - len(GOOD),
        "half of it": -20,
    }.items():
        yield Hostile(f"silence before or after {name}", (good[:at], Hold))
        yield Hostile(f"drips from {name}", (good[:at], Drip(good[at:]), Hold))
    body = json.dumps({"request_id": "r1", "status": "COMPLETED", "output": {"text": "x" * 500}}).encode()
    yield Hostile("a long body drips", (head(200, f"Content-Length: {len(body)}"), Drip(body)))
    yield Hostile("chunks drip", (head(200, "Transfer-Encoding: chunked"), Drip(chunked(*[b"x"] * 500))))
    yield Hostile("an error page drips", (head(500, "Content-Length: 500"), Drip(b"x" * 500)), 500)
    yield Hostile("a refusal drips", (head(422, "Content-Length: 500"), Drip(b"x" * 500)), 422)
    for status in (100, 102, 103, 199):
        interim = head(status, reason="Wait")
        yield Hostile(f"{status}, then silence", (interim, Hold))
        yield Hostile(f"{status} again and again", (Drip(interim * 50), Hold))
        yield Hostile(f"{status} without an end", (Endless(interim * 20, PAUSE),))
        yield Hostile(f"{status}, then the reply", (interim * 3 + good,))


def _ends() -> Iterator[Hostile]:
    good = whole()
    for at in range(0, len(good), 9):
        status = 200 if at > len("HTTP/1.1 200") else 0
        yield Hostile(f"closed after {at} bytes", (good[:at],), status)
        yield Hostile(f"reset after {at} bytes", (good[:at], Reset), status)


def _bodies() -> Iterator[Hostile]:
    ids: list[Any] = [
        "",
        "   ",
        None,
        0,
        7,
        -1.5,
        True,
        [],
        ["r1"],
        {},
        {"id": "r1"},
        "x" * 100_000,
        "a/../b",
        "\u202e",
    ]
    for request_id in ids:
        body = json.dumps({"request_id": request_id, "status": "QUEUED"}).encode()
        yield Hostile(f"id {str(request_id)[:20]!r} of {type(request_id).__name__}", (whole(body, 202),), 202)
    for name, body in {
        "empty": b"",
        "blanks": b" \r\n" * 100,
        "null": b"null",
        "a number": b"17",
        "a list": b"[" + GOOD + b"]",
        "a text": json.dumps(GOOD.decode()).encode(),
        "cut": GOOD[:-3],
        "with rubbish after it": GOOD + b"}}}",
        "with a mark of order": b"\xef\xbb\xbf" + GOOD,
        "UTF-16": GOOD.decode().encode("utf-16"),
        "UTF-32": GOOD.decode().encode("utf-32"),
        "not UTF-8": b'{"request_id": "r1", "status": "\xff\xfe"}',
        "surrogates": b'{"request_id": "r1", "status": "\\ud800"}',
        "raw surrogates": b'{"request_id": "r1", "status": "\xed\xa0\x80"}',
        "U+0000": b'{"request_id": "r1", "status": "\\u0000"}',
        "NaN": b'{"request_id": "r1", "status": "COMPLETED", "output": {"n": NaN, "i": -Infinity}}',
        "an integer of 100,000 digits": b'{"request_id": "r1", "status": "COMPLETED", "output": '
        + b"9" * 100_000
        + b"}",
        "a seed beyond 64 bits": b'{"request_id": "r1", "status": "COMPLETED", "output": {"n": 18446744073709551616}}',
        "nested 100,000 deep": b'{"output": ' + b"[" * 100_000,
        "objects 100,000 deep": b'{"output":' * 100_000,
        "an event stream": b"event: done\ndata: " + GOOD + b"\n\n",
        "a page": b"<!doctype html><html><script>" + b"<" * 50_000,
        "tags": b"<html>" + b"<a" * 50_000,
        "escapes": b'{"request_id": "r1", "status": "' + b"\\\\" * 50_000 + b'"}',
        "zeros": bytes(100_000),
        "terminal codes": b'{"message": "\x1b[2J\x07", "request_id": "\\u001b[2J"}',
        "an error of 10,000 items": json.dumps(
            {"request_id": "r1", "status": "FAILED", "error": [{"msg": "x"}] * 10_000}
        ).encode(),
        "an error alone": b'{"error": {"error": {"error": []}}}',
        "an error with an id": b'{"id": "too_many_requests", "message": "slow down"}',
    }.items():
        yield Hostile(f"a body: {name}", (whole(body),))
        yield Hostile(f"a refusal: {name}", (whole(body, 400),), 400)


def _headers() -> Iterator[Hostile]:
    for line in (
        "no colon here",
        ": no name",
        "X Y: a blank in the name",
        "X-Folded: a\r\n b\r\n\tc",
        "X-Null: a\0b",
        "X-Bell: \x07\x1b[2J",
        "X-Ümlaut: ü",
        "Content-Type: text/x; charset=no-such-charset",
        "Content-Type: application/json; charset=",
        "Content-Type: ;;;===",
        "Set-Cookie: " + "a=b; " * 500,
        "Set-Cookie: a=b; Domain=.com; Expires=99999999999999999999",
        "Connection: close, keep-alive, upgrade",
        "Connection: Upgrade\r\nUpgrade: h2c",
        "Keep-Alive: timeout=-1, max=x",
        "Trailer: Content-Length",
        "Date: yesterday",
        "Retry-After: -1",
    ):
        yield Hostile(f"a header: {line[:40]!r}", (whole(GOOD, 200, line),))
    for wait in ("1e9", "86400", "-5", "soon", "NaN", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT", ""):
        yield Hostile(f"429 with Retry-After {wait[:30]}", (whole(b"{}", 429, f"Retry-After: {wait}"),), 429)
    for reset in ("1e12", "-1", "x", "9" * 400):
        lines = ("ratelimit-limit: 0", "ratelimit-remaining: -1", f"ratelimit-reset: {reset}")
        yield Hostile(f"a quota until {reset[:20]}", (whole(GOOD, 200, *lines),))


def _strangers() -> Iterator[Hostile]:
    for name, data in {
        "a TLS alert": b"\x15\x03\x03\x00\x02\x02\x28",
        "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
        "SMTP": b"220 mail.example ESMTP\r\n",
        "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18),
        "HTTP/0.9": GOOD,
        "a request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "zeros": bytes(1_000),
        "rubbish": bytes(range(256)) * 4,
        "a page of HTML": b"<html><body>hello</body></html>",
    }.items():
        yield Hostile(f"not HTTP: {name}", (data,), 0)
