"""What the tab opens, and for how long it waits."""

from __future__ import annotations

import asyncio
import hashlib
import time
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]  # fsspec has no types
import pytest
from fsspec.asyn import AsyncFileSystem  # type: ignore[import-untyped]  # fsspec has no types

from airflow_provider_falinvoke.media.manifest import MediaFile
from airflow_provider_falinvoke.media_tab import storage
from airflow_provider_falinvoke.media_tab.storage import NotShownError, SlowStorageError, Stored, open_media
from tests.support.samples import picture

ROOTS = "AIRFLOW__FALINVOKE__MEDIA_ROOTS"


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a folder with a picture, beside another that has one."""
    for name in ("media", "secret"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(picture("PNG", (64, 48)))
    (tmp_path / "media" / "link.png").symlink_to(tmp_path / "secret" / "a.png")
    (tmp_path / "media" / "there").symlink_to(tmp_path / "secret")
    return tmp_path


def test_without_roots_the_tab_reads_what_the_api_server_can(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ROOTS, raising=False)
    for path in ("secret/a.png", "media/link.png", "media/../secret/a.png"):
        assert Stored(f"file://{shared}/{path}").size > 0


def test_with_roots_it_reads_nothing_else(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOTS, f" s3://c@bucket , {shared}/media/ ,")
    assert Stored(f"file://{shared}/media/a.png").size > 0
    for path in ("secret/a.png", "media/../secret/a.png", "media/%2e%2e/secret/a.png", "media/link.png"):
        with pytest.raises(NotShownError, match="media_roots"):
            Stored(f"file://{shared}/{path}")
    with pytest.raises(NotShownError, match="media_roots"):
        Stored(f"{shared}/media/there/a.png")


def test_roots_that_are_links_themselves_are_followed(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOTS, f"{shared}/media/there")
    assert Stored(f"{shared}/media/there/a.png").size > 0


def test_no_connection_is_looked_up_for_a_path_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOTS, "/shared")
    monkeypatch.setattr("airflow.sdk.ObjectStoragePath", None)
    with pytest.raises(NotShownError, match="media_roots"):
        Stored("s3://anybody@bucket/a.png")


class Still(AsyncFileSystem):  # type: ignore[misc]  # untyped
    """A storage that answers nothing, or, once it is told so, nothing but where a file lies."""

    protocol = "still"
    cachable = False
    answers_info = False

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        if not self.answers_info:
            await asyncio.sleep(60)
        return {"name": path, "size": 10, "type": "file"}

    async def _cat_file(self, *_: Any, **__: Any) -> bytes:
        await asyncio.sleep(60)
        return b""


@pytest.mark.parametrize("answers_info", [False, True])
def test_a_storage_that_does_not_answer_is_left_soon(answers_info: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("still", Still, clobber=True)
    monkeypatch.setattr(Still, "answers_info", answers_info)
    monkeypatch.setattr(storage, "TIME_LIMIT", 0.05)
    monkeypatch.setattr("airflow.sdk.io.path.attach", lambda *_: type("Store", (), {"fs": Still()}))
    file = MediaFile.model_validate(
        {
            "path": "memory://x/a.png",
            "size": 10,
            "sha256": hashlib.sha256().hexdigest(),
            "content_type": "image/png",
            "number": 1,
            "source_url": "",
            "saved_at": "2026-01-01T00:00:00+00:00",
        }
    )
    before = time.monotonic()
    with pytest.raises(SlowStorageError):
        open_media(file)
    assert time.monotonic() - before < 2
