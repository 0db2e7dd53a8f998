"""Finding the files of an output, naming them, and bringing them home whole or not at all."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airflow_provider_falinvoke import media
from airflow_provider_falinvoke.api.drivers import MediaFailedError
from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus
from airflow_provider_falinvoke.emulator import Emulator, Fault
from airflow_provider_falinvoke.emulator.outputs import SHAPES
from airflow_provider_falinvoke.exceptions import FalInvokeMediaError
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.media import Media, extension, find_media, without_inline

FAST = "fal-ai/flux/schnell"
SMALL = {"image_size": {"width": 32, "height": 32}}
A, B = "https://v3.fal.media/files/a.png", "https://v3.fal.media/files/b.wav"


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ({"images": [{"url": A, "content_type": "image/png", "width": 1}]}, [Media(A, "image/png")]),
        ({"images": [{"url": A}, {"url": B}], "seed": 1}, [Media(A), Media(B)]),
        ({"images": [A, B]}, [Media(A), Media(B)]),
        ({"images": [{"url": A}, {"url": A}]}, [Media(A)]),
        ({"image": {"url": A}}, [Media(A)]),
        ({"audio": {"url": B, "content_type": "audio/wav", "file_name": "x.wav"}}, [Media(B, "audio/wav")]),
        ({"audio": B}, [Media(B)]),
        ({"audio": {"url": B}, "timestamps": [{"url": A}]}, [Media(B)]),
        ({"audio_file": {"url": B}}, [Media(B)]),
        ({"audio_url": B}, [Media(B)]),
        ({"url": A}, [Media(A)]),
        ({"file_url": A}, [Media(A)]),
        ({"download_url": A}, [Media(A)]),
        ({"video": {"url": A}}, [Media(A)]),
        ({"images": [{"b64_json": "QQ=="}]}, [Media("data:application/octet-stream;base64,QQ==")]),
        (
            {"images": [{"b64_json": "QQ==", "content_type": "image/png"}]},
            [Media("data:image/png;base64,QQ==", "image/png")],
        ),
        ({"images": [{"url": "data:image/png;base64,QQ=="}]}, [Media("data:image/png;base64,QQ==")]),
        (A, [Media(A)]),
        ([A, {"url": B}], [Media(A), Media(B)]),
        ({"images": []}, []),
        ({"images": None, "audio": 5, "url": ""}, []),
        ({"prompt": A, "seed": 1}, []),
        ({"url": "/etc/passwd"}, []),
        ({"url": "file:///etc/passwd"}, []),
        ({"url": A, "content_type": 5}, [Media(A)]),
        (None, []),
        ({}, []),
        ("words", []),
        (7, []),
    ],
    ids=str,
)
def test_files_are_found_in_every_shape_of_an_output(output: Any, found: list[Media]) -> None:
    assert find_media(output) == found


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"images": [{"url": A, "width": 1}]}, {"images": [{"url": A, "width": 1}]}),
        ({"url": "data:image/png;base64,AAAA"}, {"url": "<inline image/png, 26 characters>"}),
        ({"url": "data:,hello"}, {"url": "<inline data, 11 characters>"}),
        ({"images": [{"b64_json": "QUJD"}]}, {"images": [{"b64_json": "<inline, 4 characters>"}]}),
        ({"b64_json": None, "n": [1, None, True]}, {"b64_json": None, "n": [1, None, True]}),
        ({"prompt": "data: a, b and c"}, {"prompt": "data: a, b and c"}),
        (None, None),
    ],
    ids=str,
)
def test_inline_files_become_short_notes_and_all_else_stays(value: Any, shown: Any) -> None:
    assert without_inline(value) == shown


@pytest.mark.parametrize(
    ("content_type", "url", "suffix"),
    [
        ("image/png", "https://x/1", ".png"),
        ("image/jpeg", "https://x/1.png", ".jpg"),
        ("Image/JPEG; charset=x", "https://x/1", ".jpg"),
        ("audio/wav", "https://x/1", ".wav"),
        ("audio/x-wav", "https://x/1", ".wav"),
        ("audio/mpeg", "https://x/1", ".mp3"),
        ("video/mp4", "https://x/1", ".mp4"),
        ("image/webp", "https://x/1", ".webp"),
        (None, "https://x/a/b.webp?sig=1#f", ".webp"),
        (None, "https://x/a.tar/b", ".bin"),
        (None, "https://x/a.%2e%2f", ".bin"),
        (None, "https://x/a.verylongsuffix", ".bin"),
        ("nonsense", "https://x/1", ".bin"),
        (None, "data:image/png;base64,QQ.==", ".bin"),
        ("", "", ".bin"),
    ],
)
def test_an_extension_comes_from_the_type_or_else_from_the_url(content_type: str | None, url: str, suffix: str) -> None:
    assert extension(content_type, url) == suffix


@pytest.mark.parametrize(
    ("uri", "decoded"),
    [
        ("data:image/png;base64,QUJD", ("image/png", b"ABC")),
        ("data:image/png;charset=x;base64,QUJD", ("image/png", b"ABC")),
        ("data:image/png;base64,QUJD%0A", ("image/png", b"ABC")),
        ("data:;base64,QUI%3D", (None, b"AB")),
        ("data:text/plain,a%20b", ("text/plain", b"a b")),
        ("data:,", (None, b"")),
    ],
)
def test_a_data_uri_is_decoded(uri: str, decoded: tuple[str | None, bytes]) -> None:
    assert media._decode(uri) == decoded


def test_broken_base64_is_named() -> None:
    with pytest.raises(MediaFailedError, match="not base64"):
        media._decode("data:image/png;base64,QUJDR")


@pytest.fixture
def memory() -> Iterator[Any]:
    """Attach fsspec's memory file system, as a provider would bring a storage."""
    from airflow.sdk.io import attach
    from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]  # no stubs

    files = MemoryFileSystem()
    attach("memory", fs=files)
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()


