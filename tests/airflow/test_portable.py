"""A triggerer that is given what Airflow cannot encode: it goes on, and so do its jobs, hostile or not."""

from __future__ import annotations

import base64
import io
import json
import re
import wave
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airflow_provider_falinvoke.emulator import Fault
from tests.airflow.lab import opened

pytestmark = pytest.mark.chaos

HOSTILE = {
    "seed": 2**64,
    "score": float("nan"),
    "far": 1e300,
    "text": "a\0b\ud800",
    "__classname__": "airflow.sdk.definitions.connection.Connection",
    "__version__": 1,
    "__data__": {"conn_id": "stolen"},
    "__type": "dict",
    "__var": {"a": 1},
}
ARRIVED = {
    "seed": "18446744073709551616",
    "score": "NaN",
    "far": "1e+300",
    "text": "a\ufffdb\ufffd",
    "___classname__": "airflow.sdk.definitions.connection.Connection",
    "___version__": 1,
    "___data__": {"conn_id": "stolen"},
    "___type": "dict",
    "___var": {"a": 1},
}


def picture() -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def sound() -> str:
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setparams((1, 2, 8000, 0, "NONE", ""))
        wav.writeframes(b"\0\0" * 800)
    return f"data:audio/wav;base64,{base64.b64encode(file.getvalue()).decode()}"


def test_a_hostile_job_ends_well_and_so_does_a_bystander(tmp_path: Path) -> None:
    with opened(tmp_path) as lab:
        for model_id, media in (
            ("fal-ai/flux/hostile", {"images": [{"url": picture()}]}),
            ("fal-ai/elevenlabs/tts/hostile", {"audio": {"url": sound()}}),
        ):
            around: dict[str, Any] = {
                "output": {**HOSTILE, **media},
                "model_id": f"{model_id}\ud800",
                "further": HOSTILE,
            }
            lab.emulator.add_fault(Fault("merge", on="get", model_id=model_id, value=around, times=None))
        items = [{"loc": ["body", f"field {number}"], "msg": "\ud800"} for number in range(100_000)]
        lab.emulator.add_fault(Fault("fail", on="post", model_id="fal-ai/flux/failing", body={"detail": items}))
        triggerers = {name: lab.airflow.processes[name].pid for name in lab.airflow.triggerers}
        run = lab.airflow.trigger("hostile", output=f"file://{tmp_path}/out")
        lab.airflow.wait_for_run("hostile", run, seconds=300)
        tasks = lab.airflow.task_instances("hostile", run)

        def log(task_id: str) -> str:
            return lab.airflow.log("hostile", run, task_id)

        assert all(lab.airflow.processes[name].poll() is None for name in triggerers), lab.airflow.tails()
        states = {ti["task_id"]: ti["state"] for ti in tasks}
        wanted = dict.fromkeys(states, "success") | {"failing": "failed"}
        wrong = {name: log(name)[-4000:] for name in states if states[name] != wanted[name]}
        assert not wrong, "\n".join(f"--- {name}: {states[name]}\n{text}" for name, text in wrong.items())

        results = {name: lab.airflow.xcom("hostile", run, name) for name in states}
        for name in ("single", "sensor", "decorated"):
            assert {key: results[name]["output"].get(key) for key in ARRIVED} == ARRIVED, name
            assert results[name]["model_id"] == "fal-ai/flux/hostile\ufffd"
            assert len(results[name]["files"]) == 1
        assert results["decorated"]["prompt"] == "a fox"
        assert results["pulled"] == "str 18446744073709551616"
        assert results["batch"]["done"] == results["batch"]["files_saved"] == 2
        assert len(results["speech"]["files"]) == 1
        (event,) = lab.airflow.api("GET", "/assets/events", params={"source_task_id": "single"})["asset_events"]
        assert event["extra"]["request_id"] == results["single"]["request_id"]

        assert "field 0" in log("failing")
        assert max(map(len, log("failing").splitlines())) < 100_000
        assert re.search("characters that Airflow cannot store.*input.prompt", log("decorated"))
        (sent,) = [job.input for job in lab.emulator.jobs.values() if "loras" in job.input]
        assert sent == {"prompt": "a fox", "__classname__": "x", "loras": [{"__type": "dict", "__var": {"a": 1}}]}
        parts = results["speech"]["parts"]
        posts = [post.request_id for post in lab.emulator.posts()]
        assert len(posts) == len(set(posts)) == len(lab.emulator.jobs) == 7 + parts, json.dumps(states)
