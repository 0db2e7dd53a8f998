"""Keeps web pages out: a browser on this machine must not be a way into the emulator. Pure."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from airflow_provider_falinvoke.emulator.asgi import Origin
from airflow_provider_falinvoke.emulator.replies import Reply, Request, error_reply


@dataclass(frozen=True)
class Guarded:
    """An origin that answers this machine's programs, and no page of another site.

    A page may send requests to any address, with an ``Origin`` that says where it is from; and it may read the
    replies where its own name leads here (DNS rebinding), which shows in ``Host``. A refused request leaves no record.

    :param origin: what answers the others.
    """

    origin: Origin

    def prepare(self, request: Request) -> Callable[[], object] | None:
        """Return the slow part of the answer."""
        return None if refusal(request) else self.origin.prepare(request)

    def answer(self, request: Request) -> Reply:
        """Return the reply."""
        return refusal(request) or self.origin.answer(request)


def refusal(request: Request) -> Reply | None:
    """Return the answer to a request that a page of another site sends; None for any other request."""
    host, origin = request.headers.get("host"), request.headers.get("origin")
    if host is not None and not _is_loopback(host):
        message = "The emulator answers to 127.0.0.1, ::1 and localhost only, and not to the name in the Host header."
        return error_reply(403, "forbidden", message)
    # A page of the emulator's own comes from the host that it asks.
    if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
        return error_reply(403, "forbidden", "The emulator answers no web page of another origin.")
    return None


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name.rstrip(".") == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
