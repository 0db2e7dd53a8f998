"""Bringing the files of a job home: whole, described, several at once, through any storage and past any host."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import re
import resource
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus
from airflow_provider_falinvoke.emulator import Emulator, Fault
from airflow_provider_falinvoke.emulator.outputs import SHAPES
from airflow_provider_falinvoke.exceptions import (
    FalInvokeFlaggedError,
    FalInvokeMediaError,
    FalInvokeMediaGoneError,
)
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.media import FileName, Place, Saving, contents_of, find_media
from airflow_provider_falinvoke.media.manifest import MediaFile
from tests.api.server import Handler, Script, answer, serving
from tests.support.s3 import Bucket
from tests.support.samples import flac, mp3, mp4, picture, wav

FAST = "fal-ai/flux/schnell"
SMALL = {"image_size": {"width": 40, "height": 32}}


def done(model_id: str = FAST, **fields: Any) -> Invocation:
    hook = FalInvokeHook()
    invocation = hook.submit(model_id, {"prompt": "a fox", **SMALL, **fields})
    if invocation.status is not InvocationStatus.COMPLETED:
        assert invocation.request_id is not None
        invocation = hook.wait(invocation.request_id, timeout=30)
    return invocation


def made_up(output: Any, request_id: str | None = "the-id") -> Invocation:
    return Invocation(request_id=request_id, status=InvocationStatus.COMPLETED, output=output)


def save(invocation: Invocation, saving: Saving | str) -> list[MediaFile]:
    return FalInvokeHook().save_media(invocation, saving)


def is_picture(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        return str(picture.format) == "PNG"


Folder = tuple[str, Callable[[], dict[str, bytes]]]


@pytest.fixture(params=["file", "memory", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """Return a folder's URL, and a function that returns what lies in it."""
    if request.param == "file":
        target = tmp_path / "new" / "folder"
        return target.as_uri(), lambda: {path.name: path.read_bytes() for path in target.glob("*")}
    if request.param == "memory":
        memory = request.getfixturevalue("memory")
        return "memory://new/folder", lambda: {
            name.rsplit("/", 1)[1]: file.getvalue() for name, file in memory.store.items()
        }
    bucket: Bucket = request.getfixturevalue("s3_server")
    return bucket.path("new/folder"), lambda: {key.rsplit("/", 1)[1]: data for key, data in bucket.objects().items()}


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_falinvoke.api.downloads.backoff", lambda _: 0.0)


