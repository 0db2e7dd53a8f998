"""A storage holds a file whole under its name, or not at all; in each kind of storage, through Airflow's own paths."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke.media import uploads
from airflow_provider_falinvoke.media.store import Folder
from tests.support.s3 import Bucket

#: More than one part of an upload.
LARGE = bytes(range(256)) * (9 << 12)


@dataclass
class Storage:
    """A folder and what lies in it.

    :param url: as ``output_path`` takes it.
    :param listing: returns the files, by their path below the folder.
    """

    url: str
    listing: Callable[[], dict[str, bytes]]


def local(folder: Path) -> Storage:
    return Storage(
        folder.as_uri(),
        lambda: {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()},
    )


@pytest.fixture(params=["file", "memory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "file":
        return local(tmp_path / "new" / "folder")
    if request.param == "memory":
        memory = request.getfixturevalue("memory")
        return Storage(
            "memory://new/folder",
            lambda: {name.removeprefix("/new/folder/"): file.getvalue() for name, file in memory.store.items()},
        )
    bucket: Bucket = request.getfixturevalue("s3_server")
    return Storage(
        bucket.path("new/folder"),
        lambda: {key.removeprefix("new/folder/"): data for key, data in bucket.objects().items()},
    )


@pytest.mark.parametrize("data", [b"", b"small", LARGE], ids=["empty", "small", "large"])
def test_a_file_is_there_once_it_is_committed_and_not_before(storage: Storage, data: bytes) -> None:
    file = Folder(storage.url).new_file("a/b/one.bin", "application/octet-stream")
    file.write(data)
    assert "a/b/one.bin" not in storage.listing()
    file.commit()
    assert storage.listing() == {"a/b/one.bin": data}


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
def test_a_file_that_is_discarded_leaves_nothing_and_what_was_there_stays(storage: Storage, data: bytes) -> None:
    folder = Folder(storage.url)
    folder.write("one.bin", b"before", "image/png")
    file = folder.new_file("one.bin", "image/png")
    file.write(data)
    file.discard()
    assert storage.listing() == {"one.bin": b"before"}


def test_a_file_replaces_the_one_of_its_name(storage: Storage) -> None:
    """A retry of the task brings the files home once more."""
    folder = Folder(storage.url)
    for data in (LARGE, b"again"):
        folder.write("one.bin", data, "image/png")
    assert storage.listing() == {"one.bin": b"again"}


def test_the_path_of_a_file_is_one_that_airflow_reads(storage: Storage) -> None:
    from airflow.sdk import ObjectStoragePath

    folder = Folder(storage.url)
    folder.write("a/one.bin", b"bytes", "image/png")
    assert folder.path_of("a/one.bin") == f"{storage.url}/a/one.bin"
    assert ObjectStoragePath(folder.path_of("a/one.bin")).read_bytes() == b"bytes"


def test_a_check_leaves_no_file_behind(storage: Storage) -> None:
    Folder(storage.url).check()
    assert storage.listing() == {}


@pytest.mark.parametrize("size", [10, 9 << 20])
def test_an_object_has_its_content_type(s3_server: Bucket, size: int) -> None:
    Folder(s3_server.path()).write("one.wav", bytes(size), "audio/wav")
    assert s3_server.content_type("made/one.wav") == "audio/wav"


def test_an_upload_that_is_given_up_or_only_probed_is_not_kept_by_the_store(s3_server: Bucket) -> None:
    """Parts that nobody joins are paid for, and nobody sees them."""
    folder = Folder(s3_server.path())
    folder.check()
    file = folder.new_file("one.bin", "image/png")
    file.write(LARGE)
    assert s3_server.unfinished() == ["made/one.bin"]
    file.discard()
    assert s3_server.unfinished() == []


def test_parts_are_joined_in_their_order_whenever_they_arrive(
    s3_server: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, first = uploads.S3File._send_part, threading.Event()

    def first_part_last(file: uploads.S3File, upload: dict[str, str], number: int, body: Any) -> dict[str, Any]:
        if number == 1:
            assert first.wait(30)
        reply = send(file, upload, number, body)
        if number == 2:
            first.set()
        return reply

    monkeypatch.setattr(uploads.S3File, "_send_part", first_part_last)
    data = LARGE + LARGE[::-1]
    file = Folder(s3_server.path()).new_file("one.bin", "image/png")
    for start in range(0, len(data), 1 << 20):
        file.write(data[start : start + (1 << 20)])
    file.commit()
    assert first.is_set()
    assert s3_server.objects() == {"made/one.bin": data}


@pytest.fixture
def equal_parts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the store insist, as Cloudflare's R2 does, on parts that are all of one size but for the last."""
    from moto.s3.exceptions import InvalidPart
    from moto.s3.models import FakeMultipart

    complete = FakeMultipart.complete

    def checked(upload: Any, body: Any) -> Any:
        sizes = [part.contentsize for _, part in sorted(upload.parts.items())]
        if len(set(sizes[:-1])) > 1 or sizes[-1] > sizes[0]:
            raise InvalidPart()
        return complete(upload, body)

    monkeypatch.setattr(FakeMultipart, "complete", checked)


