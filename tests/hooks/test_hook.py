"""The hook: from a connection to calls, blocking and awaiting with one test body."""

from __future__ import annotations

import importlib
import json
import logging
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_falinvoke import exceptions
from airflow_provider_falinvoke._compat import AirflowNotFoundException
from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus
from airflow_provider_falinvoke.api.schedule import BriefWait
from airflow_provider_falinvoke.emulator import Emulator, Fault, ManualClock
from airflow_provider_falinvoke.emulator.certificate import make_certificate
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from tests.support.calls import Caller, step_time
from tests.support.tls import serving_tls

FAST, SLOW = "fal-ai/flux/schnell", "fal-ai/flux/slow"
Connect = Callable[..., None]


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Caller:
    return Caller(request.param)


@pytest.fixture
def connect(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Return a function that changes fields of the default connection, which leads to the emulator."""

    def change(**fields: Any) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_FALINVOKE_DEFAULT", json.dumps({**emulator.connection, **fields}))

    return change


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """Step the time under the hook and the emulator together."""
    clock = ManualClock(1_800_000_000.5)
    step_time(monkeypatch, clock, clock.advance)
    monkeypatch.setattr("airflow_provider_falinvoke.hooks.falinvoke.time.time", clock)
    return clock


@pytest.fixture
def stepped(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Any:
    with Emulator(clock=clock, durations={SLOW: 40.0}) as emulator:
        monkeypatch.setenv("AIRFLOW_CONN_FALINVOKE_DEFAULT", emulator.connection_json)
        yield emulator


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_submit_is_one_post(call: Caller, emulator: Emulator) -> None:
    invocation = call("submit", SLOW, {"prompt": "a fox"}, {"team": "a"})
    assert invocation.status is InvocationStatus.QUEUED
    assert list(emulator.jobs) == [invocation.request_id]
    job = emulator.jobs[invocation.request_id]
    assert (job.input, job.tags) == ({"prompt": "a fox"}, [{"key": "team", "value": "a"}])
    assert [request.route for request in emulator.requests] == ["post"]


def test_a_wrong_request_is_not_sent(call: Caller, emulator: Emulator) -> None:
    with pytest.raises(exceptions.FalInvokeInputError, match="num_images"):
        call("submit", FAST, {"prompt": "x", "num_images": 0})
    assert emulator.requests == []


def test_get_reads_status_and_result_in_one_request(call: Caller, emulator: Emulator) -> None:
    submitted = call("submit", FAST, {"prompt": "a fox"})
    found = call("get", submitted.request_id)
    assert found.status is InvocationStatus.COMPLETED
    assert found.output["images"][0]["content_type"] == "image/png"
    assert len(emulator.gets()) == 1


def test_an_unknown_id_is_refused_at_once(call: Caller, emulator: Emulator) -> None:
    with pytest.raises(exceptions.FalInvokeNotFoundError, match="nobody") as caught:
        call("get", "nobody/../models")
    assert caught.value.request_id == "nobody/../models"
    assert [request.path for request in emulator.requests] == ["/v1/async-invoke/nobody%2F..%2Fmodels"]


def test_wait_returns_the_completed_job_and_does_not_ask_again(call: Caller, stepped: Emulator) -> None:
    request_id = call("submit", SLOW, {"prompt": "a fox"}).request_id
    done = call("wait", request_id)
    assert done.status is InvocationStatus.COMPLETED
    ends_at = stepped.jobs[request_id].ends_at
    assert len([poll for poll in stepped.gets() if poll.at >= ends_at]) == 1
    assert 5 <= len(stepped.gets()) <= 25


def test_wait_gives_up_at_its_timeout_and_says_how_to_fetch_the_job(call: Caller, stepped: Emulator) -> None:
    request_id = call("submit", SLOW, {"prompt": "a fox"}).request_id
    with pytest.raises(exceptions.FalInvokeTimeoutError, match="can still be fetched") as caught:
        call("wait", request_id, timeout=10)
    assert caught.value.request_id == request_id
    assert stepped.gets()[-1].at == pytest.approx(1_800_000_010.5)


def test_wait_says_why_a_job_failed(call: Caller, emulator: Emulator) -> None:
    emulator.add_fault(Fault("fail", value="detail_list"))
    request_id = call("submit", FAST, {"prompt": "a fox"}).request_id
    with pytest.raises(exceptions.FalInvokeJobFailedError, match="prompt: field required"):
        call("wait", request_id)


def test_wait_goes_on_through_what_passes(call: Caller, stepped: Emulator) -> None:
    request_id = call("submit", SLOW, {"prompt": "a fox"}).request_id
    for fault in (Fault("answer", status=503), Fault("html"), Fault("answer", status=429, seconds=3), Fault("drop")):
        stepped.add_fault(fault)
    assert call("wait", request_id).status is InvocationStatus.COMPLETED
    assert len(stepped.posts()) == 1


def test_wait_stops_at_a_wrong_key_at_once(call: Caller, emulator: Emulator, connect: Connect) -> None:
    request_id = call("submit", SLOW, {"prompt": "a fox"}).request_id
    connect(password="wrong-key")
    with pytest.raises(exceptions.FalInvokeAuthError, match="password field"):
        call.to("falinvoke_default")("wait", request_id)
    assert len(emulator.gets()) == 1


def test_wait_briefly_takes_a_job_that_is_soon_done(stepped: Emulator, clock: ManualClock) -> None:
    hook = FalInvokeHook()
    request_id = hook.submit(SLOW, {"prompt": "a fox"}).request_id or ""
    later = hook.wait_briefly(request_id, submitted_at=clock(), brief=BriefWait(5.0))
    assert isinstance(later, float)
    assert clock() <= 1_800_000_005.5 < later
    done = hook.wait_briefly(request_id, submitted_at=1_800_000_000.5, brief=BriefWait(105.0))
    assert isinstance(done, Invocation)
    assert done.status is InvocationStatus.COMPLETED


def test_a_submit_that_cannot_arrive_is_repeated_for_the_connections_patience(
    call: Caller, clock: ManualClock, connect: Connect, emulator: Emulator
) -> None:
    connect(port=closed_port(), extra={"submit_patience": 20})
    with pytest.raises(exceptions.FalInvokeUnreachableError, match="nothing is paid"):
        call("submit", FAST, {"prompt": "x"})
    assert 1_800_000_005 < clock() <= 1_800_000_020.5
    assert emulator.requests == []


def test_a_submit_that_may_have_arrived_is_not_repeated(call: Caller, emulator: Emulator) -> None:
    emulator.add_fault(Fault("drop", on="post", accepted=True))
    with pytest.raises(exceptions.FalInvokeAmbiguousSubmitError, match="pay twice"):
        call("submit", FAST, {"prompt": "x"})
    assert len(emulator.posts()) == 1


def test_list_models_is_free(call: Caller, emulator: Emulator) -> None:
    assert "openai-gpt-oss-120b" in call("list_models")
    assert [request.path for request in emulator.requests] == ["/v1/models"]


FORMS: dict[str, Callable[[str, int], dict[str, Any]]] = {
    "host, schema and port": lambda host, port: {"host": host, "schema": "http", "port": port},
    "host with a port": lambda host, port: {"host": f"{host}:{port}", "schema": "http", "port": None},
    "a URL": lambda host, port: {"host": f"http://{host}:{port}", "schema": None, "port": None},
    "a URL, and a port beside it": lambda host, port: {"host": f"http://{host}", "schema": None, "port": port},
    "a URL with /v1": lambda host, port: {"host": f"http://{host}:{port}/v1", "schema": None, "port": None},
    "a URL with the call's path": lambda host, port: {
        "host": f"http://{host}:{port}/v1/async-invoke/",
        "schema": "",
        "port": None,
    },
    "extra as JSON text": lambda host, port: {
        "host": host,
        "schema": "http",
        "port": port,
        "extra": '{"read_timeout": 5, "connect_timeout": null, "ca_bundle": ""}',
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_connection_leads_to_the_same_call(
    form: str, call: Caller, emulator: Emulator, connect: Connect
) -> None:
    connect(**FORMS[form]("127.0.0.1", emulator.connection["port"]))
    assert call("test_connection")[0]
    assert [request.path for request in emulator.requests] == ["/v1/models"]


def test_a_connection_may_be_a_uri(call: Caller, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    key, port = quote(emulator.api_key, safe=""), emulator.connection["port"]
    uri = f"falinvoke://:{key}@127.0.0.1:{port}/http?read_timeout=5"
    monkeypatch.setenv("AIRFLOW_CONN_FALINVOKE_DEFAULT", uri)
    assert call("test_connection")[0]
    assert call.hook.endpoint.extra.read_timeout == 5


def test_the_default_host_is_the_vendors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FALINVOKE_DEFAULT", '{"conn_type": "falinvoke", "password": "k"}')
    assert FalInvokeHook().endpoint.base_url == "https://inference.do-ai.run"


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"password": None}, "password", "key is missing"),
        ({"password": "a b"}, "password", "Copy it again"),
        ({"host": "two words"}, "host", "not a host"),
        ({"host": "ftp://x"}, "host", "only https and http"),
        ({"host": "http://[::1", "port": None}, "host", "not a host"),
        ({"host": "http://api.example.com"}, "host", "unencrypted"),
        ({"host": "https://user:secret@x"}, "host", "password"),
        ({"extra": '{"no_such_thing": 1}'}, "extra.no_such_thing", "there is no such extra."),
        ({"extra": '{"read_timout": 1}'}, "extra.read_timout", "there is no such extra; 'read_timeout' may be meant."),
        ({"extra": '{"read_timeout": "soon"}'}, "extra.read_timeout", "valid number"),
        ({"extra": {"prices": "0.003 each"}}, "extra.prices", "it is not JSON"),
        ({"extra": {"ca_bundle": "/no/such/file.pem"}}, "extra.ca_bundle", "/no/such/file.pem"),
    ],
)
def test_a_wrong_connection_is_named_with_its_field(
    fields: dict[str, Any], field: str, words: str, *, call: Caller, emulator: Emulator, connect: Connect
) -> None:
    connect(**fields)
    with pytest.raises(exceptions.FalInvokeConfigError) as caught:
        call("get", "some-id")
    assert "'falinvoke_default'" in str(caught.value)
    assert f"'{field}'" in str(caught.value)
    assert words in str(caught.value)
    assert emulator.requests == []
    good, said = call("test_connection")
    assert (good, said) == (False, str(caught.value).replace("Connection 'falinvoke_default', field", "Field"))


@pytest.mark.parametrize("extra", ["nonsense", "[1]"])
def test_an_extra_that_is_no_json_is_named(extra: str, emulator: Emulator) -> None:
    """Airflow stores whatever is typed into the field."""
    from airflow.sdk import Connection

    connection = Connection(conn_id="falinvoke_default", **{**emulator.connection, "extra": extra})
    with pytest.raises(exceptions.FalInvokeConfigError, match=r"'extra'.*JSON object"):
        FalInvokeHook()._endpoint_of(connection)


def test_a_good_connection_passes_without_a_post(call: Caller, emulator: Emulator) -> None:
    good, said = call("test_connection")
    assert good
    assert said.startswith(emulator.url)
    assert emulator.posts() == []


def test_a_wrong_key_is_named_by_the_test(call: Caller, emulator: Emulator, connect: Connect) -> None:
    connect(password="wrong-key")
    good, said = call("test_connection")
    assert not good
    assert said.startswith(emulator.url)
    assert "401" in said
    assert "password field" in said
    assert "wrong-key" not in said
    assert emulator.posts() == []


def test_a_closed_port_is_named_by_the_test(call: Caller, connect: Connect) -> None:
    connect(port=closed_port())
    good, said = call("test_connection")
    assert not good
    assert "ConnectError" in said


def test_a_host_that_does_not_exist_is_named_by_the_test(call: Caller, connect: Connect) -> None:
    connect(host="https://api.invalid", schema=None, port=443)
    good, said = call("test_connection")
    assert not good
    assert said.startswith("https://api.invalid: ")
    assert "ConnectError" in said


def test_a_host_that_is_no_api_is_named_by_the_test(call: Caller, emulator: Emulator) -> None:
    emulator.add_fault(Fault("html", on="models", times=None))
    good, said = call("test_connection")
    assert not good
    assert "HTML page" in said


def test_a_connection_that_is_not_defined_is_a_sentence_and_no_exception(
    call: Caller, airflow_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_FALINVOKE_DEFAULT", raising=False)
    good, said = call("test_connection")
    assert not good
    assert "falinvoke_default" in said
    with pytest.raises(AirflowNotFoundException) as caught:
        call("get", "some-id")
    for words in (said, str(caught.value)):
        assert "`airflow connections import FILE`" in words
        assert '{"falinvoke_default": {"conn_type": "falinvoke", "password": "YOUR MODEL ACCESS KEY"}}' in words


# Airflow 3.3's own airflow.models.Connection uses what 3.3 deprecates.
@pytest.mark.filterwarnings("ignore:ProvidersManager.hooks is deprecated")
@pytest.mark.parametrize("where", ["airflow.models", "airflow.sdk"])
def test_airflows_test_button_uses_the_hook(where: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """It builds the hook by ``conn_name_attr``; on a worker (3.3) nothing but the object knows the connection."""
    made = importlib.import_module(where).Connection(conn_id="falinvoke_default", **emulator.connection)
    if where == "airflow.sdk":
        if not hasattr(made, "test_connection"):
            pytest.skip("only Airflow 3.3 has it")
        monkeypatch.delenv("AIRFLOW_CONN_FALINVOKE_DEFAULT")
    good, said = made.test_connection()
    assert good, said
    assert [request.path for request in emulator.requests] == ["/v1/models"]


def test_a_certificate_that_is_not_trusted_is_named_and_not_asked_again(
    call: Caller, connect: Connect, tmp_path: Path, clock: ManualClock
) -> None:
    certificate, key = make_certificate(tmp_path)
    with serving_tls(certificate, key) as port:
        connect(schema="https", port=port)
        good, said = call("test_connection")
        with pytest.raises(exceptions.FalInvokeUnreachableError, match=r"(?i)certificate"):
            call("submit", FAST, {"prompt": "x"})
    assert not good
    assert "certificate" in said.lower()
    assert clock() < 1_800_000_000.6


def test_a_ca_bundle_makes_a_private_certificate_good(call: Caller, connect: Connect, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with serving_tls(certificate, key) as port:
        connect(schema="https", port=port, extra={"ca_bundle": str(certificate)})
        assert call("list_models") == ["a-model"]


def test_a_ca_bundle_without_certificates_is_a_wrong_field(call: Caller, connect: Connect, tmp_path: Path) -> None:
    bundle = tmp_path / "empty.pem"
    bundle.write_text("no certificate here")
    connect(extra={"ca_bundle": str(bundle)})
    with pytest.raises(exceptions.FalInvokeConfigError, match=r"extra\.ca_bundle"):
        call("list_models")


def test_the_key_is_in_no_text_that_the_hook_makes(
    call: Caller, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even where the API repeats it in the body of an error."""
    caplog.set_level(logging.DEBUG)
    for status in (401, 500):
        emulator.add_fault(Fault("answer", status=status, body={"message": f"no: {emulator.api_key}"}, times=2))
    texts = [repr(call.hook), repr(call.hook.endpoint), str(vars(call.hook))]
    for name, args in (("get", ("x",)), ("list_models", ()), ("submit", (FAST, {"prompt": "x"}))):
        try:
            call(name, *args)
        except exceptions.FalInvokeError:
            texts.append(traceback.format_exc())
    assert any("***" in text for text in texts)
    assert not [text for text in (*texts, caplog.text) if emulator.api_key in text]


def test_a_redirect_is_not_followed(call: Caller, emulator: Emulator) -> None:
    emulator.add_fault(Fault("redirect", on="get"))
    with pytest.raises(exceptions.FalInvokeAPIError, match="Redirects are not followed"):
        call("get", "x")
    assert emulator.leaks == []
    assert len(emulator.requests) == 1
