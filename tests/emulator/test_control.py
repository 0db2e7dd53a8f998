"""Control from outside: over HTTP, from the command line, as a fixture."""

import gc
import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_provider_falinvoke.emulator import Emulator, Fault, ManualClock, RecordedRequest
from airflow_provider_falinvoke.emulator.__main__ import main
from airflow_provider_falinvoke.emulator.certificate import make_certificate
from tests.emulator.client import IMAGE, running

pytest_plugins = ["airflow_provider_falinvoke.emulator.pytest_plugin"]


def test_the_control_interface_shows_requests_jobs_and_leaks_without_a_key() -> None:
    with running() as api:
        request_id = api.submit()
        api.get(request_id)
        api.get(request_id, "/status")
        httpx.get(api.emulator.media_url + "/x", headers={"Authorization": "y"})
        control = api.emulator.url + "/_emulator/"
        shown = httpx.get(control + "requests").json()
        assert (shown["posts"], shown["gets"]) == (1, 2)
        assert shown["counters"] == {request_id: {"posts": 1, "gets": 2}}
        assert [one["route"] for one in shown["requests"]] == ["post", "get", "status", "media"]
        job = httpx.get(control + "jobs").json()[request_id]
        assert (job["model_id"], job["input"], job["status"]) == (IMAGE, {"prompt": "a red fox"}, "QUEUED")
        assert httpx.get(control + "leaks").json() == ["/x"]
        assert len(api.emulator.requests) == 4
        assert httpx.get(control + "nonsense").status_code == 404
        assert api.emulator.api_key not in json.dumps(shown)


def test_faults_are_set_shown_and_cleared_over_http() -> None:
    with running() as api:
        control = api.emulator.url + "/_emulator/faults"
        assert httpx.post(control, json={"kind": "answer", "status": 503, "times": None}).status_code == 201
        assert httpx.post(control, json=[{"kind": "fail"}, {"kind": "cut"}]).status_code == 201
        assert api.post().status_code == 503
        assert [(one["kind"], one["applied"]) for one in httpx.get(control).json()] == [
            ("answer", 1),
            ("fail", 0),
            ("cut", 0),
        ]
        refused = httpx.post(control, json={"kind": "nope"})
        assert (refused.status_code, refused.json()["id"]) == (422, "unprocessable_entity")
        assert httpx.post(control, content=b"{").status_code == 422
        assert httpx.delete(control).json() == []
        assert api.post().status_code == 202


def test_reset_forgets_everything_but_the_settings() -> None:
    with running(quota_per_minute=1) as api:
        api.submit()
        api.emulator.add_fault(Fault("drop"))
        httpx.get(api.emulator.media_url, headers={"Authorization": "y"})
        assert httpx.post(api.emulator.url + "/_emulator/reset").status_code == 200
        assert (api.emulator.jobs, api.emulator.requests, api.emulator.leaks) == ({}, [], [])
        assert api.post().status_code == 202
        assert api.post().status_code == 429
        api.emulator.reset()
        assert api.post().status_code == 202


def test_records_are_in_order_and_told_apart() -> None:
    with running() as api:
        first, second = api.submit(), api.submit()
        api.get(first)
        api.get(second, "/status")
        api.get(second)
        emulator = api.emulator
        assert [post.request_id for post in emulator.posts()] == [first, second]
        assert [get.request_id for get in emulator.gets()] == [first, second, second]
        path, at = f"/v1/async-invoke/{second}", 1_800_000_000.5
        assert emulator.gets(second) == [
            RecordedRequest("GET", f"{path}/status", "status", second, IMAGE, 200, at, accepted=False),
            RecordedRequest("GET", path, "get", second, IMAGE, 200, at, accepted=False),
        ]


def test_after_a_stop_nobody_listens_and_a_second_start_has_the_same_ports_and_jobs() -> None:
    with running() as api:
        request_id, url = api.submit(), api.emulator.url
        with pytest.raises(RuntimeError, match="is running"):
            api.emulator.start()
        api.emulator.stop()
        with pytest.raises(httpx.TransportError):
            api.get(request_id)
        with pytest.raises(httpx.ConnectError):
            api.get(request_id)
        api.emulator.start()
        assert api.emulator.url == url
        assert api.get(request_id).status_code == 200


def test_a_stop_ends_slow_replies_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with running() as api:
        api.emulator.add_fault(Fault("slow", seconds=600))
        with pytest.raises(httpx.ReadTimeout):
            api.http.get("/v1/models", timeout=0.05)
    assert set(threading.enumerate()) == before


def test_a_taken_port_is_told_and_frees_the_other() -> None:
    with Emulator() as first:
        taken = int(first.url.rpartition(":")[2])
        for second in (Emulator(taken), Emulator(media_port=taken)):
            with pytest.raises(OSError, match="in use"):
                second.start()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::"])
