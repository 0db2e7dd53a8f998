from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from airflow_provider_falinvoke.api.endpoint import DEFAULT_HOST, ConnectionExtra, Endpoint, is_loopback
from airflow_provider_falinvoke.exceptions import FalInvokeConfigError

KEY = "sk-do-0123456789abcdef"


def of(**fields: Any) -> Endpoint:
    return Endpoint.of("fal_x", **{"key": KEY, **fields})


def refusal(field: str, **fields: Any) -> str:
    """Return the error's text, once it is sure that it names the connection and the field, and keeps the key."""
    with pytest.raises(FalInvokeConfigError) as caught:
        of(**fields)
    message = str(caught.value)
    assert "'fal_x'" in message
    assert f"field {field!r}" in message
    assert KEY not in message
    assert not caught.value.may_pass
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return message


@pytest.mark.parametrize(
    ("field", "pasted"),
    [
        ("host", f"https://user:{KEY}@inference.do-ai.run"),
        ("host", f"user:{KEY}@inference.do-ai.run"),
        ("host", f"https://inference.do-ai.run?key={KEY}"),
        ("host", f"https://inference.do-ai.run/v1?key={KEY}"),
        ("host", f"https://inference.do-ai.run:999999/?key={KEY}"),
        ("host", f"http://inference.do-ai.run#{KEY}"),
        ("host", f"ftp://[::1?{KEY}"),
        ("schema", f"https://user:{KEY}@inference.do-ai.run"),
        ("schema", f"https://inference.do-ai.run?key={KEY}"),
    ],
)
def test_a_key_in_a_url_that_was_pasted_is_not_repeated(field: str, pasted: str) -> None:
    refusal(field, **{field: pasted})


@pytest.mark.parametrize("key", ["***", "*", "********", "Bearer ***"])
def test_a_mask_that_was_saved_for_the_key_is_told_as_that(key: str) -> None:
    assert "mask that Airflow shows" in refusal("password", key=key)


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({}, f"https://{DEFAULT_HOST}"),
        ({"host": ""}, f"https://{DEFAULT_HOST}"),
        ({"host": "  "}, f"https://{DEFAULT_HOST}"),
        ({"host": "inference.do-ai.run"}, "https://inference.do-ai.run"),
        ({"host": " inference.do-ai.run\n"}, "https://inference.do-ai.run"),
        ({"host": "https://api.digitalocean.com"}, "https://api.digitalocean.com"),
        ({"host": "https://api.digitalocean.com/"}, "https://api.digitalocean.com"),
        ({"host": "HTTPS://API.DigitalOcean.com"}, "https://api.digitalocean.com"),
        ({"host": "inference.do-ai.run/v1"}, "https://inference.do-ai.run"),
        ({"host": "https://inference.do-ai.run/v1/"}, "https://inference.do-ai.run"),
        ({"host": "https://inference.do-ai.run/v1/async-invoke"}, "https://inference.do-ai.run"),
        ({"host": "https://inference.do-ai.run/v1/async-invoke//"}, "https://inference.do-ai.run"),
        ({"host": "https://gate.example/fal"}, "https://gate.example/fal"),
        ({"host": "https://gate.example/fal/v1/async-invoke/"}, "https://gate.example/fal"),
        ({"host": "https://gate.example/v10"}, "https://gate.example/v10"),
        ({"host": "gate.example", "port": 8443}, "https://gate.example:8443"),
        ({"host": "gate.example:8443"}, "https://gate.example:8443"),
        ({"host": "gate.example:8443", "port": 9}, "https://gate.example:8443"),
        ({"host": "gate.example/fal/v1", "port": 8443}, "https://gate.example:8443/fal"),
        ({"host": "gate.example", "schema": "https"}, "https://gate.example"),
        ({"host": "gate.example", "schema": " HTTPS:// "}, "https://gate.example"),
        ({"host": "https://gate.example", "schema": "http"}, "https://gate.example"),
        ({"host": "127.0.0.1", "schema": "http", "port": 8000}, "http://127.0.0.1:8000"),
        ({"host": "http://127.0.0.1:8000"}, "http://127.0.0.1:8000"),
        ({"host": "http://127.8.9.10:8000/v1"}, "http://127.8.9.10:8000"),
        ({"host": "http://localhost:8000"}, "http://localhost:8000"),
        ({"host": "http://LOCALHOST"}, "http://localhost"),
        ({"host": "[::1]", "schema": "http", "port": 8000}, "http://[::1]:8000"),
        ({"host": "http://[::1]:8000/v1/async-invoke"}, "http://[::1]:8000"),
        ({"host": "[2001:db8::7]:8443"}, "https://[2001:db8::7]:8443"),
        ({"host": "bücher.example"}, "https://xn--bcher-kva.example"),
        ({"host": "gate.example."}, "https://gate.example."),
        ({"host": "my_service"}, "https://my_service"),
        ({"host": "http://emulator:8000", "extra": {"allow_http": True}}, "http://emulator:8000"),
    ],
)
def test_a_host_is_taken_in_each_form_and_the_path_of_the_api_is_never_doubled(
    fields: dict[str, Any], base_url: str
) -> None:
    assert of(**fields).base_url == base_url


