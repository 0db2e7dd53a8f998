"""From the parts of a speech, which a batch brought home, to one file, its timings and its subtitles."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from functools import partial
from typing import IO, Any

from airflow_provider_falinvoke.batch.storage import Folder
from airflow_provider_falinvoke.media.manifest import MediaFile
from airflow_provider_falinvoke.speech.joining import Kind, Sound, common_kind, join, measure
from airflow_provider_falinvoke.speech.subtitles import cues, srt, vtt
from airflow_provider_falinvoke.speech.timings import Word, read_timings, together

log = logging.getLogger(__name__)

#: What the manifest says of each part, in order; asked for several times, because it may be long.
Rows = Callable[[], Iterator[Mapping[str, Any]]]

_CONTENT_TYPES: dict[Kind, str] = {"wav": "audio/wav", "mp3": "audio/mpeg"}
_BLOCK = 1 << 20


class Assembly:
    """Puts the parts of a speech together.

    :param rows: what the manifest says of each part.
    :param folder: where the whole goes.
    :param name_of: gives a file's name in it, from its extension.
    :param model_id: of the model that said them.
    """

    def __init__(self, rows: Rows, folder: Folder, name_of: Callable[[str], str], model_id: str | None) -> None:
        self._rows = rows
        self._folder = folder
        self._name_of = name_of
        self._model_id = model_id
        self._openers = [_opener(files[0]["path"]) for files in self._files() if len(files) == 1]
        whole = len(self._openers) == sum(1 for _ in rows())
        self._sounds = [measure(opener) for opener in self._openers] if whole else []

    def files(self) -> list[dict[str, Any]]:
        """Join the parts, and return the file of the whole; those of the parts, in order, where they cannot be."""
        kind = common_kind(self._sounds) if self._sounds else None
        if kind is None:
            log.warning("The %d parts of the speech cannot be joined: they stay files of their own", len(self._sounds))
            return [file for files in self._files() for file in files]
        return [self._whole(kind).to_dict()]

    def timings(self) -> dict[str, str]:
        """Write when each word is heard, as JSON and as subtitles, and return the paths by kind.

        Empty where the model did not tell, or where the length of a part is not known.
        """
        lengths = [sound.seconds for sound in self._sounds]
        if not lengths or None in lengths or any(words is None for words in self._words()):
            log.warning("The output holds no timestamps that can be read, so there are no subtitles")
            return {}

        def words() -> Iterator[Word]:
            return together((one or (), length or 0.0) for one, length in zip(self._words(), lengths, strict=True))

        return {
            "timings": self._write(".json", "application/json", _as_json(words())),
            "srt": self._write(".srt", "application/x-subrip", srt(cues(words()))),
            "vtt": self._write(".vtt", "text/vtt", vtt(cues(words()))),
        }

    def _whole(self, kind: Kind) -> MediaFile:
        content_type, name = _CONTENT_TYPES[kind], self._name_of(f".{kind}")
        with self._folder.writing(name, content_type) as target:
            join(self._openers, kind, target)
            size, digest = target.tell(), hashlib.sha256()
            target.seek(0)
            while block := target.read(_BLOCK):
                digest.update(block)
        file = MediaFile(
            path=self._folder.path_of(name),
            size=size,
            sha256=digest.hexdigest(),
            content_type=content_type,
            duration=round(sum(sound.seconds or 0.0 for sound in self._sounds), 3),
            sample_rate=_sample_rate(self._sounds[0]),
            number=1,
            source_url=f"joined from {len(self._sounds)} parts",
            model_id=self._model_id,
            saved_at=datetime.now(timezone.utc),
        )
        log.info("Joined %d parts into %s (%.1f s)", len(self._sounds), file.path, file.duration)
        return file

    def _files(self) -> Iterator[list[dict[str, Any]]]:
        return (row["files"] for row in self._rows())

    def _words(self) -> Iterator[list[Word] | None]:
        return (read_timings(row.get("output")) for row in self._rows())

    def _write(self, extension: str, content_type: str, blocks: Iterable[str]) -> str:
        name = self._name_of(extension)
        with self._folder.writing(name, content_type) as target:
            for block in blocks:
                target.write(block.encode("utf-8", "replace"))
        return self._folder.path_of(name)


def _sample_rate(sound: Sound) -> int:
    return int(sound.shape[2] if sound.kind == "wav" else sound.shape[1])


def _as_json(words: Iterable[Word]) -> Iterator[str]:
    yield "["
    for number, word in enumerate(words):
        yield f"{',' if number else ''}\n{json.dumps(word._asdict())}"
    yield "\n]\n"


def _opener(path: str) -> Callable[[], AbstractContextManager[IO[bytes]]]:
    from airflow.sdk import ObjectStoragePath

    place: Any = ObjectStoragePath(path)
    # A block is what is held in memory; some storages' own is 50 MiB.
    return partial(place.fs.open, place.path, "rb", block_size=_BLOCK)
