"""Metrics: names that Airflow takes, sent by the copy of its Stats that is set up, disturbing nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke import metrics
from airflow_provider_falinvoke.api.outcomes import Failure, Reply, Send
from airflow_provider_falinvoke.api.schedule import BriefWait, PollSchedule
from airflow_provider_falinvoke.batch.waiting import Job, Wait
from airflow_provider_falinvoke.emulator import Emulator, Fault
from airflow_provider_falinvoke.exceptions import FalInvokeBatchError
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from tests.support.batches import IMAGE, INSTANT, SMALL, Runner
from tests.support.loop_watch import run_watched
from tests.support.statsd import StatsdServer

MODEL = "fal-ai/flux/schnell"


class Recorder:
    """Stands in for Airflow's Stats, which is tried over UDP below and in real processes in tests/airflow."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, dict[str, str]]] = []
        self.timed: list[tuple[str, float]] = []

    def incr(self, stat: str, tags: dict[str, str] | None = None) -> None:
        self.counted.append((stat, tags or {}))

    def timing(self, stat: str, dt: Any, tags: dict[str, str] | None = None) -> None:
        self.timed.append((stat, dt.total_seconds()))

    def timer(self, stat: str) -> None:
        raise RuntimeError("metrics are not what this process is for")

    def names(self) -> list[str]:
        return [name for name, _ in self.counted]

    def of(self, model_id: str) -> dict[str, int]:
        """Return how often each thing was counted that became of the model's jobs."""
        told = (name.removeprefix("falinvoke.") for name, tags in self.counted if tags.get("model_id") == model_id)
        return dict(Counter(name for name in told if name != "requests"))


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    recorder = Recorder()
    monkeypatch.setattr(metrics, "find_stats", lambda: recorder)
    token = metrics._model.set("")
    yield recorder
    metrics._model.reset(token)


@pytest.mark.parametrize(
    ("model_id", "tag", "segment"),
    [
        (MODEL, "fal-ai/flux/schnell", "fal-ai_flux_schnell"),
        ("fal-ai/flux/v1.1", "fal-ai/flux/v1.1", "fal-ai_flux_v1_1"),
        ("a,b=c:d|e e\n", "a_b_c_d_e_e_", "a_b_c_d_e_e_"),
        ("größe", "gr__e", "gr__e"),
        ("", "unknown", "unknown"),
        ("x" * 300, "x" * 100, "x" * 100),
    ],
)
def test_a_model_becomes_what_every_backend_takes(model_id: str, tag: str, segment: str) -> None:
    """``.`` and ``/`` end a segment, ``,`` and ``=`` a tag of InfluxDB, ``:`` and ``|`` a line of StatsD."""
    assert (metrics.tag_of(model_id), metrics.segment_of(model_id)) == (tag, segment)


def test_names_pass_airflows_own_validator() -> None:
    validators = pytest.importorskip("airflow.sdk._shared.observability.metrics.validators", reason="Airflow 3.2+")
    for model_id in (MODEL, "a,b=c:d|e", "x" * 300):
        name = f"falinvoke.rate_limited.{metrics.segment_of(model_id)}"
        assert validators.stat_name_otel_handler("airflow", name)


def test_a_request_counts_whatever_became_of_it(sent: Recorder) -> None:
    metrics.about(MODEL)
    metrics.requested("c", Send("GET", "/x"), Reply(429, {}, b"", 1.0))
    metrics.requested("c", Send("POST", "/x"), Failure("gone", True, 1.0))
    tags = {"model_id": MODEL, "conn_id": "c"}
    assert sent.counted == [
        ("falinvoke.requests", {**tags, "method": "GET", "status": "429"}),
        ("falinvoke.requests.fal-ai_flux_schnell", {}),
        ("falinvoke.rate_limited", {**tags, "method": "GET"}),
        ("falinvoke.rate_limited.fal-ai_flux_schnell", {}),
        ("falinvoke.requests", {**tags, "method": "POST", "status": "none"}),
        ("falinvoke.requests.fal-ai_flux_schnell", {}),
    ]


def test_the_hook_counts_each_request_once_blocking_and_awaiting(sent: Recorder, emulator: Emulator) -> None:
    hook = FalInvokeHook()
    request_id = str(hook.submit(MODEL, {"prompt": "a fox"}).request_id)
    emulator.add_fault(Fault("answer", on="get", status=429, headers={"Retry-After": "0"}))
    hook.wait(request_id, timeout=20)
    run_watched(hook.async_get(request_id))
    assert hook.requests == len(emulator.requests) == sent.names().count("falinvoke.requests")
    assert sent.names().count("falinvoke.rate_limited") == 1
    assert sent.names().count("falinvoke.submitted.fal-ai_flux_schnell") == 1
    assert [name for name, _ in sent.timed] == [
        "falinvoke.wait_duration",
        "falinvoke.wait_duration.fal-ai_flux_schnell",
    ]


def test_a_brief_wait_that_ends_before_its_job_is_no_wait(sent: Recorder, emulator: Emulator) -> None:
    """The task defers then, and the triggerer records how long all of it took."""
    hook = FalInvokeHook()
    for model_id, seconds, waits in (("fal-ai/flux/slow", 0.1, 0), (MODEL, 20.0, 1)):
        request_id = str(hook.submit(model_id, {"prompt": "a fox"}).request_id)
        hook.wait_briefly(request_id, submitted_at=time.time(), brief=BriefWait(seconds))
        assert [name for name, _ in sent.timed].count("falinvoke.wait_duration") == waits