@pytest.mark.parametrize(
    "host",
    ["http://emulator:8000", "http://127.0.0.1.evil.example", "http://0.0.0.0", "http://[::]", "http://10.0.0.1"],
)
def test_the_key_is_not_sent_unencrypted_to_another_machine(host: str) -> None:
    assert "allow_http" in refusal("host", host=host)
    assert "allow_http" in refusal("host", host=host.removeprefix("http://"), schema="http")


@pytest.mark.parametrize(
    "host",
    [
        "https://",
        "https:///v1",
        "//gate.example",
        "::1",
        "gate example",
        "gate.\texample",
        "https://gate.example?x=1",
        "https://gate.example/#top",
        "https://gate.example:port",
        "gate.example:99999",
        "gate..example",
        ".gate.example",
        ".",
        f"{'x' * 64}.example",
        f"{'x.' * 200}example",
        "ftp://gate.example",
        "gate.example\x00",
        "[::1",
    ],
)
def test_a_malformed_host_is_refused(host: str) -> None:
    refusal("host", host=host)


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_port_that_cannot_be_is_refused(port: int) -> None:
    refusal("port", host="gate.example", port=port)


@pytest.mark.parametrize("schema", ["ftp", "postgres", "garbage!!"])
def test_a_schema_that_is_not_spoken_is_refused(schema: str) -> None:
    refusal("schema", host="gate.example", schema=schema)


@pytest.mark.parametrize(
    "host",
    [
        f"https://user:{KEY}@gate.example",
        f"https://{KEY}@gate.example",
        f"ftp://user:{KEY}@gate.example",
        f"https://user:{KEY}@gate.example?x=1",
        f"https://user:{KEY}@gate.example:port",
        f"https://user:{KEY}@gate .example",
        f"user:{KEY}@gate.example",
    ],
)
def test_a_key_in_the_host_is_refused_and_not_repeated(host: str) -> None:
    refusal("host", host=host)


@pytest.mark.parametrize("key", [KEY, f" {KEY}\n", f"Bearer {KEY}", f"bearer {KEY}", f"  Bearer   {KEY} "])
def test_a_key_is_taken_as_people_paste_it(key: str) -> None:
    assert of(key=key).key.get_secret_value() == KEY


@pytest.mark.parametrize("key", [None, "", "  ", "\n", "Bearer "])
def test_a_missing_key_is_refused(key: str | None) -> None:
    assert "missing" in refusal("password", key=key)


@pytest.mark.parametrize("key", [f"{KEY} x", f"{KEY}\nX-Evil: 1", f"{KEY}\x00", f"{KEY}ü", f"{KEY}\x7f", f"a\tb{KEY}"])
def test_a_key_that_no_header_may_hold_is_refused_and_not_repeated(key: str) -> None:
    refusal("password", key=key)


def test_the_key_is_in_no_text_of_the_endpoint() -> None:
    endpoint = of()
    for text in (
        repr(endpoint),
        str(endpoint),
        f"{endpoint.key}",
        endpoint.model_dump_json(),
        str(endpoint.model_dump()),
    ):
        assert KEY not in text


def test_the_extra_has_defaults_and_takes_the_empty_fields_of_a_form_as_not_given() -> None:
    assert of().extra == ConnectionExtra()
    assert of(extra=None).extra == ConnectionExtra()
    assert of(extra=dict.fromkeys(ConnectionExtra.model_fields, "")).extra == ConnectionExtra()
    assert of(extra=dict.fromkeys(ConnectionExtra.model_fields)).extra == ConnectionExtra()


def test_numbers_and_booleans_of_the_extra_may_be_text() -> None:
    extra = of(
        extra={
            "connect_timeout": "5",
            "read_timeout": "30.5",
            "submit_patience": "0",
            "requests_per_minute": "100",
            "allow_http": "true",
            "ca_bundle": "/etc/ca.pem",
        }
    ).extra
    assert extra == ConnectionExtra(
        connect_timeout=5.0,
        read_timeout=30.5,
        submit_patience=0.0,
        requests_per_minute=100,
        allow_http=True,
        ca_bundle="/etc/ca.pem",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("connect_timeout", "read_timeout") for value in (0, -1, "x", "inf", "nan")),
        *(("submit_patience", value) for value in (-1, "inf", float("nan"), "x")),
        *(("requests_per_minute", value) for value in (0, -5, 2.5, "many")),
        ("allow_http", "perhaps"),
        ("ca_bundle", 5),
        ("on_ambiguous_submit", "shrug"),
        ("prices", "{cheap"),
        ("prices", "[]"),
        ("read_timout", 30),
    ],
)
def test_a_wrong_or_unknown_field_of_the_extra_is_refused_by_name(name: str, value: object) -> None:
    refusal(f"extra.{name}", extra={name: value})


def test_an_endpoint_is_frozen() -> None:
    with pytest.raises(ValidationError):
        setattr(of(), "base_url", "https://elsewhere.example")  # noqa: B010 - mypy knows that it cannot be set


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LocalHost", True),
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("inference.do-ai.run", False),
        ("", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_an_endpoint_knows_whether_it_is_this_machine() -> None:
    assert of(host="http://[::1]:80").is_loopback
    assert not of().is_loopback