def test_it_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(ValueError, match="loopback addresses only"):
        Emulator(host=host).start()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_connection_leads_to_it(host: str) -> None:
    with Emulator(host=host, api_key="k") as emulator:
        port = emulator.connection["port"]
        assert emulator.url == f"http://{host}:{port}"
        assert emulator.connection == {
            "conn_type": "falinvoke",
            "host": host,
            "schema": "http",
            "port": port,
            "password": "k",
        }


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": ""},
        {"durations": {"m": -1}},
        {"jitter": 2},
        {"queue_time": -1},
        {"queue_time": float("nan")},
        {"accept_status": 201},
        {"statuses": {"DONE": "x"}},
        {"time_scale": 0},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|may"):
        Emulator(**settings)


def test_a_manual_clock_stands_still_and_never_runs_backwards() -> None:
    clock = ManualClock(5)
    assert (clock(), clock.advance(2), clock()) == (5, 7, 7)
    assert ManualClock()() > 1_700_000_000
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)


def test_the_fixture_leads_the_default_connection_to_the_emulator(falinvoke_emulator: Emulator) -> None:
    connection = json.loads(os.environ["AIRFLOW_CONN_FALINVOKE_DEFAULT"])
    assert connection == falinvoke_emulator.connection
    answer = httpx.get(
        f"{connection['schema']}://{connection['host']}:{connection['port']}/v1/models",
        headers={"Authorization": f"Bearer {connection['password']}"},
    )
    assert answer.status_code == 200


@pytest.mark.parametrize("target", ["/_emulator/requests", "/openapi.json", "/v1/models", "media"])
def test_a_page_whose_name_leads_here_reads_nothing(target: str) -> None:
    with Emulator() as emulator:
        url = emulator.media_url + "/files/x/0.png" if target == "media" else emulator.url + target
        port = url.split(":")[2].partition("/")[0]
        for host in (
            f"evil.example:{port}",
            "evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.1",
            "[::2]",
            "",
            "a b@[",
        ):
            assert httpx.get(url, headers={"Host": host}).status_code in (400, 403), host
        for host in (f"localhost:{port}", f"LOCALHOST.:{port}", "127.0.0.1", "127.3.2.1:1", f"[::1]:{port}"):
            assert httpx.get(url, headers={"Host": host}).status_code not in (400, 403), host


def test_a_page_of_another_origin_resets_nothing() -> None:
    with running() as api:
        api.submit()
        for origin in ("https://evil.example", "null", "http://localhost:1", f"{api.emulator.url}0", ""):
            answer = httpx.post(f"{api.emulator.url}/_emulator/reset", headers={"Origin": origin})
            assert (answer.status_code, answer.json()["id"]) == (403, "forbidden")
        assert len(api.emulator.jobs) == 1
        assert len(api.emulator.requests) == 1
        assert httpx.post(f"{api.emulator.url}/_emulator/reset", headers={"Origin": api.emulator.url}).is_success
        assert not api.emulator.jobs


@contextmanager
def _command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error", "-m", "airflow_provider_falinvoke.emulator", *arguments]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_line_prints_a_connection_logs_each_request_and_stops_cleanly(number: signal.Signals) -> None:
    arguments = ["--api-key", "it's", "--duration", "acme/painter=0", "--fault", '{"kind": "answer", "on": "models"}']
    with _command(*arguments) as process:
        assert process.stdout
        assert process.stderr
        url = process.stdout.readline().split()[1]
        media_url = process.stdout.readline().split()[1]
        line = process.stdout.readline()
        shell = ["sh", "-c", line + 'printf %s "$AIRFLOW_CONN_FALINVOKE_DEFAULT"']
        connection = json.loads(subprocess.run(shell, check=True, capture_output=True, text=True).stdout)
        assert url == f"http://127.0.0.1:{connection['port']}"
        headers = {"Authorization": f"Bearer {connection['password']}"}
        assert httpx.get(url + "/v1/models", headers=headers).status_code == 500
        document = {"model_id": "acme/painter", "input": {"prompt": "x"}}
        answer = httpx.post(url + "/v1/async-invoke", json=document, headers=headers)
        assert answer.status_code == 200
        assert answer.json()["output"]["images"][0]["url"].startswith(media_url)
        assert process.stdout.readline() == "GET /v1/models 500\n"
        assert process.stdout.readline() == f"POST /v1/async-invoke 200 {answer.json()['request_id']}\n"
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stdout.read() + process.stderr.read() == ""