class TestHome:
    """What a completed job made lies in the folder, whatever the storage and the shape of the output."""

    def test_files_are_streamed_into_a_new_folder_of_any_storage(self, folder: Folder, emulator: Emulator) -> None:
        url, listing = folder
        invocation = done(num_images=2)
        saved = save(invocation, url)
        names = [f"{invocation.request_id}-{number}.png" for number in (1, 2)]
        assert sorted(listing()) == names
        assert all(is_picture(data) for data in listing().values())
        assert [file.path for file in saved] == [f"{url}/{name}" for name in names]
        assert [file.size for file in saved] == [len(listing()[name]) for name in names]
        assert emulator.leaks == []

    def test_saving_again_replaces_the_files(self, folder: Folder, emulator: Emulator) -> None:
        """A retry of the task brings them home once more."""
        url, listing = folder
        invocation = done()
        first, again = (
            [file.model_copy(update={"saved_at": None}) for file in save(invocation, url)] for _ in range(2)
        )
        assert first == again
        assert len(listing()) == 1

    @pytest.mark.parametrize("shape", SHAPES)
    def test_every_shape_that_the_emulator_has_comes_home(self, shape: str, emulator: Emulator, tmp_path: Path) -> None:
        emulator.add_fault(Fault("output_shape", value=shape))
        (file,) = save(done(), tmp_path.as_uri())
        (path,) = tmp_path.iterdir()
        assert is_picture(path.read_bytes())
        assert path.suffix == ".png", "from the bytes, whatever the output and the URL say"
        assert file.size == path.stat().st_size

    def test_a_result_without_an_envelope_or_an_id_comes_home(self, emulator: Emulator, tmp_path: Path) -> None:
        emulator.add_fault(Fault("no_envelope"))
        invocation = done()
        assert invocation.request_id is None
        save(invocation, tmp_path.as_uri())
        (name,) = [path.name for path in tmp_path.iterdir()]
        assert re.fullmatch(r"result-[0-9a-f]{16}-1\.png", name)

    def test_inline_bytes_are_the_files_bytes(self, emulator: Emulator, tmp_path: Path) -> None:
        sound = mp3(10)
        uri = "data:audio/wav;base64," + base64.b64encode(sound).decode()
        (file,) = save(made_up({"audio": {"url": uri}}), tmp_path.as_uri())
        assert (tmp_path / "the-id-1.mp3").read_bytes() == sound
        assert (file.size, file.content_type, file.source_url) == (len(sound), "audio/mpeg", "inline")

    def test_files_are_named_by_the_template(self, emulator: Emulator, tmp_path: Path) -> None:
        place = Place("dag", "run:1", "task", "3")
        save(done(num_images=2), Saving(tmp_path.as_uri(), file_name=FileName(), place=place))
        (where,) = {path.parent for path in tmp_path.rglob("*.png")}
        assert where.relative_to(tmp_path) == Path("dag/run_1/task/3")
        save(
            done(),
            Saving(tmp_path.as_uri(), file_name=FileName("covers/{task_id}-{number:02}{extension}"), place=place),
        )
        assert is_picture((tmp_path / "covers" / "task-01.png").read_bytes())

    @pytest.mark.parametrize("request_id", ["../../etc/passwd", "a/b", "a\\b", "a\0b", "..", "ü?*", "x" * 500])
    def test_a_hostile_request_id_stays_in_the_folder(
        self, request_id: str, emulator: Emulator, tmp_path: Path
    ) -> None:
        target = tmp_path / "here"
        save(done().model_copy(update={"request_id": request_id}), target.as_uri())
        assert list(tmp_path.iterdir()) == [target]
        (path,) = target.iterdir()
        assert path.is_file()


