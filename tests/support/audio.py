"""Real sounds, made by public tools, and what independent decoders say of a sound."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

TOOLS = ("espeak-ng", "lame", "ffmpeg", "ffprobe", "sox", "soxi")
#: Commands that make the files of these names, from ``say.wav`` (22,050 Hz, mono) or ``stereo.wav`` (44,100 Hz).
MADE = {
    "say.wav": ("espeak-ng", "-w", "say.wav", "A few words that are said, to make a real sound."),
    "stereo.wav": ("sox", "say.wav", "-r", "44100", "-c", "2", "stereo.wav"),
    "lame-constant.mp3": ("lame", "--quiet", "-b", "128", "stereo.wav", "lame-constant.mp3"),
    "lame-varying.mp3": (
        *("lame", "--quiet", "-V", "4", "--tt", "Title", "--ta", "Artist", "--add-id3v2", "stereo.wav"),
        "lame-varying.mp3",
    ),
    "lame-protected.mp3": ("lame", "--quiet", "-p", "-m", "s", "-b", "160", "stereo.wav", "lame-protected.mp3"),
    "lame-mono.mp3": ("lame", "--quiet", "-V", "5", "say.wav", "lame-mono.mp3"),
    "lame-slow.mp3": ("lame", "--quiet", "-b", "32", "--resample", "8", "say.wav", "lame-slow.mp3"),
    "ffmpeg.mp3": (
        *("ffmpeg", "-v", "error", "-i", "stereo.wav", "-b:a", "96k", "-metadata", "title=T", "-id3v2_version", "3"),
        "ffmpeg.mp3",
    ),
    "ffmpeg-bare.mp3": (
        *("ffmpeg", "-v", "error", "-i", "stereo.wav", "-b:a", "112k", "-write_xing", "0", "-id3v2_version", "0"),
        "ffmpeg-bare.mp3",
    ),
    "shine.mp3": ("ffmpeg", "-v", "error", "-i", "stereo.wav", "-c:a", "libshine", "-b:a", "128k", "shine.mp3"),
    "24-bit.wav": ("sox", "say.wav", "-b", "24", "24-bit.wav"),
    "24-bit-plain.wav": ("sox", "say.wav", "-b", "24", "-t", "wavpcm", "24-bit-plain.wav"),
    "float.wav": ("sox", "say.wav", "-e", "float", "float.wav"),
    "float-extensible.wav": ("ffmpeg", "-v", "error", "-i", "say.wav", "-c:a", "pcm_f32le", "float-extensible.wav"),
    "many-channels.wav": ("sox", "say.wav", "-c", "6", "-b", "24", "many-channels.wav"),
    "a-law.wav": ("sox", "say.wav", "-e", "a-law", "a-law.wav"),
    "compressed.wav": ("ffmpeg", "-v", "error", "-i", "say.wav", "-c:a", "adpcm_ms", "compressed.wav"),
    "sound.flac": ("ffmpeg", "-v", "error", "-i", "say.wav", "sound.flac"),
    "sound.opus": ("ffmpeg", "-v", "error", "-i", "say.wav", "sound.opus"),
    "sound.m4a": ("ffmpeg", "-v", "error", "-i", "say.wav", "sound.m4a"),
}
#: What is written to a pipe, whose writer cannot go back to its header.
STREAMED = {
    "ffmpeg-stream.wav": ("ffmpeg", "-v", "error", "-i", "say.wav", "-f", "wav", "-"),
    "ffmpeg-stream-24-bit.wav": ("ffmpeg", "-v", "error", "-i", "say.wav", "-c:a", "pcm_s24le", "-f", "wav", "-"),
    "espeak-stream.wav": ("espeak-ng", "--stdout", "Another sound."),
}


class Heard(NamedTuple):
    """What a decoder says of a file.

    :param seconds: what a player shows.
    :param frames: as they stand in it.
    :param complaints: about frames that are broken.
    """

    seconds: float
    frames: int
    complaints: str


def make_sounds(folder: Path) -> None:
    """Make all of them; the test is skipped where a tool is missing, or fails where FALINVOKE_REQUIRE_AUDIO is set."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        reason = f"{', '.join(missing)} of Debian missing; .ci/audio installs what makes and judges the sounds"
        if os.environ.get("FALINVOKE_REQUIRE_AUDIO"):
            pytest.fail(reason)
        pytest.skip(reason)
    for command in MADE.values():
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    for name, command in STREAMED.items():
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True)
        (folder / name).write_bytes(done.stdout)


@cache
def heard(path: Path) -> Heard:
    """Have a file judged by ffmpeg."""
    command = ("ffprobe", "-v", "error", "-count_packets", "-show_entries", "format=duration:stream=nb_read_packets")
    found = json.loads(_output([*command, "-of", "json", str(path)]))
    decoded = subprocess.run(
        ["ffmpeg", "-v", "warning", "-err_detect", "explode", "-i", path, "-f", "null", "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    complaints = [line for line in decoded.stderr.splitlines() if "Channel Layout" not in line]
    return Heard(float(found["format"]["duration"]), int(found["streams"][0]["nb_read_packets"]), "\n".join(complaints))


def sox_seconds(path: Path) -> float:
    """Return how long a file is by sox, which reads a WAV on its own terms."""
    return float(_output(["soxi", "-D", str(path)]))


@cache
def samples(path: Path) -> bytes:
    """Return what a file sounds like, decoded by ffmpeg."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "f32le", "-c:a", "pcm_f32le", "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