def test_quiet_prints_no_requests() -> None:
    with _command("--quiet") as process:
        assert process.stdout
        url = process.stdout.readline().split()[1]
        httpx.get(url + "/v1/models")
        process.terminate()
        assert process.wait(10) == 0
        assert len(process.stdout.readlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--host", "0.0.0.0"], "loopback addresses only"),
        (["--fault", "{"], "argument --fault"),
        (["--fault", '{"kind": "nope"}'], "kind must be one of"),
        (["--duration", "m"], "is not NAME=VALUE"),
        (["--duration", "m=x"], "no number of seconds"),
        (["--status", "DONE=x"], "statuses may name"),
    ],
)
def test_the_command_line_says_what_is_wrong(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert why in capsys.readouterr().err
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_missing_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "try:\n    import airflow_provider_falinvoke.emulator\n"
        "except ImportError as error:\n    print(error)"
    )
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert (
        "needs uvicorn: install airflow-provider-falinvoke[emulator], with your Airflow's constraints" in result.stdout
    )


def test_the_emulator_imports_nothing_of_airflow_nor_of_the_client() -> None:
    program = (
        "import sys, airflow_provider_falinvoke.emulator.__main__\n"
        "ours = [m for m in sys.modules if m.startswith('airflow_provider_falinvoke.')]\n"
        "print([m for m in ours if not m.startswith('airflow_provider_falinvoke.emulator')], 'airflow' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "[] False"


def test_with_a_certificate_it_speaks_https_and_the_connection_trusts_it(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with Emulator(tls=(certificate, key)) as emulator:
        assert emulator.connection["schema"] == "https"
        trusted = ssl.create_default_context(cafile=emulator.connection["extra"]["ca_bundle"])
        headers = {"Authorization": f"Bearer {emulator.api_key}"}
        assert httpx.get(f"{emulator.url}/v1/models", headers=headers, verify=trusted).status_code == 200
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{emulator.url}/v1/models", headers=headers)
        for url in (emulator.url, emulator.media_url):
            assert url.startswith("https://")
            with pytest.raises(httpx.RemoteProtocolError):
                httpx.get(url.replace("https", "http"))


def test_in_one_option_it_speaks_https_with_a_certificate_of_its_own() -> None:
    with Emulator(tls=True) as emulator:
        certificate = emulator.connection["extra"]["ca_bundle"]
        assert certificate == emulator.certificate
        assert stat.S_IMODE((Path(certificate).parent / "key.pem").stat().st_mode) == 0o600
        trusted = ssl.create_default_context(cafile=certificate)
        trusted.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 has it
        headers = {"Authorization": f"Bearer {emulator.api_key}"}
        for host in ("127.0.0.1", "localhost"):
            url = emulator.url.replace("127.0.0.1", host)
            assert httpx.get(f"{url}/v1/models", headers=headers, verify=trusted).status_code == 200
        emulator.stop()
        emulator.start()
        assert httpx.get(f"{emulator.url}/v1/models", headers=headers, verify=trusted).status_code == 200
    del emulator
    gc.collect()
    assert not Path(certificate).exists()


def test_the_command_line_names_the_certificate_that_it_made() -> None:
    with _command("--tls") as process:
        assert process.stdout
        url = process.stdout.readline().split()[1]
        process.stdout.readline()
        connection = json.loads(process.stdout.readline().partition("=")[2].strip("'\n"))
        name, path = process.stdout.readline().split()
        assert (name, url[:8]) == ("certificate:", "https://")
        assert connection["extra"] == {"ca_bundle": path}
        trusted = ssl.create_default_context(cafile=path)
        assert httpx.get(f"{url}/v1/models", verify=trusted).status_code == 401
        process.terminate()
        assert process.wait(10) == 0
        assert not Path(path).exists()


def test_without_what_makes_a_certificate_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ValueError, match="needs cryptography"):
        Emulator(tls=True)


def test_a_certificate_that_cannot_be_read_is_refused_before_anything_listens(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Emulator(tls=(str(tmp_path / "none.pem"), str(tmp_path / "none.key")))


def test_a_log_of_another_encoding_shows_escapes() -> None:
    with _command() as process:
        assert process.stdout
        url = process.stdout.readline().split()[1]
        process.stdout.readline()
        process.stdout.readline()
        answer = httpx.get(
            f"{url}/v1/async-invoke/%E6%97%A5%E2%80%AE", headers={"Authorization": "Bearer emulator-key"}
        )
        assert answer.status_code == 404
        assert process.stdout.readline() == "GET /v1/async-invoke/%E6%97%A5%E2%80%AE 404 \\u65e5\\u202e\n"
        process.terminate()


def test_nothing_that_a_client_sends_acts_on_the_terminal_that_shows_the_log() -> None:
    odd = "/x\x1b[2J\x9b\u202e\u2028\r\ny"
    line = RecordedRequest("GET\x07", odd + "z" * 70_000, "other", odd, None, 404, 0.0).line()
    assert line.isprintable()
    assert len(line) < 2_000
    assert line.startswith("GET\\x07 /x\\x1b[2J")
