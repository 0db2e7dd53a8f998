"""Files come from hosts that nobody vouches for: each attack, and each mishap, on a real socket."""

from __future__ import annotations

import gzip
import hashlib
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke.api import downloads
from airflow_provider_falinvoke.api.clients import ssl_context
from airflow_provider_falinvoke.api.downloads import Downloader
from airflow_provider_falinvoke.api.endpoint import Endpoint
from airflow_provider_falinvoke.api.transfer import MediaFailedError
from tests.api.server import (
    Handler,
    Script,
    answer,
    be_silent,
    closed_port,
    hang_up,
    listening_in_silence,
    self_signed,
    serving,
)

BODY = hashlib.sha256(b"file").digest() * 10_000
TAG = '"version-1"'
Answer = Callable[..., list[Any]]


class Memory:
    """A sink that keeps what came."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.starts = 0

    def restart(self) -> None:
        self.data.clear()
        self.starts += 1

    def write(self, chunk: bytes) -> None:
        self.data += chunk


@pytest.fixture(autouse=True)
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "backoff", lambda _: 0.0)


def endpoint(host: str = "http://127.0.0.1:1", **extra: Any) -> Endpoint:
    return Endpoint.of("c", host=host, key="the-model-access-key", extra=extra)


def fetch(url: str, *, at: Endpoint | None = None, **limits: Any) -> bytes:
    sink = Memory()
    Downloader(at or endpoint(), **limits).fetch(url, sink)
    return bytes(sink.data)


def failure(url: str, *, at: Endpoint | None = None, **limits: Any) -> MediaFailedError:
    with pytest.raises(MediaFailedError) as caught:
        fetch(url, at=at, **limits)
    return caught.value


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let the resolver give these addresses for any ``*.test``, one answer after the other; return what was asked."""
    asked: list[str] = []
    left = list(answers)
    real = socket.getaddrinfo

    def fake(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if not name.endswith(".test"):
            return real(host, port, *args, **kwargs)
        asked.append(name)
        addresses = left.pop(0) if len(left) > 1 else left[0]
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    return asked


def part(first: int, *, stop: int | None = None, total: int = len(BODY), tag: str = TAG) -> Script:
    """Answer a range; with ``stop`` the connection breaks there."""
    content = BODY[first:stop]
    header = f"bytes {first}-{total - 1}/{total}"
    return answer(206, content, length=len(BODY) - first, Content_Range=header, ETag=tag)


def cut(at: int, **headers: str) -> Script:
    return answer(200, BODY[:at], length=len(BODY), **headers)


def whole(**headers: str) -> Script:
    return answer(200, BODY, length=None, **headers)


class TestResuming:
    """What came is kept where the host can give the rest, and where it can be sure that it is the rest."""

    def test_the_rest_is_fetched_after_a_drop(self) -> None:
        with serving(cut(100_000, ETag=TAG), part(100_000)) as host:
            assert fetch(host.base_url) == BODY
        first, second = host.requests
        assert "range" not in first.headers
        assert (second.headers["range"], second.headers["if-range"]) == ("bytes=100000-", TAG)

    def test_by_the_time_of_its_last_change_where_there_is_no_tag(self) -> None:
        when = "Thu, 01 Jan 2026 00:00:00 GMT"
        with serving(cut(50_000, Last_Modified=when), part(50_000, tag="")) as host:
            assert fetch(host.base_url) == BODY
        assert host.requests[1].headers["if-range"] == when

    @pytest.mark.parametrize("first", [cut(100_000), cut(100_000, ETag=f"W/{TAG}")])
    def test_from_the_start_where_no_version_is_named(self, first: Script) -> None:
        with serving(first, whole()) as host:
            assert fetch(host.base_url) == BODY
        assert "range" not in host.requests[1].headers

    def test_from_the_start_where_the_file_changed(self) -> None:
        with serving(cut(100_000, ETag=TAG), answer(200, b"another file", ETag='"2"')) as host:
            assert fetch(host.base_url) == b"another file"

    @pytest.mark.parametrize(
        "wrong",
        [
            part(99_999),
            part(100_001),
            part(100_000, total=len(BODY) + 1),
            part(100_000, tag='"version-2"'),
            answer(206, BODY[100_000:]),
            answer(416, Content_Range="bytes */5"),
        ],
        ids=["before", "after", "another size", "another version", "no range", "no such range"],
    )
    def test_a_wrong_part_is_not_put_together_with_what_there_is(self, wrong: Script) -> None:
        with serving(cut(100_000, ETag=TAG), wrong, whole(ETag=TAG)) as host:
            assert fetch(host.base_url) == BODY
        assert "range" not in host.requests[2].headers

    def test_an_error_in_between_does_not_lose_what_there_is(self) -> None:
        with serving(cut(100_000, ETag=TAG), answer(503), hang_up, part(100_000)) as host:
            assert fetch(host.base_url) == BODY
        assert host.requests[3].headers["range"] == "bytes=100000-"

    def test_tries_end_where_nothing_comes_but_not_while_much_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(downloads, "_ADVANCE", 10_000)
        steps = [cut(20_000, ETag=TAG), *(part(n, stop=n + 20_000) for n in range(20_000, 160_000, 20_000))]
        with serving(*steps, part(160_000)) as host:
            assert fetch(host.base_url) == BODY
        with serving(cut(20_000, ETag=TAG), part(20_000, stop=20_001), part(20_001, stop=20_002), hang_up) as host:
            assert "RemoteProtocolError" in str(failure(host.base_url))
        assert len(host.requests) == 4

    def test_a_resume_goes_by_the_first_url_again(self) -> None:
        """Where a redirect leads may expire sooner than the URL itself."""
        with serving(cut(100_000, ETag=TAG), part(100_000)) as host:
            moved = answer(302, Location=f"{host.base_url}/signed")
            with serving(moved) as front:
                assert fetch(front.base_url) == BODY
        assert len(front.requests) == 2


class TestLengths:
    """A host that says something else than it sends."""

    def test_fewer_bytes_than_were_announced_are_no_file(self) -> None:
        with serving(answer(200, BODY, length=len(BODY) + 1)) as host:
            assert "RemoteProtocolError" in str(failure(host.base_url))
        assert len(host.requests) == 4

    def test_more_bytes_than_were_announced_are_not_taken(self) -> None:
        with serving(answer(200, b"12345" + b"more", length=5)) as host:
            assert fetch(host.base_url) == b"12345"

    def test_a_file_of_no_announced_length_ends_with_its_connection(self) -> None:
        def endless(handler: Handler) -> None:
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(BODY)
            handler.close_connection = True

        with serving(endless) as host:
            assert fetch(host.base_url) == BODY

    @pytest.mark.parametrize("length", [None, "5"])
    def test_a_file_without_an_end_stops_at_the_limit(self, length: str | None) -> None:
        sent = []

        def endless(handler: Handler) -> None:
            handler.send_response(200)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            while not handler.state.closing.is_set():
                handler.wfile.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
                sent.append(1 << 16)

        with serving(endless) as host:
            assert "larger than 1000000 bytes" in str(failure(host.base_url, max_bytes=1_000_000))
        assert len(host.requests) == 1
        assert sum(sent) < 50_000_000

    def test_a_file_that_is_announced_as_too_large_is_not_fetched(self) -> None:
        with serving(answer(200, b"x", length=10**15)) as host:
            error = failure(host.base_url)
        assert "max_file_size" in str(error)
        assert error.lasting
        assert len(host.requests) == 1

    @pytest.mark.parametrize("length", ["-1", "1e9", "9" * 40, "ten"])
    def test_a_length_that_is_none_is_an_error_and_no_crash(self, length: str) -> None:
        def odd(handler: Handler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", length)
            handler.end_headers()
            handler.wfile.write(b"abc")
            handler.close_connection = True

        with serving(odd) as host:
            assert str(failure(host.base_url))

    def test_a_body_that_would_unfold_is_not_unfolded(self) -> None:
        bomb = gzip.compress(bytes(100 << 20))
        with serving(answer(200, bomb, Content_Encoding="gzip")) as host:
            assert "compressed" in str(failure(host.base_url, max_bytes=1 << 20))
        assert host.requests[0].headers["accept-encoding"] == "identity"


class TestTime:
    """The time for a file is the wall clock's, however its host spends it."""

    @staticmethod
    def drip(prefix: bytes) -> Script:
        def script(handler: Handler) -> None:
            handler.wfile.write(prefix)
            while not handler.state.closing.wait(0.05):
                handler.wfile.write(b"x")
                handler.wfile.flush()

        return script

    @pytest.mark.parametrize(
        "prefix",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-Endless: ",
            b"HTTP/1.1 302 Found\r\nLocation: /",
        ],
        ids=["body", "body of no length", "headers", "redirect"],
    )
    def test_a_host_that_drips_is_cut_off(self, prefix: bytes) -> None:
        started = time.monotonic()
        with serving(self.drip(prefix)) as host:
            assert "did not come within 1 s (download_timeout)" in str(failure(host.base_url, seconds=1.0))
        assert time.monotonic() - started < 15

    def test_a_host_that_drips_through_tls_is_cut_off(self, tmp_path: Path) -> None:
        tls, certificate = self_signed(tmp_path)
        here = endpoint(ca_bundle=str(certificate))
        with serving(self.drip(b"HTTP/1.1 200 OK\r\n\r\n"), tls=tls) as host:
            assert "download_timeout" in str(failure(host.base_url, at=here, seconds=1.0))

    def test_a_handshake_that_does_not_end_is_left(self) -> None:
        with listening_in_silence() as port:
            assert "download_timeout" in str(failure(f"https://127.0.0.1:{port}/a.png", seconds=0.5))

    def test_a_host_that_says_nothing_is_left(self) -> None:
        with serving(be_silent) as host:
            assert "download_timeout" in str(failure(host.base_url, seconds=0.5))

    def test_all_tries_share_the_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(downloads, "backoff", lambda _: 0.4)
        with serving(answer(503)) as host:
            assert "within 1 s (download_timeout); last: its host answered 503" in str(
                failure(host.base_url, seconds=1.0)
            )
        assert len(host.requests) < 4

    def test_a_host_that_asks_for_time_is_given_it(self) -> None:
        with serving(answer(429, Retry_After="1"), whole()) as host:
            started = time.monotonic()
            assert fetch(host.base_url) == BODY
        assert time.monotonic() - started >= 1

    def test_and_not_more_than_there_is(self) -> None:
        with serving(answer(429, Retry_After="86400")) as host:
            assert "last: its host answered 429" in str(failure(host.base_url))
        assert len(host.requests) == 1

    def test_a_download_that_is_stopped_ends_soon(self) -> None:
        with serving(self.drip(b"HTTP/1.1 200 OK\r\n\r\n")) as host:
            downloader = Downloader(endpoint())
            threading.Timer(0.3, downloader.stop).start()
            with pytest.raises(MediaFailedError, match="stopped"):
                downloader.fetch(host.base_url, Memory())


class TestRedirects:
    """A redirect is one more URL to be checked, without anything of the first one."""

    def test_each_kind_is_followed(self) -> None:
        with serving(whole()) as host:
            hops = [answer(status, Location="/next") for status in (301, 303, 307, 308)]
            with serving(*hops, answer(302, Location=host.base_url)) as front:
                assert fetch(f"{front.base_url}/first") == BODY
        assert [request.path for request in front.requests] == ["/first"] + ["/next"] * 4

    def test_they_are_not_followed_for_ever(self) -> None:
        with serving(answer(302, Location="/again")) as host:
            assert "more than 5 redirects" in str(failure(host.base_url))
        assert len(host.requests) == 6

    def test_no_credential_and_no_cookie_goes_anywhere(self) -> None:
        with serving(whole()) as host:
            first = answer(302, Location=f"{host.base_url}/a", Set_Cookie="session=secret; Path=/")
            with serving(first) as front:
                fetch(front.base_url)
                fetch(front.base_url)
        for request in front.requests + host.requests:
            assert {"authorization", "cookie", "referer"}.isdisjoint(request.headers)
            assert "the-model-access-key" not in str(request)

    @pytest.mark.parametrize(
        ("target", "words"),
        [
            ("file:///etc/passwd", "'file'"),
            ("ftp://127.0.0.1/x", "'ftp'"),
            ("http://user:word@127.0.0.1/x", "password"),
            ("http://169.254.169.254/latest/meta-data", "169.254.169.254"),
            ("http://[::ffff:169.254.169.254]/", "169.254.169.254"),
            ("http://0.0.0.0/", "reserved address"),
            ("http://192.168.0.1/", "private address"),
            ("https://10.0.0.1/", "private address"),
            ("http://[::ffff:10.0.0.1]/", "private address"),
            ("http://167772161/", "private address"),
            ("http://0x0a.1/", "private address"),
            ("http://012.0.0.1/", "Invalid IPv4 address"),
            ("http://224.0.0.1/", "reserved address"),
            ("http://[ff02::1]/", "reserved address"),
            ("http://[fe80::1]/", "reserved address"),
            ("http://[::1", "Invalid port"),
        ],
    )
    def test_one_that_leads_astray_is_not_followed(self, target: str, words: str) -> None:
        """The connection is this machine, so files may lie there, and still nowhere else that is not public."""
        with serving(answer(302, Location=target)) as host, pytest.raises(MediaFailedError, match=words):
            fetch(host.base_url)


class TestAddresses:
    """A connection to the vendor leads to no address that is not public, whatever a name resolves to."""

    vendor = staticmethod(lambda: endpoint("https://inference.vendor.test"))

    @pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254"])
    def test_a_name_of_such_an_address_is_refused(self, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        resolving(monkeypatch, ["93.184.216.34", address], ["93.184.216.34"])
        assert f"leads to {address}" in str(failure("https://media.test/a.png", at=self.vendor()))

    @pytest.mark.parametrize("url", ["https://127.0.0.1:{}/", "https://2130706433:{}/", "https://[::1]:{}/"])
    def test_a_loopback_address_is_refused_however_it_is_written(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolving(monkeypatch, ["93.184.216.34"])
        with serving(whole()) as host:
            port = host.base_url.rsplit(":", 1)[1]
            assert "loopback address" in str(failure(url.format(port), at=self.vendor()))
        assert host.requests == []

    def test_plain_http_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        resolving(monkeypatch, ["93.184.216.34"])
        error = failure("http://media.test/a.png", at=self.vendor())
        assert "only https" in str(error) and error.lasting

    def test_plain_http_beyond_this_machine_is_refused_for_a_connection_to_it_too(self) -> None:
        assert "not https" in str(failure("http://93.184.216.34/a.png"))

    def test_a_name_that_changes_its_address_gains_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """DNS rebinding: public when it is checked, this machine when it is connected to."""
        tls, certificate = self_signed(tmp_path)
        asked = resolving(monkeypatch, ["93.184.216.34"], ["127.0.0.1"], ["93.184.216.34"])
        with serving(whole(), tls=tls) as host:
            port = host.base_url.rsplit(":", 1)[1]
            vendor = endpoint("https://inference.vendor.test", ca_bundle=str(certificate))
            error = failure(f"https://media.test:{port}/a.png", at=vendor)
        assert "leads to 127.0.0.1, a loopback address" in str(error)
        assert asked[:2] == ["media.test", "media.test"]
        assert host.requests == [], "nothing was sent to it"

    def test_the_peer_is_checked_after_the_reply_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The events by which it is checked before have names of httpx's own."""
        monkeypatch.setattr(downloads._Connection, "trace", lambda *_: None)
        unverified = ssl.create_default_context()
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
        monkeypatch.setattr(downloads, "ssl_context", lambda _: unverified)
        resolving(monkeypatch, ["93.184.216.34"], ["127.0.0.1"], ["93.184.216.34"])
        with serving(whole(), tls=self_signed(tmp_path)[0]) as host:
            port = host.base_url.rsplit(":", 1)[1]
            assert "leads to 127.0.0.1" in str(failure(f"https://media.test:{port}/a.png", at=self.vendor()))
        assert len(host.requests) == 1

    @pytest.mark.parametrize("port", ["", ":8443"])
    def test_a_private_connection_may_have_its_files_on_its_own_host_only(self, port: str) -> None:
        gateway = endpoint(f"https://10.0.0.7{port}")
        own = downloads._parsed(f"https://x{port}")
        assert Downloader(gateway)._check(own, "10.0.0.7") is None  # type: ignore[func-returns-value]  # that it returns is the point
        for url in (
            f"https://10.0.0.8{port}/",
            f"https://192.168.3.4{port}/",
            "https://10.0.0.7:6443/",
            "https://127.0.0.1/",
            "https://169.254.169.254/",
            "https://0.0.0.0/",
        ):
            assert "address" in str(failure(url, at=gateway))

    @pytest.mark.parametrize(
        ("host", "quoted"),
        [("https://10.0.0.7", False), ("https://93.184.216.34", True), ("http://127.0.0.1:1", True)],
    )
    def test_what_a_host_says_is_quoted_unless_it_is_in_a_private_network(self, host: str, quoted: bool) -> None:
        assert Downloader(endpoint(host)).quotes is quoted

    def test_a_host_that_cannot_be_looked_up_is_tried_again(self) -> None:
        error = failure("https://nowhere.invalid/a.png")
        assert "nowhere.invalid cannot be looked up" in str(error)
        assert not error.gone and not error.lasting

    def test_a_certificate_that_nobody_trusts_is_not_taken(self, tmp_path: Path) -> None:
        tls, certificate = self_signed(tmp_path)
        with serving(whole(), tls=tls) as host:
            assert "CERTIFICATE_VERIFY_FAILED" in str(failure(host.base_url))
            ssl_context.cache_clear()
            assert fetch(host.base_url, at=endpoint(ca_bundle=str(certificate))) == BODY


class TestProxies:
    """A proxy of the environment is used for hosts out there, and what can be checked is."""

    @pytest.fixture
    def proxy(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        with serving(answer(502)) as running:
            monkeypatch.setenv("HTTPS_PROXY", running.base_url.removeprefix("http://"))
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
            yield running

    vendor = staticmethod(lambda: endpoint("https://inference.vendor.test"))

    def test_a_name_that_the_proxy_alone_knows_is_left_to_it(self, proxy: Any) -> None:
        """The proxy's own address may well be private."""
        assert "ProxyError" in str(failure("https://media.invalid/a.png", at=self.vendor()))
        assert {(request.method, request.path) for request in proxy.requests} == {("CONNECT", "media.invalid:443")}

    def test_a_name_that_is_known_to_be_private_is_refused(self, proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        resolving(monkeypatch, ["10.0.0.1"], ["93.184.216.34"])
        assert "private address" in str(failure("https://media.test/a.png", at=self.vendor()))
        assert proxy.requests == []

    def test_a_host_that_is_excepted_is_reached_directly(self, proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_PROXY", "media.test")
        resolving(monkeypatch, ["10.0.0.1"], ["93.184.216.34"])
        assert "private address" in str(failure("https://media.test/a.png", at=self.vendor()))

    def test_this_machine_is_reached_directly(self, proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url)
        with serving(whole()) as host:
            assert fetch(host.base_url) == BODY
        assert proxy.requests == []


def test_a_refused_connection_is_tried_again_and_named() -> None:
    assert "ConnectError" in str(failure(f"http://127.0.0.1:{closed_port()}/a.png"))


@pytest.mark.parametrize(
    "url",
    [
        "https://[::1",
        "http://127.0.0.1:10:port/" + "x" * 100_000,
        "https://" + "a" * 70 + ".invalid" * 60,
        "https://\x7f/",
    ],
)
def test_a_url_that_cannot_be_one_is_named(url: str) -> None:
    assert str(failure(url))


@pytest.mark.parametrize("trouble", [answer(403), answer(500), hang_up, answer(200, b"x", length=5)])
def test_the_query_of_a_signed_url_is_in_no_error_and_no_traceback(trouble: Script) -> None:
    """Whoever has it has the file."""
    with serving(trouble) as host:
        error = failure(f"{host.base_url}/a.png?Signature=secret")
    assert "secret" not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize("trouble", [hang_up, be_silent, answer(503), answer(200, b"half", length=500)])
def test_a_failure_that_may_pass_is_tried_again(trouble: Script) -> None:
    with serving(trouble, whole()) as host:
        assert fetch(host.base_url, at=endpoint(read_timeout=0.3)) == BODY
    assert len(host.requests) == 2


@pytest.mark.parametrize(
    "error",
    [
        OSError(107, "Transport endpoint is not connected"),
        ssl.SSLError("bad record"),
        EOFError(),
        ValueError("?key=secret"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_fault_of_the_network_is_tried_again_whatever_its_type(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not all that breaks in a connection is httpx's own error: its peer may be gone when it is asked for."""
    check, left = downloads._Connection.check_peer, [error]

    def failing(connection: Any, stream: Any) -> None:
        if left:
            raise left.pop()
        check(connection, stream)

    monkeypatch.setattr(downloads._Connection, "check_peer", failing)
    with serving(whole()) as host:
        assert fetch(host.base_url) == BODY


def test_a_fault_of_the_network_that_lasts_is_named_without_a_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> None:
        raise OSError(107, "no peer of https://host/a?key=secret")

    monkeypatch.setattr(downloads._Connection, "check_peer", failing)
    with serving(whole()) as host:
        error = failure(host.base_url)
    assert "OSError" in str(error) and not error.gone and not error.lasting
    assert "secret" not in "".join(traceback.format_exception(error))


def test_what_a_sink_raises_is_not_taken_for_the_hosts_failure() -> None:
    """A full disk is not mended by another request."""

    class Full(Memory):
        def write(self, chunk: bytes) -> None:
            raise OSError(28, "No space left on device")

    with serving(whole()) as host, pytest.raises(OSError, match="No space left"):
        Downloader(endpoint()).fetch(host.base_url, Full())
    assert len(host.requests) == 1


def test_a_connection_that_is_reset_after_its_headers_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its peer has no address any more when it is checked, which is an OSError of no library's kind."""
    calls = 0
    real = socket.socket.getpeername

    def getpeername(sock: socket.socket) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:  # the first is while it connects
            raise OSError(107, "Transport endpoint is not connected")
        return real(sock)

    monkeypatch.setattr(socket.socket, "getpeername", getpeername, raising=False)
    with serving(answer(200, BODY)) as server:
        assert fetch(f"{server.base_url}/a") == BODY
    assert len(server.requests) == 2


@pytest.mark.parametrize("error", [OSError(107, "gone"), ValueError("x"), UnicodeError("x"), RuntimeError("x")])
def test_no_exception_of_a_library_reaches_who_fetches(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("airflow_provider_falinvoke.api.network.Transport.handle_request", fail, raising=False)
    assert type(error).__name__ in str(failure("http://127.0.0.1:1/a"))


def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "ftp://proxy.test")
    assert "HTTPS_PROXY names a proxy" in str(failure("https://a.test/b", at=endpoint("https://api.test")))
