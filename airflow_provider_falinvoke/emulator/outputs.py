"""What a completed job shows: its files, and the output that names them, family by family."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from airflow_provider_falinvoke.emulator import pictures, sounds
from airflow_provider_falinvoke.emulator.jobs import Job

# What the model makes when seconds_total is left out: the API's cost trap.
DEFAULT_AUDIO_SECONDS = 190

# Other shapes of an output that programs guard against; each can be had by the fault "output_shape".
SHAPES = (
    "audio_file",
    "audio_url",
    "url",
    "file_url",
    "download_url",
    "video",
    "string",
    "b64_json",
    "data_uri",
)


@dataclass(frozen=True)
class MediaFile:
    """A file of a job.

    :param name: the last part of its URL, for example ``0.png``.
    :param make: makes its bytes; slow the first time, cached for a while.
    """

    name: str
    content_type: str
    make: Callable[[], bytes]

    def data_uri(self) -> str:
        """Return the file itself as a ``data:`` URI."""
        return f"data:{self.content_type};base64,{base64.b64encode(self.make()).decode()}"


Locate = Callable[[MediaFile], str]


def files(job: Job) -> list[MediaFile]:
    """Return the files that a job makes."""
    if job.family == "speech":
        return [MediaFile("0.wav", "audio/wav", partial(sounds.speech, job.prompt))]
    if job.family == "audio":
        make = partial(sounds.melody, job.model_id, job.prompt, job.seed, _audio_seconds(job))
        return [MediaFile("0.wav", "audio/wav", make)]
    jpeg = job.input.get("output_format") in ("jpeg", "jpg")
    file_format, extension = ("JPEG", "jpg") if jpeg else ("PNG", "png")
    return [
        MediaFile(
            f"{index}.{extension}",
            f"image/{file_format.lower()}",
            partial(
                pictures.picture, job.model_id, job.prompt, job.seed, index, size=_size(job), file_format=file_format
            ),
        )
        for index in range(int(job.input.get("num_images") or 1))
    ]


def output(job: Job, locate: Locate) -> dict[str, Any]:
    """Return the output of a completed job.

    :param locate: gives the URL under which a file can be had.
    """
    made = files(job)
    if job.family == "image":
        width, height = _size(job)
        return {
            "images": [
                {"url": locate(file), "content_type": file.content_type, "width": width, "height": height}
                for file in made
            ],
            "seed": job.seed,
            "prompt": job.prompt,
            "timings": {"inference": round(job.duration * 0.8, 6)},
            "has_nsfw_concepts": [
                job.flagged is None or number in job.flagged for number, _ in enumerate(made, start=1)
            ],
        }
    seconds = sounds.speech_seconds(job.prompt) if job.family == "speech" else _audio_seconds(job)
    audio = {
        "url": locate(made[0]),
        "content_type": made[0].content_type,
        "file_name": f"{job.family}.wav",
        "file_size": sounds.wav_bytes(seconds),
    }
    if job.family == "audio":
        return {"audio": audio, "seed": job.seed}
    if job.input.get("timestamps") is True:
        return {"audio": audio, "timestamps": [word._asdict() for word in sounds.words(job.prompt)]}
    return {"audio": audio}


def reshaped(job: Job, locate: Locate, shape: str) -> dict[str, Any]:
    """Return the output of a completed job in one of ``SHAPES``."""
    made = files(job)
    key = "images" if job.family == "image" else "audio"
    if shape == "data_uri":
        return output(job, MediaFile.data_uri)
    if shape == "b64_json":
        encoded = [{"b64_json": base64.b64encode(file.make()).decode()} for file in made]
        return {key: encoded if key == "images" else encoded[0]}
    urls = [locate(file) for file in made]
    if shape == "string":
        return {key: urls if key == "images" else urls[0]}
    if shape in ("audio_file", "video"):
        return {shape: {"url": urls[0], "content_type": made[0].content_type}}
    return {shape: urls[0]}


def _size(job: Job) -> pictures.Size:
    return pictures.size_of(job.input.get("image_size"), job.input.get("output_format"))


def _audio_seconds(job: Job) -> int:
    return int(job.input.get("seconds_total") or DEFAULT_AUDIO_SECONDS)
