"""What each family puts into its output, and the files behind the URLs."""

import base64
import io
import json
import wave
from typing import Any

import httpx
import pytest
from PIL import Image

from airflow_provider_falinvoke.emulator import Fault
from tests.emulator.client import AUDIO, SPEECH, running

TINY: dict[str, Any] = {"image_size": {"width": 96, "height": 64}}


def _picture(url: str) -> Any:
    return Image.open(io.BytesIO(httpx.get(url).content))


def _seconds(content: bytes) -> float:
    with wave.open(io.BytesIO(content)) as file:
        return float(file.getnframes() / file.getframerate())


def test_images_have_what_the_output_says() -> None:
    with running() as api:
        output = api.finished(prompt="a red fox", num_images=2, seed=7, **TINY)["output"]
        assert output.keys() == {"images", "seed", "prompt", "timings", "has_nsfw_concepts"}
        assert (output["seed"], output["prompt"], output["has_nsfw_concepts"]) == (7, "a red fox", [False, False])
        pictures = [_picture(image["url"]) for image in output["images"]]
        assert [picture.size for picture in pictures] == [(96, 64), (96, 64)]
        assert [(image["width"], image["height"]) for image in output["images"]] == [(96, 64), (96, 64)]
        assert {image["content_type"] for image in output["images"]} == {"image/png"}
        assert pictures[0].tobytes() != pictures[1].tobytes()


@pytest.mark.parametrize(
    ("fields", "size", "content_type"),
    [
        ({}, (1024, 768), "image/png"),
        ({"image_size": "square"}, (512, 512), "image/png"),
        ({"output_format": "portrait_16_9"}, (576, 1024), "image/png"),
        ({"output_format": "jpeg", "image_size": "landscape_16_9"}, (1024, 576), "image/jpeg"),
        ({"image_size": {"width": 1, "height": 99_999}}, (64, 2048), "image/png"),
    ],
)
def test_aspect_and_format_are_honoured_in_both_fields(
    fields: dict[str, Any], size: tuple[int, int], content_type: str
) -> None:
    with running() as api:
        image = api.finished(prompt="x", **fields)["output"]["images"][0]
        picture = _picture(image["url"])
    assert (image["width"], image["height"]) == size == picture.size
    assert image["content_type"] == content_type
    assert picture.format == content_type.removeprefix("image/").upper()


def test_the_same_model_prompt_and_seed_give_the_same_bytes_and_no_other() -> None:
    with running() as api:

        def content(prompt: str, **fields: Any) -> bytes:
            return httpx.get(api.finished(prompt=prompt, **TINY, **fields)["output"]["images"][0]["url"]).content

        first = content("a red fox", seed=1)
        assert content("a red fox", seed=1) == first
        assert first not in (content("a red fox", seed=2), content("a blue fox", seed=1), content("a red fox"))


@pytest.mark.parametrize("prompt", ["", "\ud800 \x00\n\u202e <b>'\"\\", "世界 🎉 ñ", "word " * 5_000, "x" * 20_000])
def test_no_prompt_breaks_the_picture(prompt: str) -> None:
    with running() as api:
        content = b'{"model_id": "fal-ai/flux/schnell", "input": {"prompt": %s}}'
        answer = api.http.post(
            "/v1/async-invoke",
            content=content % json.dumps(prompt).encode(),
            headers={"Content-Type": "application/json"},
        )
        api.clock.advance(100)
        invocation = api.get(answer.json()["request_id"]).json()
        assert invocation["output"]["prompt"] == prompt
        _picture(invocation["output"]["images"][0]["url"]).verify()


def test_audio_is_as_long_as_asked_and_its_size_is_told() -> None:
    with running() as api:
        output = api.finished(AUDIO, prompt="rain", seconds_total=3)["output"]
        content = httpx.get(output["audio"]["url"]).content
    assert output.keys() == {"audio", "seed"}
    assert output["audio"]["content_type"] == "audio/wav"
    assert output["audio"]["file_name"] == "audio.wav"
    assert output["audio"]["file_size"] == len(content)
    assert _seconds(content) == 3


def test_audio_without_seconds_total_is_190_seconds_long() -> None:
    with running() as api:
        output = api.finished(AUDIO, prompt="rain")["output"]
        assert _seconds(httpx.get(output["audio"]["url"]).content) == 190


def test_speech_is_as_long_as_its_text_and_timestamps_come_when_asked_for() -> None:
    text = "good morning to all of you"
    with running() as api:
        plain = api.finished(SPEECH, text=text)["output"]
        timed = api.finished(SPEECH, text=text, timestamps=True)["output"]
        content = httpx.get(plain["audio"]["url"]).content
    assert plain.keys() == {"audio"}
    assert plain["audio"]["file_size"] == len(content)
    assert _seconds(content) == pytest.approx(len(text) / 15, abs=0.01)
    assert [word["text"] for word in timed["timestamps"]] == text.split()
    assert timed["timestamps"][-1]["end"] == pytest.approx(len(text) / 15)


def test_an_empty_text_makes_a_short_silence() -> None:
    with running() as api:
        output = api.finished(SPEECH, text="")["output"]
        assert _seconds(httpx.get(output["audio"]["url"]).content) == 0.5


def test_sync_mode_puts_the_file_itself_into_the_reply() -> None:
    with running() as api:
        url = api.finished(prompt="x", sync_mode=True, **TINY)["output"]["images"][0]["url"]
    kind, _, data = url.partition(",")
    assert kind == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (96, 64)


def _shaped(shape: str, model_id: str, **fields: Any) -> Any:
    with running() as api:
        api.emulator.add_fault(Fault("output_shape", on="get", value=shape))
        return api.finished(model_id, **fields)["output"]


@pytest.mark.parametrize("shape", ["audio_url", "url", "file_url", "download_url"])
def test_output_shape_puts_the_url_under_another_key(shape: str) -> None:
    output = _shaped(shape, SPEECH, text="x")
    assert output.keys() == {shape}
    assert output[shape].endswith("/0.wav")


@pytest.mark.parametrize("shape", ["audio_file", "video"])
def test_output_shape_puts_the_file_under_another_key(shape: str) -> None:
    assert _shaped(shape, SPEECH, text="x")[shape]["url"].endswith("/0.wav")


def test_output_shape_string_and_base64_and_data_uri() -> None:
    image = "fal-ai/fast-sdxl"
    assert _shaped("string", image, prompt="x")["images"][0].startswith("http://127.0.0.1")
    assert _shaped("string", SPEECH, text="x")["audio"].startswith("http://127.0.0.1")
    assert base64.b64decode(_shaped("b64_json", image, prompt="x", **TINY)["images"][0]["b64_json"])[:4] == b"\x89PNG"
    assert base64.b64decode(_shaped("b64_json", SPEECH, text="x")["audio"]["b64_json"])[:4] == b"RIFF"
    assert _shaped("data_uri", SPEECH, text="x")["audio"]["url"].startswith("data:audio/wav;base64,")
