"""The connection form and its Test button, used as a user does, from the labels to what the hook makes of it all."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Connection

from airflow_provider_falinvoke.api.endpoint import ConnectionExtra, Endpoint
from airflow_provider_falinvoke.emulator import Emulator
from airflow_provider_falinvoke.get_provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from tests.airflow.deployment import Deployment
from tests.browser.conftest import KEY
from tests.browser.pages import Pages

if TYPE_CHECKING:
    from playwright.sync_api import Locator

WRONG_KEY = "a-key-that-nobody-made-77c0"


def text_of(form: Locator) -> str:
    return str(form.inner_text())


def stored(airflow: Deployment, conn_id: str) -> Connection:
    """Return the connection as a task of the deployment gets it."""
    exported = airflow.home / f"{conn_id}.json"
    airflow.run("connections", "export", str(exported))
    fields = json.loads(exported.read_text())[conn_id]
    exported.unlink()
    names = ("host", "schema", "login", "password", "port", "extra", "description")
    return Connection(conn_id=conn_id, conn_type=fields["conn_type"], **{name: fields[name] for name in names})


def endpoint_of(connection: Connection) -> Endpoint:
    """Return what the hook makes of a connection."""
    return FalInvokeHook(connection.conn_id)._endpoint_of(connection)


def emulated(vendor: Emulator, **changes: Any) -> dict[str, Any]:
    """Return the fields of a connection to the emulator, as one types them."""
    return {name: vendor.connection[name] for name in ("host", "port", "schema", "password")} | changes


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_the_form_says_what_each_field_is(pages: Pages) -> None:
    """Our labels, placeholders and help texts, and no field that means nothing here."""
    form = pages.new_connection("my_account")
    pages.picture("connection-form")
    shown = text_of(form)
    for label in UI_FIELD_BEHAVIOUR["relabeling"].values():
        assert label in shown
    for name, words in UI_FIELD_BEHAVIOUR["placeholders"].items():
        assert form.locator(f"[name={name}]").get_attribute("placeholder") == words
    assert form.locator("[name=login]").count() == 0
    assert form.locator("[name=password]").get_attribute("type") == "password"

    pages.unfold(form, "Extra Fields")
    form.get_by_text(CONN_FIELDS["connect_timeout"]["label"], exact=True).wait_for()
    shown = text_of(form)
    for field in CONN_FIELDS.values():
        assert field["label"] in shown
        assert field["description"] in shown
    pages.page.set_viewport_size({"width": 1280, "height": 1550})
    pages.picture("connection-extra")


def test_what_is_typed_is_what_the_hook_reads(pages: Pages, airflow: Deployment) -> None:
    form = pages.new_connection("typed")
    typed = {"host": "api.example.com", "port": 8443, "schema": "https", "description": "ours", "password": KEY}
    pages.fill(form, typed)
    pages.unfold(form, "Extra Fields")
    prices = '{\n  "fal-ai/fast-sdxl": {"per_image": 0.003}\n}'
    numbers = {"connect_timeout": 5, "read_timeout": 45, "submit_patience": 30, "requests_per_minute": 125}
    extra = {**numbers, "ca_bundle": "/etc/ssl/ours.pem", "prices": prices}
    pages.fill(form, {f"element_{name}": value for name, value in extra.items()})
    form.get_by_label("On ambiguous submit").fill("retry")
    pages.page.get_by_role("option", name="retry").click()
    form.get_by_label("Allow plain http").press("Space")
    pages.save(form)

    connection = stored(airflow, "typed")
    endpoint = endpoint_of(connection)
    assert (endpoint.base_url, endpoint.key.get_secret_value()) == ("https://api.example.com:8443", KEY)
    assert (connection.description, connection.login) == ("ours", None)
    assert endpoint.extra == ConnectionExtra.model_validate(
        {**extra, "on_ambiguous_submit": "retry", "allow_http": True}
    )


def test_a_key_alone_is_a_connection_to_the_vendor(pages: Pages, airflow: Deployment) -> None:
    """What is left empty is the default, however the form writes it."""
    form = pages.new_connection("key_alone")
    pages.fill(form, {"password": KEY})
    pages.save(form)
    endpoint = endpoint_of(stored(airflow, "key_alone"))
    assert (endpoint.base_url, endpoint.extra) == ("https://inference.do-ai.run", ConnectionExtra())


def test_the_test_button_says_that_it_works_and_pays_for_nothing(pages: Pages, vendor: Emulator) -> None:
    form = pages.new_connection("falinvoke_default")
    pages.fill(form, emulated(vendor))
    pages.save(form)
    vendor.reset()
    good, said = pages.press_test("falinvoke_default")
    pages.picture("connection-test")
    assert good, said
    assert said.startswith(f"{vendor.url} takes the key")
    assert [(request.method, request.path) for request in vendor.requests] == [("GET", "/v1/models")]


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("wrong_key", {"password": WRONG_KEY}, ["401", "Check the model access key"]),
        ("no_key", {"password": ""}, ["the model access key is missing"]),
        ("wrong_host", {"host": "api.invalid", "schema": "https"}, ["https://api.invalid:", "connection's host"]),
        ("no_network", {"port": closed_port()}, ["refused", "the network"]),
        ("wrong_prices", {"element_prices": "0.003 each"}, ["extra.prices", "JSON"]),
    ],
)
def test_the_test_button_says_what_is_wrong(
    name: str, changes: dict[str, Any], words: list[str], *, pages: Pages, vendor: Emulator
) -> None:
    """In a sentence that tells what to look at, and no name or word that only a program knows."""
    form = pages.new_connection(name)
    extra = {field: value for field, value in changes.items() if field.startswith("element_")}
    pages.fill(form, {field: value for field, value in emulated(vendor, **changes).items() if field not in extra})
    if extra:
        pages.unfold(form, "Extra Fields")
        pages.fill(form, extra)
    pages.save(form)
    vendor.reset()
    good, said = pages.press_test(name)
    pages.picture(f"connection-{name.replace('_', '-')}", of=pages.note)
    assert not good
    for word in words:
        assert word in said
    assert WRONG_KEY not in said
    assert vendor.posts() == []


def test_the_key_is_shown_nowhere(pages: Pages, airflow: Deployment, vendor: Emulator) -> None:
    """Not in what the pages are answered, not in a file of Airflow's; and an edit that leaves it alone keeps it."""
    form = pages.new_connection("hidden")
    pages.fill(form, emulated(vendor))
    pages.save(form)
    form = pages.edit_connection("hidden")
    assert form.locator("[name=password]").input_value() == "***"
    pages.fill(form, {"description": "edited"})
    pages.save(form)
    assert pages.press_test("hidden")[0]

    assert any("/api/v2/connections/test" in answer for answer in pages.answers)
    assert [answer for answer in pages.answers if KEY in answer] == []
    files = [path for path in airflow.home.rglob("*") if path.is_file()]
    assert {"airflow.db", "api-server.log"} <= {path.name for path in files}
    assert [str(path) for path in files if KEY.encode() in path.read_bytes()] == []
    connection = stored(airflow, "hidden")
    assert (connection.description, connection.password) == ("edited", KEY)