@pytest.mark.usefixtures("equal_parts_only")
@pytest.mark.parametrize("sizes", [(1_300_000, 1 << 20, 3_000_001), (7 << 20, 1, 13 << 20)])
def test_parts_are_of_one_size_however_the_bytes_come(sizes: tuple[int, ...], s3_server: Bucket) -> None:
    data, at = LARGE + LARGE[::-1], 0
    file = Folder(s3_server.path()).new_file("one.bin", "application/octet-stream")
    for size in itertools.cycle(sizes):
        file.write(data[at : at + size])
        at += size
        if at >= len(data):
            break
    file.commit()
    assert s3_server.objects() == {"made/one.bin": data}


@pytest.mark.parametrize(("data", "call"), [(b"a small one", "PutObject"), (LARGE, "UploadPart")])
def test_a_body_whose_reply_was_lost_is_sent_again_from_its_beginning(
    s3_server: Bucket, data: bytes, call: str
) -> None:
    """s3fs tries again with the very body that it handed over before, which was read to its end by then."""
    file: Any = Folder(s3_server.path()).new_file("one.bin", "image/png")
    lost: list[str] = []

    def lose(event_name: str, **_: Any) -> None:
        if not lost:
            lost.append(event_name)
            raise TimeoutError("the reply was lost")

    events = file._fs.s3.meta.events
    events.register(f"after-call.s3.{call}", lose)
    try:
        file.write(data)
        file.commit()
    finally:
        events.unregister(f"after-call.s3.{call}", lose)
    assert lost == [f"after-call.s3.{call}"]
    assert s3_server.objects() == {"made/one.bin": data}


def test_an_upload_that_the_store_does_not_complete_leaves_nothing(
    s3_server: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PART_BYTES", 1 << 20)  # smaller than the store takes
    file = Folder(s3_server.path()).new_file("one.bin", "image/png")
    for _ in range(3):
        file.write(bytes(1 << 20))
    with pytest.raises(OSError, match="minimum allowed"):
        file.commit()
    file.discard()
    assert (s3_server.objects(), s3_server.unfinished()) == ({}, [])


def test_an_upload_that_python_throws_away_is_not_completed(s3_server: Bucket) -> None:
    file: Any = Folder(s3_server.path()).new_file("one.bin", "image/png")
    file.write(LARGE)
    del file
    assert s3_server.objects() == {}


def test_a_bucket_that_is_not_there_is_found_by_the_check_and_not_made(s3_server: Bucket) -> None:
    with pytest.raises(FileNotFoundError, match="bucket"):
        Folder(s3_server.path().replace(s3_server.bucket, "misspelt-bucket")).check()
    names = [bucket["Name"] for bucket in s3_server.client.list_buckets()["Buckets"]]
    assert "misspelt-bucket" not in names


def kill_while_writing(url: str) -> None:
    """Let another process write a file, and kill it in the middle."""
    writer = (
        "import sys, time\n"
        "from airflow_provider_falinvoke.media.store import Folder\n"
        f"file = Folder({url!r}).new_file('one.bin', 'image/png')\n"
        "for _ in range(12):\n    file.write(bytes(1 << 20))\n"
        "print('writing', flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", writer], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "writing\n":
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)


