"""A real HTTP server on this machine that answers as it is told: well, badly, late or not at all."""

from __future__ import annotations

import ipaddress
import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Request:
    """What the server saw."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    client: tuple[str, int]


@dataclass
class Server:
    """A running server: its address, what it shall answer, and what it saw.

    :param script: one entry for each request to come; the last one is kept for all that follow.
    """

    base_url: str
    script: list[Script] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    """Notes the request and leaves the answer to the script."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    state: Server

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        client = (self.client_address[0], self.client_address[1])
        request = Request(self.command, self.path, headers, self.rfile.read(length), client)
        self.state.requests.append(request)
        script = self.state.script
        (script.pop(0) if len(script) > 1 else script[0])(self)

    do_POST = do_CONNECT = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output clean."""


Script = Callable[[Handler], None]


def answer(status: int, body: Any = b"", *, length: int | None = None, **headers: str) -> Script:
    """Answer so; with a ``length`` beyond the body's own, the answer is cut off."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def script(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        handler.wfile.write(content)
        handler.close_connection = handler.close_connection or length is not None

    return script


def hang_up(handler: Handler) -> None:
    """Close the connection without a word."""
    handler.close_connection = True


def be_silent(handler: Handler) -> None:
    """Answer nothing until the server ends."""
    handler.state.closing.wait(10.0)
    handler.close_connection = True


def talk_nonsense(handler: Handler) -> None:
    """Answer something that is not HTTP."""
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    handler.close_connection = True


def echo_key(status: int) -> Script:
    """Answer with the Authorization header in the body, as a careless proxy may."""

    def script(handler: Handler) -> None:
        answer(status, {"message": f"bad header: {handler.headers['Authorization']}"})(handler)

    return script


def quote_key(handler: Handler) -> None:
    """Send the caller's key in a line that is no header."""
    key = handler.headers["Authorization"].removeprefix("Bearer ")
    handler.wfile.write(f"HTTP/1.1 200 OK\r\nkey {key}\r\n\r\n".encode())
    handler.close_connection = True


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, as some tests do, is nothing to report."""


@contextmanager
def serving(*script: Script, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Serve on a free port for as long as the block lasts."""

    class BoundHandler(Handler):
        """One class for each server, because the standard library makes an instance for each connection."""

    with _HTTPServer(("127.0.0.1", 0), BoundHandler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        state = Server(f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}", list(script))
        BoundHandler.state = state
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            state.closing.set()
            server.shutdown()
            thread.join()


@contextmanager
def listening_in_silence() -> Iterator[int]:
    """Give a port that takes connections and never says anything, not even in a TLS handshake."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextmanager
def hanging_up() -> Iterator[int]:
    """Give a port that takes connections and closes them at once."""

    class HangUp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1)

    with socketserver.TCPServer(("127.0.0.1", 0), HangUp) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def closed_port() -> int:
    """Return a port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def self_signed(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Make a certificate for 127.0.0.1 that nobody trusts; return the server's TLS settings and the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, **usage), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    return context, certificate_file