class TestDescribed:
    """Each file is described by its own bytes, and by what the job says of it."""

    def test_a_picture(self, emulator: Emulator, tmp_path: Path) -> None:
        emulator.add_fault(Fault("flag", value=[2]))
        invocation = done(num_images=2, seed=7)
        first, second = save(invocation, tmp_path.as_uri())
        data = (tmp_path / f"{invocation.request_id}-1.png").read_bytes()
        assert first.to_dict() == {
            "path": f"{tmp_path.as_uri()}/{invocation.request_id}-1.png",
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "content_type": "image/png",
            "width": 64,
            "height": 64,
            "duration": None,
            "sample_rate": None,
            "number": 1,
            "seed": 7,
            "flagged": False,
            "source_url": find_media(invocation.output)[0].url,
            "model_id": FAST,
            "request_id": invocation.request_id,
            "created_at": invocation.created_at.isoformat() if invocation.created_at else "?",
            "completed_at": invocation.completed_at.isoformat() if invocation.completed_at else "?",
            "saved_at": first.saved_at.isoformat(),
        }
        assert (second.number, second.flagged) == (2, True)
        assert abs((datetime.now(timezone.utc) - first.saved_at).total_seconds()) < 60
        assert MediaFile(**first.to_dict()) == first

    def test_a_sound(self, emulator: Emulator, tmp_path: Path) -> None:
        (file,) = save(done("fal-ai/stable-audio-25/text-to-audio", seconds_total=3), tmp_path.as_uri())
        assert (file.content_type, file.duration, file.sample_rate) == ("audio/wav", 3.0, 8000)
        assert (file.width, file.height, file.flagged) == (None, None, None)
        assert isinstance(file.seed, int)

    @pytest.mark.parametrize(
        ("data", "content_type", "suffix"),
        [
            (picture("JPEG"), "image/jpeg", ".jpg"),
            (picture("WEBP"), "image/webp", ".webp"),
            (wav(0.5), "audio/wav", ".wav"),
            (mp3(), "audio/mpeg", ".mp3"),
            (flac(), "audio/flac", ".flac"),
            (mp4(filler=2 << 20), "video/mp4", ".mp4"),
            (bytes(100), "application/octet-stream", ".bin"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_a_type_that_the_host_lies_about_is_recognised(
        self, data: bytes, content_type: str, suffix: str, s3_server: Bucket, emulator: Emulator
    ) -> None:
        lie = answer(200, data, Content_Type="text/html", Content_Disposition='attachment; filename="../../evil.sh"')
        with serving(lie) as host:
            output = {
                "images": [{"url": f"{host.base_url}/x.exe", "content_type": "image/gif", "file_name": "../a.sh"}]
            }
            (file,) = save(made_up(output), s3_server.path())
        assert s3_server.objects() == {f"made/the-id-1{suffix}": data}
        assert file.content_type == s3_server.content_type(f"made/the-id-1{suffix}") == content_type

    def test_what_a_seed_is_not_is_left_out(self, emulator: Emulator, tmp_path: Path) -> None:
        uri = "data:image/png;base64," + base64.b64encode(picture("PNG")).decode()
        for seed in (True, "7", None, [7]):
            (file,) = save(made_up({"images": [uri], "seed": seed}), tmp_path.as_uri())
            assert file.seed is None


PASSING = {
    "503": Fault("answer", on="media", status=503, times=2),
    "dropped": Fault("drop", on="media"),
    "reset": Fault("drop", on="media", value="reset"),
    "cut mid-download, three times": Fault("cut", on="media", times=3),
}

LASTING = {
    "expired": (Fault("answer", on="media", status=410, times=None), 1, "such URLs expire"),
    "not there": (Fault("answer", on="media", status=404, times=None), 1, "answered 404"),
    "HTML under an image's name": (Fault("html", on="media", times=None), 1, "an HTML page"),
    "text under an image's name": (Fault("text", on="media", status=200, times=None), 1, "it is a text"),
    "always cut": (Fault("cut", on="media", times=None), 4, "RemoteProtocolError"),
    "always 500": (Fault("answer", on="media", status=500, times=None), 4, "answered 500"),
}


@pytest.mark.usefixtures("quick_backoff")
class TestMishaps:
    """A fault in the middle of a download leaves no half file, and costs no second POST."""

    @pytest.mark.parametrize("name", PASSING)
    def test_a_failure_that_passes_is_tried_again(self, name: str, folder: Folder, emulator: Emulator) -> None:
        emulator.add_fault(PASSING[name])
        url, listing = folder
        invocation = done()
        save(invocation, url)
        assert list(listing()) == [f"{invocation.request_id}-1.png"]
        assert all(is_picture(data) for data in listing().values())
        assert len(emulator.posts()) == 1

    @pytest.mark.parametrize("name", LASTING)
    def test_a_failure_that_lasts_is_named_and_leaves_nothing_behind(
        self, name: str, folder: Folder, emulator: Emulator
    ) -> None:
        fault, tries, words = LASTING[name]
        emulator.add_fault(fault)
        url, listing = folder
        invocation = done()
        with pytest.raises(FalInvokeMediaError, match=words) as caught:
            save(invocation, url)
        assert caught.value.request_id == invocation.request_id
        assert str(invocation.request_id) in str(caught.value)
        assert listing() == {}
        assert len([request for request in emulator.requests if request.route == "media"]) == tries
        assert len(emulator.posts()) == 1

    def test_a_large_upload_that_breaks_off_leaves_nothing_in_the_bucket(
        self, s3_server: Bucket, emulator: Emulator
    ) -> None:
        data = wav(2000)
        broken = serving(answer(200, data[: 20 << 20], length=len(data)))
        with broken as host, pytest.raises(FalInvokeMediaError, match="RemoteProtocolError"):
            save(made_up({"audio": host.base_url}), s3_server.path())
        assert (s3_server.objects(), s3_server.unfinished()) == ({}, [])

    def test_a_large_upload_that_is_resumed_is_whole(self, s3_server: Bucket, emulator: Emulator) -> None:
        data, half = wav(2000), 20 << 20
        rest = answer(206, data[half:], Content_Range=f"bytes {half}-{len(data) - 1}/{len(data)}", ETag='"1"')
        with serving(answer(200, data[:half], length=len(data), ETag='"1"'), rest) as host:
            (file,) = save(made_up({"audio": host.base_url}), s3_server.path())
        assert s3_server.objects() == {"made/the-id-1.wav": data}
        assert file.sha256 == hashlib.sha256(data).hexdigest()
        assert file.duration == 2000.0

    def test_a_file_that_comes_again_from_its_start_is_described_as_it_came_last(
        self, folder: Folder, emulator: Emulator
    ) -> None:
        url, listing = folder
        first, second = wav(1000), picture("PNG")
        with serving(answer(200, first[: 10 << 20], length=len(first)), answer(200, second)) as host:
            (file,) = save(made_up({"images": [host.base_url]}), url)
        assert listing() == {"the-id-1.png": second}
        assert (file.content_type, file.width, file.sha256) == ("image/png", 30, hashlib.sha256(second).hexdigest())

    def test_files_that_are_whole_stay_where_another_one_fails(self, folder: Folder, emulator: Emulator) -> None:
        url, listing = folder
        whole = threading.Event()
        data = picture("PNG")

        def failing(handler: Handler) -> None:
            whole.wait(20)
            answer(410)(handler)

        with serving(answer(200, data)) as good, serving(failing) as bad:
            # The first file is whole by the time that the other one fails.
            threading.Timer(2.0, whole.set).start()
            with pytest.raises(FalInvokeMediaGoneError, match="410"):
                save(made_up({"images": [good.base_url, bad.base_url]}), url)
        assert listing() == {"the-id-1.png": data}

    def test_a_failure_stops_the_others_soon(self, emulator: Emulator, tmp_path: Path) -> None:
        def endless(handler: Handler) -> None:
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(wav(1))
            while not handler.state.closing.wait(0.05):
                handler.wfile.write(b"drop")

        gone = pytest.raises(FalInvokeMediaGoneError, match="410")
        with serving(endless) as slow, serving(answer(410)) as bad, gone:
            save(made_up({"images": [slow.base_url, bad.base_url]}), tmp_path.as_uri())
        assert list(tmp_path.iterdir()) == []

    def test_a_disk_that_is_full_leaves_no_half_file(self, emulator: Emulator, tmp_path: Path) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, limits[1]))
        try:
            with serving(answer(200, wav(1000))) as host, pytest.raises(FalInvokeMediaError, match="File too large"):
                save(made_up({"audio": host.base_url}), tmp_path.as_uri())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert len(host.requests) == 1
        assert list(tmp_path.iterdir()) == []

    def test_an_empty_file_is_none(self, folder: Folder, emulator: Emulator) -> None:
        url, listing = folder
        with serving(answer(200, b"")) as host, pytest.raises(FalInvokeMediaError, match="it is empty"):
            save(made_up({"images": [host.base_url]}), url)
        assert listing() == {}

    @pytest.mark.parametrize("inline", [True, False])
    def test_a_file_beyond_the_limit_is_refused_for_good(
        self, inline: bool, emulator: Emulator, tmp_path: Path
    ) -> None:
        """A retry would fetch as much again, and refuse it again."""
        data = picture("PNG", (200, 200))
        with serving(answer(200, data)) as host:
            uri = "data:image/png;base64," + base64.b64encode(data).decode()
            output = {"images": [uri if inline else host.base_url]}
            with pytest.raises(FalInvokeMediaError, match="larger than 1000 bytes") as caught:
                save(made_up(output), Saving(tmp_path.as_uri(), max_file_size=1000))
        assert not caught.value.may_pass
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("quotes", [True, False])
def test_what_a_private_host_answers_is_in_no_error(
    quotes: bool, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_falinvoke.api.downloads.Downloader.quotes", quotes)
    with serving(answer(200, b"internal words")) as host, pytest.raises(FalInvokeMediaError) as caught:
        save(made_up({"images": [host.base_url]}), tmp_path.as_uri())
    assert "it is a text and not a file of media" in str(caught.value)
    assert ("internal words" in str(caught.value)) is quotes


def inline(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


class TestBounds:
    """What a stranger's output may take of number, bytes and time together."""

    PICTURE = picture("PNG")

    def test_of_more_files_the_first_are_saved_and_a_warning_names_the_others(
        self, emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        output = {"images": [inline(self.PICTURE + bytes([number])) for number in range(5)]}
        files = save(made_up(output), Saving(tmp_path.as_uri(), max_files=3))
        assert [file.number for file in files] == [1, 2, 3]
        (said,) = [record for record in caplog.records if "Left out" in record.message]
        assert said.levelname == "WARNING"
        assert "the-id" in said.message
        assert "images[3] (beyond max_files, 3), images[4] (beyond max_files, 3)" in said.message

    def test_a_file_that_is_skipped_does_not_count(self, emulator: Emulator, tmp_path: Path) -> None:
        output = {
            "images": [inline(self.PICTURE + bytes([number])) for number in range(3)],
            "has_nsfw_concepts": [True, False, False],
        }
        files = save(made_up(output), Saving(tmp_path.as_uri(), max_files=2, on_flagged="skip"))
        assert [file.number for file in files] == [2, 3]

    def test_the_defaults_are_those_of_the_documentation(self) -> None:
        assert (Saving.max_files, Saving.max_total_size, Saving.save_timeout) == (64, 20 * 2**30, 3600)

    def test_ten_thousand_files_are_few_by_default(self) -> None:
        output = {"images": [f"https://media.invalid/{number}.png" for number in range(10_000)]}
        choice = Saving("file:///x").choose(contents_of(output))
        assert len(choice.wanted) == 64
        assert (len(choice.left_out), choice.left_out[-1]) == (101, "and 9836 more")

    @pytest.mark.parametrize("kind", ["inline", "fetched"])
    def test_more_bytes_than_all_files_may_have_are_refused_for_good(
        self, kind: str, emulator: Emulator, tmp_path: Path
    ) -> None:
        with serving(*[answer(200, self.PICTURE)] * 3) as host:
            one = {"inline": lambda n: inline(self.PICTURE + bytes([n])), "fetched": lambda n: f"{host.base_url}/{n}"}
            output = {"images": [one[kind](number) for number in range(3)]}
            with pytest.raises(FalInvokeMediaError, match=r"bytes together \(max_total_size\)") as caught:
                save(made_up(output), Saving(tmp_path.as_uri(), max_total_size=2 * len(self.PICTURE) + 2))
        assert not caught.value.may_pass
        assert len(list(tmp_path.iterdir())) <= 2

    @pytest.mark.usefixtures("quick_backoff")
    def test_bytes_that_come_again_are_counted_once(self, emulator: Emulator, tmp_path: Path) -> None:
        data = wav(100)
        with serving(answer(200, data[: 1 << 20], length=len(data)), answer(200, data)) as host:
            (file,) = save(made_up({"audio": host.base_url}), Saving(tmp_path.as_uri(), max_total_size=len(data)))
        assert file.size == len(data)

    def test_when_the_time_for_all_files_is_up_a_retry_may_do_better(self, emulator: Emulator, tmp_path: Path) -> None:
        def endless(handler: Handler) -> None:
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(wav(1))
            while not handler.state.closing.wait(0.05):
                handler.wfile.write(b"drop")

        late = pytest.raises(FalInvokeMediaError, match=r"0.3 s, is up \(save_timeout\)")
        with serving(endless) as host, late as caught:
            save(made_up({"audio": host.base_url}), Saving(tmp_path.as_uri(), save_timeout=0.3))
        assert caught.value.may_pass
        assert list(tmp_path.iterdir()) == []

    def test_a_storage_that_hangs_holds_the_task_no_longer_than_that(
        self, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        released = threading.Event()
        monkeypatch.setattr("airflow_provider_falinvoke.media.save._GRACE", 0.1)
        monkeypatch.setattr("airflow_provider_falinvoke.media.store.Folder.new_file", lambda *_: released.wait(20))
        try:
            with pytest.raises(FalInvokeMediaError, match="save_timeout"):
                save(made_up({"images": [inline(self.PICTURE)]}), Saving(tmp_path.as_uri(), save_timeout=0.1))
        finally:
            released.set()


def test_several_files_come_at_once_and_not_more_than_four(emulator: Emulator, tmp_path: Path) -> None:
    lock = threading.Lock()
    under_way, most = 0, 0
    together = threading.Barrier(4)
    data = picture("PNG")

    def counting(handler: Handler) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        together.wait(20)
        with lock:
            under_way -= 1
        answer(200, data)(handler)

    with serving(counting) as host:
        files = save(made_up({"images": [f"{host.base_url}/{n}" for n in range(12)]}), tmp_path.as_uri())
    assert [file.number for file in files] == list(range(1, 13))
    assert most == 4


def test_a_storage_connection_is_not_looked_up_in_a_thread(
    s3_server: Bucket, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow's task process talks to its supervisor from one thread alone."""
    from airflow.sdk import BaseHook

    where: list[str] = []
    look_up = BaseHook.get_connection

    def watched(conn_id: str) -> Any:
        where.append(threading.current_thread().name)
        return look_up(conn_id)

    monkeypatch.setattr(BaseHook, "get_connection", staticmethod(watched))
    monkeypatch.setattr("airflow.sdk.io.store._STORE_CACHE", {})
    save(done(num_images=3), s3_server.path())
    assert len(where) >= 2, "the API's connection and the storage's"
    assert set(where) == {"MainThread"}


class TestRedirects:
    """The way to a file never has the key on it."""

    def test_one_to_another_origin_is_followed_without_the_key(self, emulator: Emulator, tmp_path: Path) -> None:
        with Emulator(durations={FAST: 0.0}) as other:
            target = find_media(done().output)[0].url
            other.add_fault(Fault("redirect", on="media", value=target))
            start = f"{other.media_url}/files/x/0.png"
            (file,) = save(made_up({"images": [{"url": start}]}), tmp_path.as_uri())
            assert other.leaks == []
        assert emulator.leaks == []
        assert is_picture((tmp_path / "the-id-1.png").read_bytes())
        assert (file.content_type, file.source_url) == ("image/png", start)

    def test_a_file_on_the_apis_own_host_gets_no_key_either(self, emulator: Emulator, tmp_path: Path) -> None:
        """What fetches files knows no key at all."""
        with pytest.raises(FalInvokeMediaError, match="401"):
            save(made_up({"url": f"{emulator.url}/v1/models"}), tmp_path.as_uri())


class TestFlagged:
    """What the safety checker flagged is kept and marked, or ends the task, or is left out."""

    def test_kept(self, emulator: Emulator, tmp_path: Path) -> None:
        emulator.add_fault(Fault("flag"))
        assert [file.flagged for file in save(done(num_images=2), tmp_path.as_uri())] == [True, True]

    def test_failed_before_anything_is_fetched(self, emulator: Emulator, tmp_path: Path) -> None:
        emulator.add_fault(Fault("flag", value=[1, 3]))
        invocation = done(num_images=3)
        with pytest.raises(FalInvokeFlaggedError, match=r"files 1, 3 \(of 3\)") as caught:
            save(invocation, Saving((tmp_path / "new").as_uri(), on_flagged="fail"))
        assert not caught.value.may_pass
        assert caught.value.request_id == invocation.request_id
        assert not [request for request in emulator.requests if request.route == "media"]
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize("flag", ["true", 1, [True], {"nsfw": True}, "who knows", 0.98])
    def test_a_flag_in_any_spelling_counts_and_so_does_one_that_cannot_be_read(
        self, flag: Any, emulator: Emulator, tmp_path: Path
    ) -> None:
        images = [inline(picture("PNG")), inline(picture("JPEG"))]
        job = made_up({"images": images, "has_nsfw_concepts": [flag, False]})
        doubt = r" \(what is said of 1 cannot be read" if flag in ("who knows", 0.98) else " and"
        with pytest.raises(FalInvokeFlaggedError, match=r"flagged its files 1 \(of 2\)" + doubt):
            save(job, Saving(tmp_path.as_uri(), on_flagged="fail"))
        assert [file.number for file in save(job, Saving(tmp_path.as_uri(), on_flagged="skip"))] == [2]
        assert [file.number for file in save(job, tmp_path.as_uri())] == [1, 2]

    def test_skipped_with_their_numbers_left_free(self, emulator: Emulator, tmp_path: Path) -> None:
        emulator.add_fault(Fault("flag", value=[2]))
        invocation = done(num_images=3)
        files = save(invocation, Saving(tmp_path.as_uri(), on_flagged="skip"))
        assert [file.number for file in files] == [1, 3]
        assert len([request for request in emulator.requests if request.route == "media"]) == 2
        assert sorted(path.name[-6:] for path in tmp_path.iterdir()) == ["-1.png", "-3.png"]


@pytest.mark.parametrize(
    ("output", "words"),
    [({"seed": 1, "nsfw": []}, r"\['nsfw', 'seed'\]"), (None, "NoneType"), ([], "list"), ({"images": []}, "images")],
)
def test_an_output_without_files_is_named_with_what_it_holds(
    output: Any, words: str, emulator: Emulator, tmp_path: Path
) -> None:
    with pytest.raises(FalInvokeMediaGoneError, match=words) as caught:
        save(made_up(output), tmp_path.as_uri())
    assert caught.value.request_id == "the-id"


def test_an_output_without_files_names_what_may_be_one(emulator: Emulator, tmp_path: Path) -> None:
    with pytest.raises(FalInvokeMediaGoneError, match=r"not in the shape of one: vocals.url \(a URL"):
        save(made_up({"vocals": {"url": "https://media.invalid/a.wav"}}), tmp_path.as_uri())


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("data:image/png;base64,QUJDR", "not base64"),
        ("data:image/png;base64,QUJD*REVG", "not base64"),
        ("data:,", "it is empty"),
        ("data:text/html,<html>no</html>", "an HTML page: no"),
        ("http://", "no host"),
        ("https://[::1", "cannot be read"),
        ("http://203.0.113.7/a.png", "reserved address"),
    ],
)
@pytest.mark.usefixtures("quick_backoff")
def test_a_url_that_is_none_is_named(url: str, words: str, emulator: Emulator, tmp_path: Path, network: Any) -> None:
    network.numbers_resolve = True
    with pytest.raises(FalInvokeMediaError, match=words):
        save(made_up({"url": url}), tmp_path.as_uri())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "decoded"),
    [
        ("data:image/png;base64,{}", picture("PNG")),
        ("data:image/png;charset=x;base64,{}%0A", picture("PNG")),
        ("data:;base64,{}", wav(0.1)),
        ("DATA:image/png; BASE64,{}", picture("PNG")),
    ],
)
def test_a_data_uri_is_decoded(uri: str, decoded: bytes, emulator: Emulator, tmp_path: Path) -> None:
    (file,) = save(made_up({"url": uri.format(base64.b64encode(decoded).decode())}), tmp_path.as_uri())
    assert file.sha256 == hashlib.sha256(decoded).hexdigest()


@pytest.mark.parametrize(
    "encode",
    [base64.urlsafe_b64encode, base64.encodebytes, lambda data: base64.b64encode(data).rstrip(b"=")],
    ids=["alphabet for URLs", "broken lines", "no padding"],
)
def test_every_base64_is_decoded_to_the_bytes_that_were_sent(
    encode: Callable[[bytes], bytes], emulator: Emulator, tmp_path: Path
) -> None:
    """What Python's decoder does not know, it leaves out by default: the file would be another one."""
    data = wav(0.1) + bytes(range(256))
    (file,) = save(made_up({"images": [{"b64_json": encode(data).decode()}]}), tmp_path.as_uri())
    assert file.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("path", ["nosuch://bucket/key", "file:///proc/nothing/here"])
def test_a_storage_that_does_not_work_names_the_paid_job(path: str, emulator: Emulator) -> None:
    """The storage's provider may be missing, its connection wrong, the disk read-only: the job is paid all the same."""
    invocation = done()
    with pytest.raises(FalInvokeMediaError, match="completed and paid") as caught:
        save(invocation, path)
    assert str(invocation.request_id) in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    "path",
    ["nosuch://bucket/key", "file:///proc/nothing/here", "file:///proc/self", "s3://falinvoke_s3@no-such-bucket/key"],
    ids=["no such storage", "cannot be made", "cannot be written to", "no such bucket"],
)
def test_a_storage_that_does_not_work_is_found_before_anything_is_paid(path: str, s3_server: Bucket) -> None:
    with pytest.raises(FalInvokeMediaError, match="nothing is paid"):
        Saving(path).check_folder()


@pytest.mark.parametrize(("path", "package"), [("gs://bucket/key", "google"), ("abfs://bucket/key", "microsoft-azure")])
def test_a_storage_whose_provider_is_missing_says_what_to_install(path: str, package: str) -> None:
    with pytest.raises(FalInvokeMediaError, match=rf"Install apache-airflow-providers-{package} on each worker"):
        Saving(path).check_folder()


def test_a_storage_that_works_is_left_as_it_was(s3_server: Bucket, tmp_path: Path) -> None:
    for path in (s3_server.path(), tmp_path.as_uri(), None):
        Saving(path).check_folder()
    assert (s3_server.objects(), s3_server.unfinished(), list(tmp_path.iterdir())) == ({}, [], [])


def test_the_query_of_a_signed_url_is_in_no_error_no_log_and_no_description(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="airflow_provider_falinvoke")
    url = f"{emulator.media_url}/files/x/0.png?X-Signature=very-secret"
    with pytest.raises(FalInvokeMediaError) as caught:
        save(made_up({"url": url}), tmp_path.as_uri())
    good = find_media(done().output)[0].url + "?X-Signature=very-secret"
    (file,) = save(made_up({"url": good}), tmp_path.as_uri())
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("airflow_provider")]
    assert "very-secret" not in "".join([str(caught.value), str(file.to_dict()), *ours])


def test_pieces_as_small_as_a_byte_make_the_same_file(emulator: Emulator, tmp_path: Path) -> None:
    data = picture("PNG", (100, 100))

    def drip(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for start in range(0, 100):
            handler.wfile.write(data[start : start + 1])
            handler.wfile.flush()
        handler.wfile.write(data[100:])

    script: Script = drip
    with serving(script) as host:
        (file,) = save(made_up({"url": host.base_url}), tmp_path.as_uri())
    assert (tmp_path / "the-id-1.png").read_bytes() == data
    assert file.sha256 == hashlib.sha256(data).hexdigest()
