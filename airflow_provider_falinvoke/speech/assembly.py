"""From the parts of a speech, which a batch brought home, to one file, its timings and its subtitles."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from functools import partial
from typing import Any, NamedTuple

from airflow_provider_falinvoke.batch.storage import Folder
from airflow_provider_falinvoke.media.manifest import MediaFile
from airflow_provider_falinvoke.speech.joining import Kind, Opener, Sound, join, measure, why_apart
from airflow_provider_falinvoke.speech.subtitles import cues, srt, vtt
from airflow_provider_falinvoke.speech.timings import Word, fit, read_timings, together

log = logging.getLogger(__name__)

#: What the manifest says of each part, in order; asked for several times, because it may be long.
Rows = Callable[[], Iterator[Mapping[str, Any]]]

_CONTENT_TYPES: dict[Kind, str] = {"wav": "audio/wav", "mp3": "audio/mpeg"}
_BLOCK = 1 << 20
#: So many parts are named in a line of the log.
_SHOWN = 20


class _Part(NamedTuple):
    """A part of the speech.

    :param file: what is known of its file.
    :param others: what its job made beside the sound.
    """

    file: dict[str, Any]
    others: list[dict[str, Any]]
    opener: Opener
    sound: Sound

    @property
    def seconds(self) -> float | None:
        """How long it is, as measured here, or when its file was saved."""
        return self.sound.seconds or self.file.get("duration")


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
        self._parts: list[_Part] = []
        #: Why they cannot be put together, if so.
        self._apart: str | None = None
        for number, row in enumerate(rows(), start=1):
            files = row["files"]
            # A job may make something beside the sound.
            sounds = files if len(files) == 1 else [file for file in files if _is_sound(file)]
            if len(sounds) != 1:
                self._parts.clear()
                self._apart = f"part {number} has {len(sounds) or 'no'} files of sound"
                return
            file, others = sounds[0], [one for one in files if one is not sounds[0]]
            opener = _opener(file["path"])
            self._parts.append(_Part(file, others, opener, measure(opener, file.get("content_type"))))
        self._apart = why_apart([part.sound for part in self._parts])

    def files(self) -> list[dict[str, Any]]:
        """Join the parts, and return the file of the whole; those of the parts, in order, where they cannot be."""
        if self._apart is not None:
            log.warning("The parts of the speech stay files of their own, in order, because %s", self._apart)
            return [file for row in self._rows() for file in row["files"]]
        return [self._whole().to_dict(), *(file for part in self._parts for file in part.others)]

    def timings(self) -> dict[str, str]:
        """Write when each word is heard, as JSON and as subtitles, and return the paths by kind.

        Empty where no part tells, or where the length of one is not known. Of a part that does not tell nothing is
        shown.
        """
        lengths = [part.seconds for part in self._parts]
        silent = [number for number, words in enumerate(self._words(), start=1) if words is None]
        if why := self._why_no_subtitles(lengths, silent):
            log.warning("There are no subtitles, because %s", why)
            return {}
        if silent:
            log.warning(
                "The subtitles lack these parts, whose timestamps cannot be read, or do not fit their sound: %s%s",
                ", ".join(map(str, silent[:_SHOWN])),
                " and others" if len(silent) > _SHOWN else "",
            )

        def words() -> Iterator[Word]:
            return together((one or (), length or 0.0) for one, length in zip(self._words(), lengths, strict=True))

        return {
            "timings": self._write(".json", "application/json", _as_json(words())),
            "srt": self._write(".srt", "application/x-subrip", srt(cues(words()))),
            "vtt": self._write(".vtt", "text/vtt", vtt(cues(words()))),
        }

    def _why_no_subtitles(self, lengths: list[float | None], silent: list[int]) -> str | None:
        if not self._parts:
            return self._apart
        if None in lengths:
            number = lengths.index(None)
            return f"the length of part {number + 1} is not known: it is {self._parts[number].sound.form}"
        if len(silent) == len(lengths):
            return "no part's output holds timestamps that fit its sound"
        return None

    def _whole(self) -> MediaFile:
        sounds = [part.sound for part in self._parts]
        kind = sounds[0].kind
        assert kind is not None  # or they would stay apart
        content_type, name = _CONTENT_TYPES[kind], self._name_of(f".{kind}")
        with self._folder.writing(name, content_type) as target:
            join([part.opener for part in self._parts], sounds, target)
            size, digest = target.tell(), hashlib.sha256()
            target.seek(0)
            while block := target.read(_BLOCK):
                digest.update(block)
        file = MediaFile(
            path=self._folder.path_of(name),
            size=size,
            sha256=digest.hexdigest(),
            content_type=content_type,
            duration=round(sum(sound.seconds or 0.0 for sound in sounds), 3),
            sample_rate=sounds[0].sample_rate,
            number=1,
            source_url=f"joined from {len(sounds)} parts",
            model_id=self._model_id,
            saved_at=datetime.now(timezone.utc),
        )
        log.info("Joined %d parts into %s (%.1f s)", len(sounds), file.path, file.duration)
        return file

    def _words(self) -> Iterator[list[Word] | None]:
        for row, part in zip(self._rows(), self._parts, strict=False):
            words = read_timings(row.get("output"))
            yield words if words is None or part.seconds is None else fit(words, part.seconds)

    def _write(self, extension: str, content_type: str, blocks: Iterable[str]) -> str:
        name = self._name_of(extension)
        with self._folder.writing(name, content_type) as target:
            for block in blocks:
                target.write(block.encode("utf-8", "replace"))
        return self._folder.path_of(name)


def _is_sound(file: Mapping[str, Any]) -> bool:
    return str(file.get("content_type")).startswith("audio/")


def _as_json(words: Iterable[Word]) -> Iterator[str]:
    yield "["
    for number, word in enumerate(words):
        told = json.dumps({"text": word.text, "start": word.start, "end": word.end})
        yield f"{',' if number else ''}\n{told}"
    yield "\n]\n"


def _opener(path: str) -> Opener:
    from airflow.sdk import ObjectStoragePath

    place: Any = ObjectStoragePath(path)
    # A block is what is held in memory; some storages' own is 50 MiB.
    return partial(place.fs.open, place.path, "rb", block_size=_BLOCK)