def test_models_of_coroutines_side_by_side_are_kept_apart(sent: Recorder) -> None:
    async def one(model_id: str) -> None:
        metrics.about(model_id)
        await asyncio.sleep(0)
        metrics.submitted()

    async def all_of_them() -> None:
        await asyncio.gather(one("a"), one("b"))

    asyncio.run(all_of_them())
    assert sent.names() == [
        "falinvoke.submitted",
        "falinvoke.submitted.a",
        "falinvoke.submitted",
        "falinvoke.submitted.b",
    ]


def test_the_jobs_of_a_batch_count_for_their_own_models(sent: Recorder, emulator: Emulator) -> None:
    hook, now = FalInvokeHook(), time.time()
    jobs = []
    for model_id in (MODEL, "fal-ai/fast-sdxl"):
        request_id = str(hook.submit(model_id, {"prompt": "a fox"}).request_id)
        jobs.append(Job(request_id, submitted_at=now, deadline=now + 30, look_at=now))
    run_watched(Wait(hook, jobs, schedule=PollSchedule()).run())
    metrics.failed(ValueError(), "x")
    metrics.submitted()
    timed = {name for name, _ in sent.timed}
    assert timed == {f"falinvoke.wait_duration{end}" for end in ("", ".fal-ai_flux_schnell", ".fal-ai_fast-sdxl")}
    assert sent.names()[-3:] == ["falinvoke.failed.x", "falinvoke.submitted", "falinvoke.submitted.fal-ai_fast-sdxl"]


@pytest.mark.usefixtures("quick_deferral")
def test_each_item_of_a_batch_counts_as_a_job_does(sent: Recorder, emulator: Emulator, tmp_path: Path) -> None:
    """And a try that ends with items missing counts once more, for the batch's model."""
    emulator.add_fault(Fault("fail", on="post", body="out of memory", times=1))
    items = [f"p{number}" for number in range(5)] + [{"model_id": INSTANT, "input": {"prompt": "p5", **SMALL}}]
    run = Runner(tmp_path, inputs=items, max_in_flight=3)
    with pytest.raises(FalInvokeBatchError):
        run.try_()
    assert sent.of(IMAGE) == {"submitted": 5, "completed": 4, "failed": 2}
    assert sent.of(INSTANT) == {"submitted": 1, "completed": 1}
    run.retry()
    assert sent.of(IMAGE) == {"submitted": 6, "completed": 5, "failed": 2}
    errors = [tags["error"] for name, tags in sent.counted if name == "falinvoke.failed"]
    assert errors == ["FalInvokeJobFailedError", "FalInvokeBatchError"]
    ended = [name for name, _ in sent.timed]
    assert ended.count("falinvoke.run_duration") == len(items)
    assert ended.count("falinvoke.wait_duration") == len(items) - 1, "one was done at its submit"
    requests = [tags for name, tags in sent.counted if name == "falinvoke.requests"]
    assert len(requests) == len([request for request in emulator.requests if request.route != "media"])
    assert {tags["model_id"] for tags in requests} == {IMAGE, INSTANT}


def test_metrics_that_fail_disturb_no_job(monkeypatch: pytest.MonkeyPatch, emulator: Emulator) -> None:
    def broken() -> None:
        raise RuntimeError("no backend")

    monkeypatch.setattr(metrics, "find_stats", broken)
    monkeypatch.setattr(metrics, "_warm_in", None)
    hook = FalInvokeHook()
    request_id = str(hook.submit(MODEL, {"prompt": "a fox"}).request_id)
    invocation = run_watched(hook.async_wait(request_id, timeout=20))
    metrics.completed(invocation)
    metrics.failed(ValueError())
    metrics.resumed()
    assert len(emulator.posts()) == 1


def test_metrics_that_fail_are_said_once_and_never_on_an_event_loop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A request is counted each time, on a triggerer's loop too, whose log may block."""

    def broken() -> None:
        raise RuntimeError("no backend")

    async def count() -> None:
        metrics.submitted()

    monkeypatch.setattr(metrics, "find_stats", broken)
    monkeypatch.setattr(metrics, "_said_in", None)
    asyncio.run(count())
    assert not caplog.records
    metrics.submitted()
    metrics.resumed()
    (record,) = caplog.records
    assert (record.levelname, "no backend" in record.getMessage()) == ("WARNING", True)


def test_metrics_are_set_up_in_a_thread_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow reads a list of names at the first metric, for a tenth of a second and more."""
    where: list[threading.Thread] = []

    class Slow:
        @staticmethod
        def timer(stat: str) -> None:
            where.append(threading.current_thread())

    monkeypatch.setattr(metrics, "find_stats", Slow)
    monkeypatch.setattr(metrics, "_warm_in", None)

    async def many() -> None:
        await asyncio.gather(*(metrics.make_ready() for _ in range(20)))

    run_watched(many())
    assert len(where) == 1
    assert where[0] is not threading.main_thread()


AS_A_TRIGGERER = """
import asyncio
from airflow_provider_falinvoke import metrics
try:
    from airflow._shared.observability.metrics import stats
    from airflow.observability.metrics import stats_utils
except ImportError:
    pass  # Airflow 3.1 sets itself up
else:
    if hasattr(stats, "initialize"):
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)
    else:
        stats.Stats.initialize(factory=stats_utils.get_stats_factory(stats.Stats))
metrics.about("fal-ai/flux/schnell")
asyncio.run(metrics.make_ready())
metrics.submitted()
metrics.waited(1.5)
"""


def test_a_process_that_sets_up_the_cores_stats_alone_sends_too() -> None:
    """A triggerer: the SDK's copy, which tasks use, would drop all of it there."""
    with StatsdServer() as statsd:
        done = subprocess.run(
            [sys.executable, "-c", AS_A_TRIGGERER],
            env={**os.environ, **statsd.settings},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert statsd.total("submitted") == statsd.total("submitted.fal-ai_flux_schnell") == 1
        assert statsd.times("wait_duration") == [1500.0]
