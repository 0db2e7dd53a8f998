"""A trigger that watches the event loop it runs on, and writes down what it saw."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

#: How often it wants its turn, in seconds.
TICK = 0.01
#: A turn that comes so much too late is written down, with what the loop's thread did meanwhile.
LATE = 0.05


class LagProbe(BaseTrigger):
    """Asks for its turn every 10 ms and notes how late it comes; never fires.

    For each second it writes the worst lag, and for each lag of 50 ms and more how long it was, how much CPU the
    loop's thread used meanwhile, how long Python's garbage collector took of it, and the call stack that a second
    thread found it in. A lag in which the loop's thread used little CPU and was in nobody's blocking call is the
    machine's: it gave the CPU to another process.

    :param folder: where to write, a file for each process.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow does not type it
        self.folder = folder

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the keyword arguments to make this trigger again."""
        return ("benchmarks.support.probe.LagProbe", {"folder": self.folder})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch until the triggerer ends."""
        path = Path(self.folder) / f"{os.getpid()}.jsonl"
        if path.exists():
            # Another probe of this process watches already.
            await asyncio.Event().wait()
        with path.open("w", buffering=1) as out:
            watch, collector = _StackWatch(threading.get_ident()), _CollectorWatch()
            try:
                await self._watch(out, watch, collector)
            finally:
                watch.stopped = True
                gc.callbacks.remove(collector)
        yield TriggerEvent("ended")

    async def _watch(self, out: Any, watch: _StackWatch, collector: _CollectorWatch) -> None:
        second, worst = int(time.time()), 0.0
        while True:
            before, cpu, collected = time.monotonic(), time.thread_time(), collector.seconds
            watch.turn_due_at = before + TICK
            await asyncio.sleep(TICK)
            lag = time.monotonic() - before - TICK
            worst = max(worst, lag)
            if lag >= LATE:
                used = time.thread_time() - cpu
                stacks, watch.stacks = watch.stacks, []
                collected = collector.seconds - collected
                late = {"at": time.time(), "lag": lag, "cpu": used, "collector": collected, "stacks": stacks}
                out.write(json.dumps(late) + "\n")
            if (now := int(time.time())) != second:
                out.write(json.dumps({"second": second, "worst": worst}) + "\n")
                second, worst = now, 0.0


class _CollectorWatch:
    """Adds up how long the garbage collector takes, finalizers and all; one of ``gc.callbacks``."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0
        gc.callbacks.append(self)

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.monotonic()
        else:
            self.seconds += time.monotonic() - self._began


class _StackWatch:
    """A thread that looks at the loop's thread while a turn is late."""

    def __init__(self, loop_thread: int) -> None:
        self.turn_due_at = time.monotonic()
        self.stacks: list[list[str]] = []
        self.stopped = False
        self._loop_thread = loop_thread
        threading.Thread(target=self._run, name="lag-probe", daemon=True).start()

    def _run(self) -> None:
        while not self.stopped:
            time.sleep(TICK)
            if time.monotonic() - self.turn_due_at > LATE - TICK and len(self.stacks) < 20:
                frame = sys._current_frames()[self._loop_thread]
                found = traceback.extract_stack(frame)[-12:]
                self.stacks.append([f"{_module(each.filename)}:{each.name}" for each in found])


def _module(filename: str) -> str:
    parts = Path(filename).parts
    for start in ("site-packages", "lib"):
        if start in parts:
            return "/".join(parts[parts.index(start) + 1 :])
    return "/".join(parts[-3:])
