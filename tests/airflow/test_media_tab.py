"""The Media tab behind a real api-server: who sees it, what it shows, and what it does not give away."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.airflow.deployment import Deployment
from tests.airflow.media_tab_data import DAG_ID, HEARTBEAT, RUN_ID
from tests.support.s3 import CONN_ID, Bucket, new_bucket, s3_serving
from tests.support.samples import picture, wav

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'{{ 7*7 }}"


def described(path: str, data: bytes, content_type: str = "image/png", **more: Any) -> dict[str, Any]:
    """Return what a result says of a file."""
    return {
        "path": path,
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "content_type": content_type,
        "number": 1,
        "source_url": "https://v3.fal.media/x",
        "saved_at": "2026-01-01T00:00:00+00:00",
        **more,
    }


def result(*files: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "request_id": "r-1",
        "model_id": "fal-ai/x",
        "prompt": "A fox",
        "files": list(files),
        "manifest": None,
    } | more


class Guarded(Deployment):
    """A deployment that asks who comes, unlike the others, in which everybody is an admin."""

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/api/v2/version", trust_env=False).is_success
        except httpx.HTTPError:
            return False


@dataclass(frozen=True)
class Tab:
    """The tab's app, as a browser asks for it.

    :param tokens: of a viewer, of somebody without rights, and of the worker of a task.
    :param running: the id of that task's instance.
    """

    airflow: Deployment
    tokens: dict[str, str]
    running: str
    picture: bytes
    sound: bytes

    def get(
        self, task_id: str, tail: str = "", *, method: str = "GET", user: str | None = "viewer", **headers: str
    ) -> Any:
        """Ask for a task's page, or what is below it, with the cookie of a user."""
        base = f"http://127.0.0.1:{self.airflow.port}/falinvoke/media"
        url = f"{base}/{DAG_ID}/{quote(RUN_ID)}/{task_id}/%7BMAP_INDEX%7D/{tail}"
        cookies = {} if user is None else {"_token": self.tokens.get(user, user)}
        with httpx.Client(cookies=cookies, trust_env=False, timeout=60) as client:
            return client.request(method, url, headers=headers)

    def heartbeat(self) -> float:
        """Say that the running task is alive, as its worker does; return how many seconds that took."""
        answer = httpx.put(
            f"http://127.0.0.1:{self.airflow.port}/execution/task-instances/{self.running}/heartbeat",
            json=HEARTBEAT,
            headers={"Authorization": f"Bearer {self.tokens['worker']}"},
            trust_env=False,
            timeout=60,
        )
        assert answer.status_code == 204, answer.text
        return answer.elapsed.total_seconds()


