"""Where the API is and how to talk to it: a connection's fields, checked. Pure."""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from typing import Annotated, Any, Literal

import httpx
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import PydanticCustomError

from airflow_provider_falinvoke.api.pricing import Price
from airflow_provider_falinvoke.exceptions import FalInvokeConfigError

DEFAULT_HOST = "inference.do-ai.run"
_SUFFIXES = ("/v1/async-invoke", "/v1")
_MAX_PORT = 65_535
#: What is no scheme may be a URL with a key in it.
_SCHEME = re.compile(r"[a-z][a-z\d+.-]{0,15}")
#: The longest host name and the longest part of one between two dots (RFC 1035).
_MAX_NAME, _MAX_LABEL = 253, 63
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _from_json(value: Any) -> Any:
    # The connection form has text fields alone.
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise PydanticCustomError("json", "it is not JSON: {reason}", {"reason": str(error)}) from None


class ConnectionExtra(BaseModel):
    """The connection's extra field.

    :param connect_timeout: seconds until a connection must be made.
    :param read_timeout: seconds that the API may be silent.
    :param exchange_timeout: seconds that a request and its whole answer may take together.
    :param max_reply_size: bytes that an answer may have, unpacked.
    :param submit_patience: seconds that a submit may wait while the API is out of reach or answers 429.
    :param ca_bundle: path of a PEM file with certificates to trust beside the usual ones.
    :param requests_per_minute: the account's quota: how many requests a process sends for this connection at the most,
        where the API does not say that fewer are left. The vendor's published quota of a token is 250.
    :param requests_per_hour: the same for an hour; the vendor's published quota is 5,000.
    :param allow_http: send the key over plain http to a host that is not this machine.
    :param on_ambiguous_submit: what operators do about a submit that may have been accepted though no request_id came
        back: ``fail`` for good, or let Airflow's retries submit again.
    :param prices: prices by model_id, or their JSON; see :mod:`~airflow_provider_falinvoke.api.pricing`.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    connect_timeout: Seconds = 10.0
    read_timeout: Seconds = 60.0
    exchange_timeout: Seconds = 300.0
    max_reply_size: Annotated[int, Field(ge=1024)] = 64 << 20
    submit_patience: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 120.0
    ca_bundle: str | None = None
    requests_per_minute: Annotated[int, Field(ge=1)] = 250
    requests_per_hour: Annotated[int, Field(ge=1)] = 5000
    allow_http: bool = False
    on_ambiguous_submit: Literal["fail", "retry"] = "fail"
    prices: Annotated[dict[str, Price], BeforeValidator(_from_json)] = {}


class Endpoint(BaseModel):
    """A host of the API, the key for it, and the settings of the connection that names them."""

    model_config = ConfigDict(defer_build=True, frozen=True)

    base_url: str
    key: SecretStr
    extra: ConnectionExtra = ConnectionExtra()

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine."""
        return is_loopback(httpx.URL(self.base_url).host)

    @classmethod
    def of(
        cls,
        conn_id: str,
        *,
        host: str | None = None,
        schema: str | None = None,
        port: int | None = None,
        key: str | None = None,
        extra: dict[str, Any] | None = None,
    ) -> Endpoint:
        """Return the endpoint that a connection's fields describe.

        :param conn_id: the connection's name, for the errors.
        :param host: a host or a base URL; ``…/v1`` and ``…/v1/async-invoke`` at its end are taken off.
        :raises FalInvokeConfigError: a field is missing or cannot be right; it names the connection and the field.
        """
        settings = _read_extra(conn_id, extra or {})
        base_url = _base_url(conn_id, host, schema, port)
        if base_url.scheme == "http" and not (is_loopback(base_url.host) or settings.allow_http):
            raise _wrong(
                conn_id,
                "host",
                f"{str(base_url)!r} would send the key unencrypted. Use https, or set allow_http in the extra",
            )
        return cls(base_url=str(base_url).rstrip("/"), key=SecretStr(_read_key(conn_id, key)), extra=settings)


def is_loopback(host: str) -> bool:
    """Whether ``host`` names this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_name(host: str) -> bool:
    # What the resolver would refuse with a UnicodeError, which is no error of the network.
    labels = host.removesuffix(".").split(".")
    return len(host) <= _MAX_NAME and all(0 < len(label) <= _MAX_LABEL for label in labels)


def _wrong(conn_id: str, field: str, problem: str) -> FalInvokeConfigError:
    return FalInvokeConfigError(f"Connection {conn_id!r}, field {field!r}: {problem}.")


def _read_key(conn_id: str, key: str | None) -> str:
    key = re.sub(r"(?i)^bearer(\s+|$)", "", (key or "").strip())
    if not key:
        raise _wrong(conn_id, "password", "the model access key is missing. Create one in DigitalOcean's console")
    if not key.strip("*"):
        raise _wrong(
            conn_id,
            "password",
            "it is the mask that Airflow shows in place of a password, which was saved for one. Type the model access "
            "key in again",
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise _wrong(conn_id, "password", "the model access key has characters that no key has. Copy it again")
    return key


def _read_extra(conn_id: str, extra: dict[str, Any]) -> ConnectionExtra:
    # An empty field of the connection form arrives as "" or None.
    given = {name: value for name, value in extra.items() if value not in (None, "")}
    try:
        return ConnectionExtra.model_validate(given)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = str(problem["loc"][0])
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, ConnectionExtra.model_fields, 1)
            hint = f"; {near[0]!r} may be meant" if near else ""
            raise _wrong(conn_id, f"extra.{name}", f"there is no such extra{hint}") from None
        raise _wrong(conn_id, f"extra.{name}", problem["msg"]) from None


def _base_url(conn_id: str, host: str | None, schema: str | None, port: int | None) -> httpx.URL:
    text = (host or "").strip() or DEFAULT_HOST
    # First of all, so that no other error repeats what may be the key.
    if "@" in text:
        raise _wrong(conn_id, "host", "a user name or password in the URL is not used. The key goes into the password")
    if "?" in text or "#" in text:
        raise _wrong(conn_id, "host", "what follows a ? or # in the URL is not used. The key goes into the password")
    own_scheme, separator, _ = text.partition("://")
    scheme = (own_scheme if separator else schema or "https").strip().lower().removesuffix("://")
    if scheme not in ("http", "https"):
        field = "host" if separator else "schema"
        shown = repr(scheme) if _SCHEME.fullmatch(scheme) else "that was given"
        raise _wrong(conn_id, field, f"the scheme {shown} is not supported; only https and http are")
    if port and not 0 < port <= _MAX_PORT:
        raise _wrong(conn_id, "port", f"{port} is no port")
    try:
        url = httpx.URL(text if separator else f"{scheme}://{text}")
        if port and url.port is None:
            url = url.copy_with(port=port)
    except (httpx.InvalidURL, ValueError) as error:
        raise _wrong(conn_id, "host", f"{text!r} is not a host or a URL ({error})") from None
    odd = (url.port or 0) > _MAX_PORT or any(character.isspace() for character in text)
    if odd or not _is_name(url.raw_host.decode("ascii")):
        raise _wrong(conn_id, "host", f"{text!r} is not a host or a base URL")
    path = url.path.rstrip("/")
    for suffix in _SUFFIXES:
        path = path.removesuffix(suffix)
    return url.copy_with(path=path or "/")
