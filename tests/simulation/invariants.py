"""What must hold whatever happens: who pays, what is known of each job, what lies in storage, and how it ends."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.simulation.api import Job, Sent
from tests.simulation.blows import Blow, Kind, Operation
from tests.simulation.world import Process

if TYPE_CHECKING:
    from tests.simulation.stage import Stage

#: Times, which differ from run to run.
_TIMES = {"created_at", "started_at", "completed_at", "saved_at", "seconds", "submitted_at", "ended_at"}


class Problem(NamedTuple):
    """What does not hold.

    :param invariant: in a few words.
    """

    invariant: str
    what: str

    def __str__(self) -> str:
        return f"[{self.invariant}] {self.what}"


class Invariants:
    """Watches a case.

    :param stage: the world that it happens in.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.problems: list[Problem] = []
        #: What it came to, once it has ended: the result, the rows of the manifest, and the files.
        self.outcome: Any = None
        #: How many jobs of each prompt were asked for.
        self._asked = {what: 1 + len(self._sent(what).accepted) for what in stage.path.prompts}
        #: Prompts whose doubt was reported, and by no clear answered yet.
        self._reported: set[str] = set()
        self._ever_reported: set[str] = set()
        #: Prompts of which a later try cannot know whether they were paid.
        self._doubtful: set[str] = set()
        self._errors: list[str] = []
        stage.world.watcher = self
        stage.api.payments = self

    def __str__(self) -> str:
        return "\n".join([*map(str, self.problems), *self._errors])

    def found(self, invariant: str, what: str) -> None:
        """Take note of a problem."""
        self.problems.append(Problem(invariant, what))

    # Told by the world, at the moment.

    def paid(self, job: Job) -> None:
        """Refuse a job that nobody asked for."""
        count = len(self._sent(job.what).accepted)
        if count > self._asked.get(job.what, 1):
            self.found(
                "paid twice",
                f"{job.process} paid for {job.what[:12]!r} a {count}. time, asked for {self._asked.get(job.what)}",
            )

    def paused(self) -> None:
        """Take note of intents that stand though a process knows that their POSTs came to nothing, and went on."""
        for what in self._intents():
            self._sent(what).paused |= self._sent(what).certainly_not

    def stopped(self, operation: Operation, blow: Blow) -> None:
        """Take note of the POSTs that nobody can know of: their intents are stored, and they may be in the air."""
        del blow
        if operation.kind in (Kind.XCOM, Kind.AIRFLOW):  # no time for these before the ids are stored
            for request_id in self._stage.world.current.learned:
                self._stage.api.jobs[request_id].is_known = True
        for what in self._intents():
            sent = self._sent(what)
            if not (sent.paused or (sent.accepted and sent.accepted[-1].is_known)):
                self._doubtful.add(what)

    def out_of_reach(self, operation: Operation) -> None:
        """Take note of the intents that a process cannot withdraw."""
        if operation.kind in (Kind.STORE, Kind.STORAGE):
            self._doubtful |= self._intents()

    # Told by the story.

    def cleared(self) -> None:
        """A user clears the task: told of a doubt, or for another result, he asks for a job."""
        for what in self._asked:
            if what in self._reported or self._stage.airflow.succeeded:
                self._asked[what] += 1
        self._reported.clear()

    def after(self, process: Process) -> None:
        """Check a process that has ended."""
        self._check_files()
        if process.error is not None and not process.dead:
            known = self._known(logging.WARNING) + str(process.error)
            for request_id in process.learned:
                if request_id not in known:
                    self.found("dropped", f"{process.name} knew {request_id}, ended with an error and did not name it")

    def failed(self, process: Process, *, doubtful: bool, for_good: bool) -> None:
        """Check what a try failed with."""
        self._errors.append(str(process.error))
        reported = set(self._stage.path.prompts) if doubtful else self._ambiguous()
        self._reported |= reported
        self._ever_reported |= reported
        if process.attempt != self._stage.airflow.attempt or len(self._stage.case.blows) > 1:
            return  # nobody waits for it; or it may be both blows' fault
        for what in sorted(reported - self._doubtful - self._stage.api.uncertain):
            why = "whose id was known" if self._sent(what).accepted else "of which nothing was sent"
            self.found("a retry ends", f"in doubt of {what[:12]!r}, {why}: {process.error}")
        if for_good and not reported:
            self.found("a retry ends", f"failed for good: {process.error}")

    def at_the_end(self) -> None:
        """Check a case that has ended."""
        self._check_files()
        known = self._known(0) + "\n".join(self._errors) + json.dumps(self._stage.airflow.result)
        for job in self._stage.api.jobs.values():
            if job.request_id not in known and job.what not in self._ever_reported:
                self.found("dropped", f"nothing names {job.request_id} of {job.what[:12]!r}, and no doubt was reported")
        if self._stage.airflow.succeeded:
            self.outcome = self._plain()

    def compare(self, expected: Sequence[Any]) -> None:
        """Compare what it came to with what undisturbed cases came to: one of them."""
        if self.outcome is not None and self.outcome not in expected:
            for name, value in expected[0].items():
                if self.outcome[name] != value:
                    self.found("the result", f"{name}: {_difference(value, self.outcome[name])}")

    # What is there.

    def _sent(self, what: str) -> Sent:
        return self._stage.api.sent.setdefault(what, Sent())

    def _intents(self) -> set[str]:
        """Return the prompts of which an intent is stored: the one of a task, or those of a batch by their indexes."""
        prompts, found = self._stage.path.prompts, _phases(list(self._stage.airflow.states.values()))
        for name, data in self._stage.files().items():
            if name.endswith(".json"):
                with contextlib.suppress(ValueError):
                    found += _phases(json.loads(data))
        return {prompts[record.get("index", 0)] for record in found if record["phase"] == "intent"}

    def _known(self, level: int) -> str:
        """Return all that is written down: states, XComs, journals, and the log from a level on."""
        lines = [text for _, at, text in self._stage.world.logs if at >= level]
        return "\n".join([json.dumps(self._stage.airflow.states), self._texts(), *lines])

    def _texts(self) -> str:
        files = self._stage.files().items()
        return "\n".join(data.decode("utf-8", "replace") for name, data in files if ".json" in name)

    def _ambiguous(self) -> set[str]:
        """Return the prompts that the batch's manifest reports as in doubt."""
        rows = self._rows()
        return {self._stage.path.prompts[row["index"]] for row in rows if row.get("state") == "ambiguous"}

    def _rows(self) -> list[dict[str, Any]]:
        for name, data in self._stage.files().items():
            if name.endswith("/manifest.jsonl"):
                return [json.loads(line) for line in data.splitlines()]
        return []

    def _check_files(self) -> None:
        for name, data in self._stage.files().items():
            if not name.endswith(".part") and (wrong := self._wrong(name, data)):
                self.found("half a file", f"{name}: {wrong}")

    def _wrong(self, name: str, data: bytes) -> str | None:
        ending = name.rpartition(".")[2]
        try:
            if ending == "json":
                json.loads(data)
            elif ending == "jsonl":
                for line in data.splitlines():
                    json.loads(line)
        except ValueError as error:
            return f"{len(data)} bytes, {error}"
        if ending == "wav" and (len(data) < 44 or struct.unpack("<I", data[4:8])[0] != len(data) - 8):
            return f"{len(data)} bytes of a sound"
        if ending in ("png", "bin") and data not in {job.file() for job in self._stage.api.jobs.values()}:
            return f"{len(data)} bytes of a picture"
        return None

    def _plain(self) -> dict[str, Any]:
        """Return the result without what differs from run to run."""
        rows = self._rows() if len(self._stage.path.prompts) > 1 else []
        result = self._stage.airflow.result
        if self._stage.path.name.startswith("reuse") and isinstance(result, dict):
            # It is as good where another try, or a frozen one, made the files.
            result = {name: value for name, value in result.items() if name not in ("reused", "estimated_cost")}
        found = {"result": result, "rows": rows}
        named = json.dumps(found)
        files = {
            self._same(name): hashlib.sha256(data).hexdigest()
            for name, data in self._stage.files().items()
            if name.rpartition(".")[2] in ("png", "wav") and name.removeprefix("out/") in named
        }
        return {**json.loads(self._same(json.dumps(_timeless(found)))), "files": dict(sorted(files.items()))}

    def _same(self, text: str) -> str:
        for job in self._stage.api.jobs.values():
            text = text.replace(job.request_id, f"<{job.what[:9]}>")
        return text.replace(self._stage.folder, "<folder>").replace(
            self._stage.folder.removeprefix("file://"), "<folder>"
        )


def _phases(value: Any) -> list[dict[str, Any]]:
    """Return the records in a value, however deep: what has a phase."""
    if isinstance(value, dict):
        return [value] if isinstance(value.get("phase"), str) else _phases(list(value.values()))
    return [record for one in value for record in _phases(one)] if isinstance(value, list) else []


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(one) for name, one in value.items() if name not in _TIMES}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


def _difference(expected: Any, found: Any) -> str:
    """Say where two values differ first."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in [*expected, *found]:
            if expected.get(name) != found.get(name):
                return f"{name}: {_difference(expected.get(name), found.get(name))}"
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, (one, other) in enumerate(zip(expected, found, strict=True)):
            if one != other:
                return f"{number}: {_difference(one, other)}"
    return f"{str(found)[:160]} in place of {str(expected)[:160]}"