def done(**fields: Any) -> Invocation:
    invocation = FalInvokeHook().submit(FAST, {"prompt": "a fox", **SMALL, **fields})
    assert invocation.status is InvocationStatus.COMPLETED
    return invocation


def made_up(output: Any, request_id: str | None = "the-id") -> Invocation:
    return Invocation(request_id=request_id, status=InvocationStatus.COMPLETED, output=output)


def is_picture(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as picture:
        return str(picture.format) == "PNG"


@pytest.fixture(params=["file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, memory: Any) -> tuple[str, Callable[[], dict[str, bytes]]]:
    """Return a folder's URL, and a function that returns what lies in it."""
    if request.param == "file":
        target = tmp_path / "new" / "folder"
        return target.as_uri(), lambda: {path.name: path.read_bytes() for path in target.glob("*")}
    return "memory://new/folder", lambda: {
        name.rsplit("/", 1)[1]: file.getvalue() for name, file in memory.store.items()
    }


Folder = tuple[str, Callable[[], dict[str, bytes]]]


def test_files_are_streamed_into_a_new_folder_of_any_storage(folder: Folder, emulator: Emulator) -> None:
    url, listing = folder
    invocation = done(num_images=2)
    saved = FalInvokeHook().save_media(invocation, url)
    names = [f"{invocation.request_id}-{number}.png" for number in (1, 2)]
    assert sorted(listing()) == names
    assert all(is_picture(data) for data in listing().values())
    assert [file.path.rsplit("/", 1)[1] for file in saved] == names
    assert [file.size for file in saved] == [len(listing()[name]) for name in names]
    assert emulator.leaks == []


def test_saving_again_replaces_the_files(folder: Folder, emulator: Emulator) -> None:
    """A retry of the task brings them home once more."""
    url, listing = folder
    invocation = done()
    hook = FalInvokeHook()
    assert hook.save_media(invocation, url) == hook.save_media(invocation, url)
    assert len(listing()) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_that_the_emulator_has_comes_home(shape: str, emulator: Emulator, tmp_path: Path) -> None:
    emulator.add_fault(Fault("output_shape", value=shape))
    (file,) = FalInvokeHook().save_media(done(), tmp_path.as_uri())
    (path,) = tmp_path.iterdir()
    assert is_picture(path.read_bytes())
    assert path.suffix == (".bin" if shape == "b64_json" else ".png")
    assert file.size == path.stat().st_size


def test_a_result_without_an_envelope_or_an_id_comes_home(emulator: Emulator, tmp_path: Path) -> None:
    emulator.add_fault(Fault("no_envelope"))
    invocation = done()
    assert invocation.request_id is None
    FalInvokeHook().save_media(invocation, tmp_path.as_uri())
    assert [path.name for path in tmp_path.iterdir()] == ["result-1.png"]


@pytest.mark.parametrize("request_id", ["../../etc/passwd", "a/b", "a\\b", "a\0b", "..", "ü?*", "x" * 500])
def test_a_hostile_request_id_stays_in_the_folder(request_id: str, emulator: Emulator, tmp_path: Path) -> None:
    target = tmp_path / "here"
    invocation = done().model_copy(update={"request_id": request_id})
    FalInvokeHook().save_media(invocation, target.as_uri())
    assert list(tmp_path.iterdir()) == [target]
    (path,) = target.iterdir()
    assert path.is_file()


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_falinvoke.api.drivers.backoff", lambda _: 0.0)


PASSING = {
    "503": Fault("answer", on="media", status=503, times=2),
    "dropped": Fault("drop", on="media"),
    "reset": Fault("drop", on="media", value="reset"),
    "cut mid-download": Fault("cut", on="media", times=3),
}


@pytest.mark.usefixtures("quick_backoff")
@pytest.mark.parametrize("name", PASSING)
def test_a_failure_that_passes_is_tried_again_from_the_start(name: str, folder: Folder, emulator: Emulator) -> None:
    emulator.add_fault(PASSING[name])
    url, listing = folder
    invocation = done()
    FalInvokeHook().save_media(invocation, url)
    assert list(listing()) == [f"{invocation.request_id}-1.png"]
    assert all(is_picture(data) for data in listing().values())


LASTING = {
    "expired": (Fault("answer", on="media", status=410, times=None), 1, "such URLs expire"),
    "not there": (Fault("answer", on="media", status=404, times=None), 1, "answered 404"),
    "HTML under an image's name": (Fault("html", on="media", times=None), 1, "text/html"),
    "always cut": (Fault("cut", on="media", times=None), 4, "RemoteProtocolError"),
    "always 500": (Fault("answer", on="media", status=500, times=None), 4, "answered 500"),
}


@pytest.mark.usefixtures("quick_backoff")
@pytest.mark.parametrize("name", LASTING)
def test_a_failure_that_lasts_is_named_and_leaves_nothing_behind(name: str, folder: Folder, emulator: Emulator) -> None:
    fault, tries, words = LASTING[name]
    emulator.add_fault(fault)
    url, listing = folder
    invocation = done()
    with pytest.raises(FalInvokeMediaError, match=words) as caught:
        FalInvokeHook().save_media(invocation, url)
    assert caught.value.request_id == invocation.request_id
    assert str(invocation.request_id) in str(caught.value)
    assert listing() == {}
    assert len([request for request in emulator.requests if request.route == "media"]) == tries


@pytest.mark.usefixtures("quick_backoff")
def test_a_file_before_the_one_that_failed_stays_whole(folder: Folder, emulator: Emulator) -> None:
    url, listing = folder
    emulator.add_fault(Fault("answer", on="media", status=410, after=1, times=None))
    with pytest.raises(FalInvokeMediaError):
        FalInvokeHook().save_media(done(num_images=2), url)
    (data,) = listing().values()
    assert is_picture(data)


def test_a_redirect_to_another_origin_is_followed_without_the_key(emulator: Emulator, tmp_path: Path) -> None:
    with Emulator(durations={FAST: 0.0}) as other:
        target = find_media(done().output)[0].url
        other.add_fault(Fault("redirect", on="media", value=target))
        start = f"{other.media_url}/files/x/0.png"
        (file,) = FalInvokeHook().save_media(made_up({"images": [{"url": start}]}), tmp_path.as_uri())
        assert other.leaks == []
    assert emulator.leaks == []
    assert is_picture((tmp_path / "the-id-1.png").read_bytes())
    assert file.content_type == "image/png"


def test_a_file_on_the_apis_own_host_gets_no_key_either(emulator: Emulator, tmp_path: Path) -> None:
    """The client for files knows no key at all."""
    with pytest.raises(FalInvokeMediaError, match="401"):
        FalInvokeHook().save_media(made_up({"url": f"{emulator.url}/v1/models"}), tmp_path.as_uri())


@pytest.mark.parametrize(
    ("output", "words"),
    [({"seed": 1, "nsfw": []}, r"\['nsfw', 'seed'\]"), (None, "NoneType"), ([], "list"), ({"images": []}, "images")],
)
def test_an_output_without_files_is_named_with_what_it_holds(output: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(FalInvokeMediaError, match=words) as caught:
        media.save_media(made_up(output), tmp_path.as_uri(), client=None)  # type: ignore[arg-type]  # not reached
    assert caught.value.request_id == "the-id"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("data:image/png;base64,QUJDR", "not base64"),
        ("http://", "UnsupportedProtocol|InvalidURL"),
        ("https://[::1", "InvalidURL"),
    ],
)
@pytest.mark.usefixtures("quick_backoff")
def test_a_url_that_cannot_be_one_is_named(url: str, words: str, emulator: Emulator, tmp_path: Path) -> None:
    with pytest.raises(FalInvokeMediaError, match=words):
        FalInvokeHook().save_media(made_up({"url": url}), tmp_path.as_uri())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["nosuch://bucket/key", "file:///proc/nothing/here"])
def test_a_storage_that_does_not_work_names_the_paid_job(path: str, emulator: Emulator) -> None:
    """The storage's provider may be missing, its connection wrong, the disk read-only: the job is paid all the same."""
    invocation = done()
    with pytest.raises(FalInvokeMediaError, match="completed and paid") as caught:
        FalInvokeHook().save_media(invocation, path)
    assert str(invocation.request_id) in str(caught.value)
    assert caught.value.__cause__ is not None


def test_the_query_of_a_signed_url_is_in_no_error_and_no_log(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="airflow_provider_falinvoke")
    url = f"{emulator.media_url}/files/x/0.png?X-Signature=very-secret"
    with pytest.raises(FalInvokeMediaError) as caught:
        FalInvokeHook().save_media(made_up({"url": url}), tmp_path.as_uri())
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("airflow_provider")]
    assert "very-secret" not in "".join([str(caught.value), *ours])


def test_inline_bytes_are_the_files_bytes(tmp_path: Path) -> None:
    uri = "data:audio/mpeg;base64," + base64.b64encode(b"sound").decode()
    (file,) = media.save_media(made_up({"audio": {"url": uri}}), tmp_path.as_uri(), client=None)  # type: ignore[arg-type]  # not used
    assert (tmp_path / "the-id-1.mp3").read_bytes() == b"sound"
    assert (file.size, file.content_type) == (5, "audio/mpeg")