def test_a_killed_process_leaves_a_part_which_the_next_one_removes(tmp_path: Path) -> None:
    kill_while_writing(tmp_path.as_uri())
    (left,) = tmp_path.iterdir()
    assert left.name.startswith("one.bin.") and left.name.endswith(".part")
    Folder(tmp_path.as_uri()).write("one.bin", b"whole", "image/png")
    assert local(tmp_path).listing() == {"one.bin": b"whole"}


def test_a_killed_process_leaves_nothing_that_can_be_seen_in_a_bucket(s3_server: Bucket) -> None:
    kill_while_writing(s3_server.path())
    assert s3_server.objects() == {}
    assert s3_server.unfinished() == ["made/one.bin"], "for a lifecycle rule of the bucket to remove"


def test_a_writer_that_was_taken_for_dead_cannot_replace_the_file_of_its_successor(tmp_path: Path) -> None:
    folder = Folder(tmp_path.as_uri())
    given_up, successor = (folder.new_file("one.bin", "image/png") for _ in range(2))
    given_up.write(b"old")
    successor.write(b"new")
    successor.commit()
    with pytest.raises(FileNotFoundError):
        given_up.commit()
    given_up.discard()
    assert local(tmp_path).listing() == {"one.bin": b"new"}


def test_files_beside_it_are_left_alone(tmp_path: Path) -> None:
    names = (
        "two.bin.12345678.part",
        "one.bin.backup",
        "one.binary.part",
        "one.bin.notes.part",
        "one.bin.1234567G.part",
    )
    for name in names:
        (tmp_path / name).write_bytes(b"not ours")
    Folder(tmp_path.as_uri()).write("one.bin", b"ours", "image/png")
    assert len(list(tmp_path.iterdir())) == len(names) + 1


def test_the_names_are_those_of_now_and_a_removed_file_is_gone(storage: Storage) -> None:
    """Not those of a moment ago, which some storages' file systems remember."""
    folder = Folder(storage.url)
    assert folder.names("claims") == []
    for name in ("1", "2"):
        folder.write(f"claims/{name}", b"x", "text/plain")
        assert "1" in folder.names("claims")
    assert sorted(folder.names("claims")) == ["1", "2"]
    folder.remove("claims/1")
    assert folder.names("claims") == ["2"]
    assert folder.names() == ["claims"]


def test_a_file_on_a_disk_is_synced_before_it_has_its_name_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power failure leaves an empty file under the name, or no file at all."""
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        steps.append(f"sync {path.relative_to(tmp_path.parent)}")
        if path.is_file():
            assert path.read_bytes() == b"bytes", "what Python still holds is not synced"
        fsync(descriptor)

    def renamed(source: Path, target: str) -> Path:
        steps.append("rename")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    Folder(tmp_path.as_uri()).write("new/folder/one", b"bytes", "text/plain")
    first, second, file, *rest = steps
    here = f"sync {tmp_path.name}"
    assert {first, second} == {here, f"{here}/new"}, "a new folder is a name too"
    assert file.startswith(f"{here}/new/folder/one.")
    assert rest == ["rename", f"{here}/new/folder"]


def test_a_file_system_that_cannot_sync_a_folder_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_dir():
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    Folder(tmp_path.as_uri()).write("one", b"bytes", "text/plain")
    assert local(tmp_path).listing() == {"one": b"bytes"}