@contextmanager
def silence() -> Iterator[int]:
    """Yield a port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        yield listener.getsockname()[1]


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    home = tmp_path_factory.mktemp("tab")
    (home / "dags").mkdir()
    drawn, heard = picture("PNG", (64, 48)), wav(1.0)
    (home / "a.png").write_bytes(drawn)
    (home / "a.wav").write_bytes(heard)
    (home / "a.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    os.mkfifo(home / "pipe.png")
    here = f"file://{home}"
    with silence() as silent, s3_serving() as (url, client):
        bucket: Bucket = new_bucket(url, client)
        client.put_object(Bucket=bucket.bucket, Key="made/a.png", Body=drawn)
        rows = [
            {
                "index": index,
                "state": "done" if index != 3 else "refused",
                "error": None if index != 3 else "The job failed",
                "prompt": f"Prompt {index}",
                "files": [described(f"{bucket.path()}/a.png", drawn)] if index != 3 else [],
            }
            for index in range(10_000)
        ]
        lines = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
        client.put_object(Bucket=bucket.bucket, Key="made/manifest.jsonl", Body=lines)
        results: dict[str, Any] = {
            "draw": result(described(f"{here}/a.png", drawn, width=64, height=48, seed=7), seconds=2.5),
            "on_s3": result(described(f"{bucket.path()}/a.png", drawn)),
            "play": result(described(f"{here}/a.wav", heard, "audio/wav", duration=1.0)),
            "hostile": result(
                described(f"{here}/{HOSTILE}", drawn, "image/png", model_id=HOSTILE), prompt=HOSTILE, request_id=HOSTILE
            ),
            "svg": result(described(f"{here}/a.svg", (home / "a.svg").read_bytes(), "image/svg+xml")),
            "passwd": result(described("file:///etc/passwd", Path("/etc/passwd").read_bytes())),
            "other_size": result(described(f"{here}/a.png", b"x")),
            "pipe": result(described(f"{here}/pipe.png", b"")),
            "gone": result(described(f"{here}/gone.png", b"x")),
            "remote": result(described(f"http://127.0.0.1:{url.rpartition(':')[2]}/{bucket.bucket}/made/a.png", drawn)),
            "batch": {"items": 10_000, "done": 9_999, "failed": 1, "manifest": f"{bucket.path()}/manifest.jsonl"},
            "no_batch": {"items": 1, "done": 1, "manifest": f"{here}/dags/manifest.jsonl"},
            "many": result(*[described(f"{here}/a.png", drawn, number=number) for number in range(2_000)]),
            "fat": {"items": 24, "done": 24, "manifest": f"{here}/fat/manifest.jsonl"},
            "wide": {"items": 24, "done": 24, "manifest": f"{here}/wide/manifest.jsonl"},
            "hidden": {"items": 1, "done": 1, "manifest": f"{here}/nowhere/manifest.jsonl"},
            "held": result(described("s3://silent@bucket/a.png", drawn)),
            "held_batch": {"items": 1, "done": 1, "manifest": "s3://silent@bucket/manifest.jsonl"},
            "elsewhere": f"{here}/xcoms/result.json",
            "other": {"x": 1},
            "running": None,
        }
        (home / "dags" / "manifest.jsonl").write_text('{"secret": "swordfish"}\n')
        (home / "xcoms").mkdir()
        (home / "xcoms" / "result.json").write_text(json.dumps(result(described(f"{here}/a.png", drawn))))
        for name, row in (("fat", {"prompt": "x" * (4 << 20)}), ("wide", {"files": results["many"]["files"][:64]})):
            (home / name).mkdir()
            line = json.dumps({"index": 0, "state": "done", "error": None, "files": [], **row})
            (home / name / "manifest.jsonl").write_text(f"{line}\n" * 24)
        settings = {
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
            "AIRFLOW__CORE__XCOM_BACKEND": "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend",
            "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": f"{here}/xcoms",
        }
        with Guarded(home / "airflow", home / "dags", {}, components=(), triggerers=0, settings=settings) as airflow:
            airflow.run("connections", "add", CONN_ID, "--conn-json", bucket.connection_json)
            nobody = {**json.loads(bucket.connection_json)}
            nobody["extra"] = {**nobody["extra"], "endpoint_url": f"http://127.0.0.1:{silent}"}
            airflow.run("connections", "add", "silent", "--conn-json", json.dumps(nobody))
            done = subprocess.run(
                [sys.executable, "-m", "tests.airflow.media_tab_data"],
                env={**airflow.env, "PYTHONPATH": str(ROOT)},
                cwd=ROOT,
                input=json.dumps(results),
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            told = json.loads(done.stdout.splitlines()[-1])
            yield Tab(airflow, told["tokens"], told["running"], drawn, heard)


def words_of(page: Any) -> list[str]:
    return [unescape(word) for word in re.findall(r'<p class="(?:word|error)">([^<]*)', page.text)]


@pytest.mark.parametrize("tail", ["", "file?number=0"])
@pytest.mark.parametrize(("user", "status"), [(None, 401), ("x.y.z", 403), ("nobody", 403), ("viewer", 200)])
def test_only_who_may_read_the_xcoms_sees_it(tab: Tab, tail: str, user: str | None, status: int) -> None:
    answer = tab.get("draw", tail, user=user)
    assert answer.status_code == status
    assert (b"A fox" in answer.content or answer.content == tab.picture) is (status == 200)


def test_a_page_shows_the_picture_and_what_is_known_of_it(tab: Tab) -> None:
    page = tab.get("draw")
    assert page.status_code == 200
    for shown in ("A fox", "64 \u00d7 48", "2.5 s", "r-1", "fal-ai/x", "<dd>7</dd>", "a.png"):
        assert shown in page.text
    (source,) = re.findall(r'<img [^>]*src="([^"]+)"', page.text)
    answer = tab.get("draw", unescape(source))
    assert (answer.content, answer.headers["content-type"]) == (tab.picture, "image/png")


def test_storage_is_reached_by_a_connection_of_airflows_database(tab: Tab) -> None:
    assert tab.get("on_s3", "file?number=0").content == tab.picture


def test_a_player_gets_the_part_that_it_asks_for(tab: Tab) -> None:
    whole = tab.get("play", "file?number=0")
    assert (whole.status_code, whole.content, whole.headers["accept-ranges"]) == (200, tab.sound, "bytes")
    size, etag = len(tab.sound), whole.headers["etag"]
    part = tab.get("play", "file?number=0", Range="bytes=10-19")
    assert (part.status_code, part.content) == (206, tab.sound[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{size}"
    end = tab.get("play", "file?number=0", **{"Range": "bytes=-4", "If-Range": etag})
    assert (end.status_code, end.content) == (206, tab.sound[-4:])
    assert tab.get("play", "file?number=0", **{"Range": "bytes=-4", "If-Range": '"another"'}).content == tab.sound
    beyond = tab.get("play", "file?number=0", Range=f"bytes={size}-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    head = tab.get("play", "file?number=0", method="HEAD")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(size))
    assert tab.get("play", "file?number=0", **{"If-None-Match": etag}).status_code == 304


def test_nothing_that_a_result_says_becomes_a_tag_or_a_template(tab: Tab) -> None:
    page, plain = tab.get("hostile"), tab.get("draw")
    assert page.text.count("<script") == plain.text.count("<script") == 1
    assert page.text.count("<img") == plain.text.count("<img") == 1
    assert "onerror=alert(2)&gt;" in page.text
    assert "{{ 7*7 }}" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    (nonce,) = set(re.findall(r'nonce="([^"]+)"', page.text))
    assert f"script-src 'nonce-{nonce}'" in policy
    assert nonce not in tab.get("hostile").text


@pytest.mark.parametrize("task_id", ["svg", "passwd", "other_size", "pipe", "gone", "remote", "hostile"])
def test_nothing_but_the_saved_media_is_read(tab: Tab, task_id: str) -> None:
    """Whoever can write a result can name any file that the api-server can read."""
    answer = tab.get(task_id, "file?number=0")
    assert answer.status_code == 404
    assert b"root:" not in answer.content
    assert tab.get(task_id).status_code == 200


@pytest.mark.parametrize(
    "tail",
    [
        "file?number=1",
        "file?number=-1",
        "file?number=9" + "9" * 400,
        "file",
        "file?path=/etc/passwd",
        "file?number=0&at=0",
        "../../../../../../etc/passwd",
        "file/..%2f..%2fetc%2fpasswd",
    ],
)
def test_a_file_is_asked_for_by_its_place_alone(tab: Tab, tail: str) -> None:
    answer = tab.get("draw", tail)
    assert answer.status_code in (404, 422) or b"root:" not in answer.content


def test_ten_thousand_jobs_are_paged(tab: Tab) -> None:
    first = tab.get("batch")
    assert first.elapsed.total_seconds() < 10
    assert "10,000 items" in first.text
    assert "1 failed" in first.text
    assert first.text.count("<img") == 23, "24 jobs, one of which has no file"
    assert words_of(first) == ["The job failed"]
    assert "Prompt 23<" in first.text
    assert "Prompt 24<" not in first.text
    (following,) = set(re.findall(r'rel="next" href="([^"]+)"', first.text))
    second = tab.get("batch", unescape(following))
    assert "Prompt 24<" in second.text
    assert "Prompt 47<" in second.text
    source = unescape(re.findall(r'<img [^>]*src="([^"]+)"', second.text)[-1])
    assert tab.get("batch", source).content == tab.picture
    last = tab.get("batch", "?at=-1")
    assert "Prompt 9999<" in last.text
    assert 'rel="next"' not in last.text
    (before,) = set(re.findall(r'rel="prev" href="([^"]+)"', last.text))
    assert "Prompt 9975<" in tab.get("batch", unescape(before)).text


@pytest.mark.parametrize("at", ["1", "99999999999", "9" * 30])
def test_a_place_in_the_manifest_where_no_line_begins_shows_nothing(tab: Tab, at: str) -> None:
    page = tab.get("batch", f"?at={at}")
    assert "<img" not in page.text
    assert tab.get("batch", f"file?at={at}&number=0").status_code in (404, 422)


def test_lines_of_another_kind_are_not_given_away(tab: Tab) -> None:
    page = tab.get("no_batch")
    assert "swordfish" not in page.text
    assert "cannot be shown" in words_of(page)[0]


def test_what_cannot_be_shown_is_one_text_and_tells_nothing_of_what_lies_there(tab: Tab) -> None:
    """Whoever may write an XCom may not ask, file by file, what the api-server's disk and buckets hold."""
    files = ["svg", "passwd", "other_size", "pipe", "gone", "remote", "hostile", "batch", "nothing"]
    assert len({tab.get(task_id, "file?number=0").text for task_id in files}) == 1
    assert len({words_of(tab.get(task_id))[0] for task_id in ("no_batch", "hidden", "fat")}) == 1


