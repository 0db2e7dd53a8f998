"""A plain HTTP client of the emulator for its tests, on a clock that stands still until a test moves it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from airflow_provider_falinvoke.emulator import Emulator, ManualClock

IMAGE, AUDIO, SPEECH = (
    "fal-ai/flux/schnell",
    "fal-ai/stable-audio-25/text-to-audio",
    "fal-ai/elevenlabs/tts/multilingual-v2",
)


@dataclass
class Running:
    emulator: Emulator
    clock: ManualClock
    http: httpx.Client

    def post(self, model_id: str = IMAGE, tags: Any = None, **fields: Any) -> httpx.Response:
        given = fields or ({"text": "good morning"} if model_id == SPEECH else {"prompt": "a red fox"})
        return self.http.post("/v1/async-invoke", json={"model_id": model_id, "input": given, "tags": tags})

    def submit(self, model_id: str = IMAGE, **fields: Any) -> str:
        return str(self.post(model_id, **fields).json()["request_id"])

    def get(self, request_id: str, suffix: str = "") -> httpx.Response:
        return self.http.get(f"/v1/async-invoke/{request_id}{suffix}")

    def finished(self, model_id: str = IMAGE, **fields: Any) -> Any:
        """Return the invocation of a job that has ended."""
        request_id = self.submit(model_id, **fields)
        self.clock.advance(100)
        return self.get(request_id).json()


@contextmanager
def running(**settings: Any) -> Iterator[Running]:
    clock = ManualClock(1_800_000_000.5)
    with Emulator(clock=clock, **settings) as emulator:
        headers = {"Authorization": f"Bearer {emulator.api_key}"}
        with httpx.Client(base_url=emulator.url, headers=headers, timeout=5) as client:
            yield Running(emulator, clock, client)
