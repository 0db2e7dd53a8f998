"""Real processes on one token, by a fast clock: what tests/api/test_account.py has in stepped time."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from airflow_provider_falinvoke.emulator import Emulator
from tests.support.crowd import fast_clock

pytestmark = pytest.mark.serial

FACTOR = 15.0
PROCESSES, JOBS = 3, 100
DURATIONS = {
    "fal-ai/flux/schnell": 2.0,
    "fal-ai/elevenlabs/tts/multilingual-v2": 15.0,
    "fal-ai/stable-audio-25/text-to-audio": 45.0,
}


def test_three_processes_on_one_token_meet_no_429_and_starve_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    """300 jobs of three families at once, under the published quota: 250 requests a minute."""
    origin = time.time()
    models = [list(DURATIONS)[number % 3] for number in range(JOBS)]
    with Emulator(clock=fast_clock(origin, FACTOR), durations=DURATIONS, jitter=0.5) as emulator:
        task = {"url": emulator.url, "key": emulator.api_key, "models": models, "origin": origin, "factor": FACTOR}
        clients = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.support.crowd"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(PROCESSES)
        ]
        for client in clients:
            assert client.stdin is not None
            client.stdin.write(json.dumps(task))
            client.stdin.close()
        delays: list[list[float]] = []
        for client in clients:
            with client:
                assert client.stdout is not None
                delays.append(json.loads(client.stdout.read()))
        requests = emulator.requests
    begun, jobs = requests[0].at, PROCESSES * JOBS
    worst = [max(mine) for mine in delays]
    rejected = [request.at - begun for request in requests if request.status == 429]
    everyone = sorted(delay for mine in delays for delay in mine)
    with capsys.disabled():
        print(
            f"\n{jobs} jobs in {requests[-1].at - begun:.0f} s, {len(requests) / jobs:.2f} requests a job, "
            f"{len(rejected)} times 429; delay: median {everyone[jobs // 2]:.0f} s, worst of each process "
            + ", ".join(f"{seconds:.0f} s" for seconds in worst)
        )
    assert [len(mine) for mine in delays] == [JOBS] * PROCESSES
    assert len(emulator.posts()) == jobs
    assert [seconds for seconds in rejected if seconds > 60] == []
    # 600 requests take more than two minutes; nobody's delay is much longer than that, and no process goes short.
    assert max(worst) < 300
    assert max(worst) < 2 * min(worst) + 30