def test_absurd_ranges_are_ignored(tab: Tab) -> None:
    for header in (f"bytes=0-{'9' * 5000}", f"bytes={'9' * 5000}-", f"bytes=-{'9' * 5000}"):
        answer = tab.get("play", "file?number=0", Range=header)
        assert (answer.status_code, answer.content) == (200, tab.sound)


def test_a_page_has_two_hundred_files_and_the_next_one_goes_on_where_it_ends(tab: Tab) -> None:
    page = tab.get("many")
    assert page.text.count("<img") == 200
    assert "1,800 more files" in page.text
    assert tab.get("many", "file?number=199").status_code == 200
    assert tab.get("many", "file?number=200").status_code == 404
    at, seen = "", 0
    while True:
        page = tab.get("wide", at)
        seen += page.text.count("<img")
        following = set(re.findall(r'rel="next" href="([^"]+)"', page.text))
        assert page.text.count("<img") == 192
        if not following:
            break
        at = unescape(following.pop())
    assert seen == 24 * 64


def test_a_result_that_an_xcom_backend_keeps_elsewhere_is_shown(tab: Tab) -> None:
    assert "A fox" in tab.get("elsewhere").text
    assert tab.get("elsewhere", "file?number=0").content == tab.picture


def test_a_storage_that_hangs_takes_nothing_from_the_heartbeats_of_workers(tab: Tab) -> None:
    before = statistics.median(tab.heartbeat() for _ in range(10))
    answers: list[Any] = []
    asked = [
        threading.Thread(
            target=lambda at=at: answers.append(tab.get(*(("held", "file?number=0"), ("held_batch",))[at % 2]))
        )
        for at in range(50)
    ]
    for thread in asked:
        thread.start()
    during = []
    while any(thread.is_alive() for thread in asked):
        during.append(tab.heartbeat())
    for thread in asked:
        thread.join()
    assert len(during) > 20
    assert statistics.median(during) < before + 0.1
    assert max(during) < 1.5
    assert {answer.status_code for answer in answers} == {503}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
    assert max(answer.elapsed.total_seconds() for answer in answers) < 18
    assert tab.get("draw", "file?number=0").status_code == 200, "once the storage let go, the tab goes on"


@pytest.mark.parametrize(("task_id", "word"), [("other", "has left no pictures"), ("running", "Nothing yet")])
def test_where_there_is_nothing_to_see_a_sentence_says_why(tab: Tab, task_id: str, word: str) -> None:
    page = tab.get(task_id)
    assert page.status_code == 200
    assert word in words_of(page)[0]


def test_an_unknown_task_is_not_found(tab: Tab) -> None:
    assert tab.get("nothing").status_code == 404
