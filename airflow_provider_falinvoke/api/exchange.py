"""What came back for a request, within bounds of time and size, and what the protocol is told of it. Sends nothing.

Whatever a library raises ends here, as a value. A reply that is not whole is a :class:`Failure` to a GET, which can be
repeated; to a POST it is a :class:`Reply` with ``cut``, because the job's id may be in what came.
"""

from __future__ import annotations

import ssl
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import httpx

from airflow_provider_falinvoke.api.outcomes import Failure, Reply, Send, is_success
from airflow_provider_falinvoke.api.printable import printable
from airflow_provider_falinvoke.api.reading import MASK, SHORTEST_KEY, masked

Clock = Callable[[], float]

#: The bytes that are read of a reply that says what is wrong.
ERROR_PAGE = 64 << 10
#: A reply of more bytes, or a compressed one, takes so long to read that an event loop must not do it.
LARGE = 64 << 10
#: The seconds for an answer, also of a request that was sent late.
LAST_ANSWER = 5.0
#: More codings than so many, one in the other, are an attack.
_CODINGS = 3
#: The bytes of a step in which a body is unpacked, so that what came before a fault in it is known.
_STEP = 1 << 10
#: Nothing was sent yet when one of these is raised; httpx reports a failed TLS handshake as ConnectError too.
_NEVER_ARRIVED = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


class Bounds(NamedTuple):
    """What one exchange may take.

    :param seconds: from its begin to the last byte (``exchange_timeout``).
    :param max_bytes: of its reply, unpacked (``max_reply_size``).
    :param key: what must not come back in a reply's body, or in the words of an error.
    """

    seconds: float
    max_bytes: int
    key: str = ""


def arguments(step: Send) -> dict[str, Any]:
    """Return a request as httpx builds it."""
    headers = {"Content-Type": "application/json"} if step.body is not None else {}
    return {"method": step.method, "url": step.path, "content": step.body, "headers": headers}


class Exchange:
    """One request, and what has come back so far.

    :param step: the request.
    :param bounds: what it may take; no more than until its ``answer_by``.
    :param now: the time, in the call's seconds.
    """

    __slots__ = (
        "_began",
        "_bounds",
        "_error",
        "_headers",
        "_is_whole",
        "_limit",
        "_raw",
        "_status",
        "_step",
        "seconds",
    )

    def __init__(self, step: Send, bounds: Bounds, now: float) -> None:
        self._step = step
        self._bounds = bounds
        #: What it may take, in seconds.
        self.seconds = min(bounds.seconds, max(LAST_ANSWER, step.answer_by - now))
        self._began = time.monotonic()
        self._status, self._limit = 0, 0
        self._headers: dict[str, str] = {}
        self._raw = bytearray()
        self._is_whole = False
        self._error: Exception | None = None

    def begin(self, response: httpx.Response) -> None:
        """Take the status and the headers."""
        self._status = response.status_code
        self._headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.raw
        }
        self._limit = self._bounds.max_bytes if response.is_success else min(ERROR_PAGE, self._bounds.max_bytes)

    def take(self, chunk: bytes) -> bool:
        """Take the next bytes of the body; return whether more are wanted."""
        self._raw += chunk
        return len(self._raw) <= self._limit

    def end(self) -> None:
        """Note that the body is whole."""
        self._is_whole = True

    def fail(self, error: Exception) -> None:
        """Note that nothing more will come."""
        self._error = error

    @property
    def is_large(self) -> bool:
        """Whether :meth:`outcome` may take long."""
        return len(self._raw) > LARGE or "content-encoding" in self._headers

    def outcome(self, at: float) -> Reply | Failure:
        """Return what the protocol is told.

        :param at: when the exchange ended, in the call's seconds.
        """
        if not self._status:
            arrived = not isinstance(self._error, _NEVER_ARRIVED)
            return Failure(self._words(), arrived, at, lasting=_is_lasting(self._error))
        body, is_sound = unpacked(bytes(self._raw), self._headers.get("content-encoding", ""), self._limit + 1)
        reply = Reply(self._status, self._headers, self._masked(body[: self._limit]), at, key=self._bounds.key)
        if not is_success(reply):  # the status says it all
            return reply
        is_large = len(body) > self._limit
        if self._is_whole and is_sound and not is_large:
            return reply
        if self._step.method == "GET":
            return Failure(self._cut(is_large), True, at, lasting=is_large, oversized=is_large)
        return replace(reply, cut=self._cut(is_large))

    def _cut(self, is_large: bool) -> str:
        if is_large:
            return f"the reply is larger than {self._limit} bytes; raise max_reply_size in the connection's extra"
        return "DecodingError: the reply cannot be unpacked" if self._is_whole else self._words()

    def _words(self) -> str:
        if not isinstance(self._error, _NEVER_ARRIVED) and time.monotonic() - self._began >= self.seconds:
            name = " (exchange_timeout)" if self.seconds == self._bounds.seconds else ""
            return f"no whole answer came within {self.seconds:g} s{name}"
        return masked(described(self._error), self._bounds.key)

    def _masked(self, body: bytes) -> bytes:
        # A host that repeats the key must not bring it into a log or an exception. Whoever reads the body masks the
        # other ways in which JSON may write it.
        key = self._bounds.key.encode()
        return body.replace(key, MASK.encode()) if len(key) >= SHORTEST_KEY else body


def unsendable(error: Exception, at: float) -> Failure:
    """Return the outcome of a request that could not even be built, and never can."""
    return Failure(described(error), False, at, lasting=True)


def described(error: Exception | None) -> str:
    """Return an error of whatever library as one line."""
    return printable(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, 300)


def unpacked(raw: bytes, codings: str, limit: int) -> tuple[bytes, bool]:
    """Undo a Content-Encoding, as far as ``limit`` bytes.

    What does not begin as its coding says is taken as it is: a proxy may have unpacked it, or nobody packed it.

    :param codings: the header; a coding that nobody here knows is taken for none.
    :return: what came of it, and whether nothing in it was damaged.
    """
    if not codings:
        return raw[:limit], True
    is_sound = True
    for coding in reversed([each.strip().lower() for each in codings.split(",")][:_CODINGS]):
        if coding not in ("gzip", "x-gzip", "deflate"):
            continue
        body, is_whole = _inflated(raw, zlib.MAX_WBITS | 32, limit)  # gzip or zlib, by its head
        if not body and coding == "deflate":
            body, is_whole = _inflated(raw, -zlib.MAX_WBITS, limit)
        if body:
            raw, is_sound = body, is_sound and is_whole
    return raw[:limit], is_sound


def _inflated(raw: bytes, kind: int, limit: int) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    left, engine = limit, zlib.decompressobj(kind)
    try:
        for start in range(0, len(raw), _STEP):
            piece = raw[start : start + _STEP]
            while piece and left:
                if engine.eof:  # the next member
                    engine = zlib.decompressobj(kind)
                parts.append(engine.decompress(piece, left))
                left -= len(parts[-1])
                piece = engine.unconsumed_tail or engine.unused_data
    except zlib.error:
        return b"".join(parts), False
    return b"".join(parts), True


def _is_lasting(error: BaseException | None) -> bool:
    if error is None:
        return False
    if isinstance(error, (ssl.SSLCertVerificationError, httpx.UnsupportedProtocol, httpx.LocalProtocolError)):
        return True
    return _is_lasting(error.__cause__ or error.__context__)
