"""Where the API is and how to talk to it: a connection's fields, checked. Pure."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from airflow_provider_falinvoke.exceptions import FalInvokeConfigError

DEFAULT_HOST = "inference.do-ai.run"
_SUFFIXES = ("/v1/async-invoke", "/v1")
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ConnectionExtra(BaseModel):
    """The connection's extra field.

    :param connect_timeout: seconds until a connection must be made.
    :param read_timeout: seconds until the API must have answered.
    :param submit_patience: seconds that a submit may wait while the API is out of reach or answers 429.
    :param ca_bundle: path of a PEM file with the certificates to trust in place of the usual ones.
    :param requests_per_minute: the token's quota; the vendor's published default is 250.
    :param allow_http: send the key over plain http to a host that is not this machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    connect_timeout: Seconds = 10.0
    read_timeout: Seconds = 60.0
    submit_patience: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 120.0
    ca_bundle: str | None = None
    requests_per_minute: Annotated[int, Field(ge=1)] = 250
    allow_http: bool = False


class Endpoint(BaseModel):
    """A host of the API, the key for it, and the settings of the connection that names them."""

    model_config = ConfigDict(frozen=True)

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


def _wrong(conn_id: str, field: str, problem: str) -> FalInvokeConfigError:
    return FalInvokeConfigError(f"Connection {conn_id!r}, field {field!r}: {problem}.")


def _read_key(conn_id: str, key: str | None) -> str:
    key = (key or "").strip().removeprefix("Bearer ").strip()
    if not key:
        raise _wrong(conn_id, "password", "the model access key is missing. Create one in DigitalOcean's console")
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
        raise _wrong(conn_id, f"extra.{problem['loc'][0]}", problem["msg"]) from None


def _base_url(conn_id: str, host: str | None, schema: str | None, port: int | None) -> httpx.URL:
    text = (host or DEFAULT_HOST).strip().rstrip("/")
    scheme = (schema or "https").strip().lower().removesuffix("://")
    try:
        url = httpx.URL(text if "://" in text else f"{scheme}://{text}")
        if port and url.port is None:
            url = url.copy_with(port=port)
    except (httpx.InvalidURL, ValueError) as error:
        raise _wrong(conn_id, "host", f"{text!r} is not a host or a URL ({error})") from None
    if url.scheme not in ("http", "https"):
        raise _wrong(conn_id, "host", f"{text!r} has the scheme {url.scheme!r}; only https and http are spoken")
    if not url.host or any(character.isspace() for character in text) or url.query or url.fragment:
        raise _wrong(conn_id, "host", f"{text!r} is not a host or a base URL")
    if url.userinfo:
        raise _wrong(conn_id, "host", "a user name or password in the URL is not used. The key goes into the password")
    path = url.path.rstrip("/")
    for suffix in _SUFFIXES:
        path = path.removesuffix(suffix)
    return url.copy_with(path=path or "/")
