"""Whatever a host sends: no library's exception, no endless call, no flood of memory, and no second POST."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.hostile.replies import all_replies

pytestmark = pytest.mark.serial

REPLIES = all_replies()
KINDS = ("sync", "httpx", "aiohttp")
#: The limit of a slow exchange is 1 s; the rest is for a machine under load.
LONGEST = 10.0
MOST_MIB = 200
#: A refusal after which a submit is repeated: nothing was accepted.
REPEATED = {429}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-m", "tests.hostile.server"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


@pytest.fixture(scope="module")
def told(port: int) -> dict[str, Any]:
    """Let all kinds of clients meet all replies; return what each of them told."""
    command = [sys.executable, "-W", "error", "-m", "tests.hostile.client"]
    clients = {
        kind: subprocess.Popen([*command, kind, str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for kind in KINDS
    }
    told = {}
    try:
        for kind, client in clients.items():
            out, errors = client.communicate(timeout=300)
            assert client.returncode == 0, errors
            told[kind] = {**json.loads(out), "errors": errors}
    finally:
        for client in clients.values():
            client.kill()
            client.communicate()
    return told


@pytest.fixture(scope="module")
def posts(told: dict[str, Any], port: int) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/counts") as answer:
        counts: dict[str, int] = json.load(answer)
    return counts


def each(told: dict[str, Any], kind: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for reply, found in zip(REPLIES, told[kind]["found"], strict=True):
        for call, result in found.items():
            yield reply.name, call, result


def test_there_are_enough_replies_and_none_twice() -> None:
    assert len(REPLIES) >= 200
    assert len({reply.name for reply in REPLIES}) == len(REPLIES)


@pytest.mark.parametrize("kind", KINDS)
def test_no_exception_of_a_library_reaches_a_caller(told: dict[str, Any], kind: str) -> None:
    assert [(name, call, result["error"]) for name, call, result in each(told, kind) if not result["ours"]] == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_call_outlasts_its_deadline(told: dict[str, Any], kind: str) -> None:
    slow = {reply.name for reply in REPLIES if reply.is_slow}
    assert len(slow) > 20
    late = [(name, call, result) for name, call, result in each(told, kind) if result["seconds"] > LONGEST]
    assert [each for each in late if each[0] in slow] == []


@pytest.mark.parametrize("kind", KINDS)
def test_memory_does_not_grow(told: dict[str, Any], kind: str) -> None:
    assert told[kind]["grown_mib"] < MOST_MIB


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_may_have_been_accepted_is_posted_twice(posts: dict[str, int], kind: str) -> None:
    counts = [posts.get(f"{number}/{kind}", 0) for number in range(len(REPLIES))]
    assert {reply.status for reply, count in zip(REPLIES, counts, strict=True) if count > 1} == REPEATED
    assert sum(counts) >= len(REPLIES)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_client_says_beside_that_is_nothing(told: dict[str, Any], kind: str) -> None:
    """A task that was never awaited, a connection that was never closed; what it says of a reply is meant."""
    meant = ("next try in", "it is taken for the job's, which is awaited")
    assert not [line for line in told[kind]["errors"].splitlines() if not any(words in line for words in meant)]


def test_all_clients_read_the_same_replies(told: dict[str, Any]) -> None:
    """aiohttp refuses some that h11 takes, and is helped out by it then."""
    slow = {reply.name for reply in REPLIES if reply.is_slow}
    read = {
        kind: {(name, call) for name, call, result in each(told, kind) if result["error"] is None and name not in slow}
        for kind in KINDS
    }
    assert read["httpx"] ^ read["sync"] == set()
    assert read["sync"] - read["aiohttp"] == set()


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_that_came_is_the_jobs(told: dict[str, Any], kind: str) -> None:
    """Whatever became of the rest of a reply to a submit, as far as it is HTTP."""
    results = {name: result for name, call, result in each(told, kind) if call == "submit"}
    for name in (
        "length doubled",
        "length too long",
        "chunks without an end",
        "coding gzip",
        "coding gzip that is plain",
        "500 headers",
        "a header of 9000 bytes",
        "a header of 60000 bytes",
        "200 without an end",
        "202 in chunks without an end",
        "100, then the reply",
    ):
        assert results[name]["id"] == "r1", (name, results[name])
