"""Everything the emulator knows, behind one lock: the server's thread writes it, the test's thread reads it."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from airflow_provider_falinvoke.emulator import mishaps
from airflow_provider_falinvoke.emulator.clock import Timeline
from airflow_provider_falinvoke.emulator.faults import OF_JOB, Fault, FaultBook
from airflow_provider_falinvoke.emulator.jobs import Job
from airflow_provider_falinvoke.emulator.quota import Quota
from airflow_provider_falinvoke.emulator.records import RecordedRequest
from airflow_provider_falinvoke.emulator.replies import Request


@dataclass
class State:
    """The settings of an emulator and what has happened to it; the settings are those of ``Emulator``."""

    api_key: str
    timeline: Timeline
    durations: Mapping[str, float]
    queue_time: float | None
    jitter: float
    quota_per_minute: int | None
    quota_per_hour: int | None
    retry_after: bool
    statuses: Mapping[str, str]
    accept_status: int
    media_ttl: float | None
    log: Callable[[RecordedRequest], None] | None = None
    api_url: str = ""
    media_url: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)
    faults: FaultBook = field(default_factory=FaultBook)
    jobs: dict[str, Job] = field(default_factory=dict)
    requests: list[RecordedRequest] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.quota = Quota(self.quota_per_minute, self.quota_per_hour)

    def now(self) -> float:
        """Return the emulator's time in epoch seconds."""
        return self.timeline.now()

    def path_of(self, request: Request) -> str:
        """Return path and query of a request, fit to be recorded."""
        return self.redacted(f"{request.path}?{request.query}" if request.query else request.path)

    def redacted(self, text: str) -> str:
        """Return a text with ``***`` where the key stands in it, percent-encoded or not."""
        return text.replace(self.api_key, "***").replace(quote(self.api_key, safe=""), "***")

    def record(self, request: RecordedRequest) -> None:
        """Remember a request, and log it if there is a log."""
        with self.lock:
            self.requests.append(request)
        if self.log is not None:
            self.log(request)

    def add_fault(self, fault: Fault) -> None:
        """Set a fault. One that sticks to a job is applied at once to a job that exists and that it names."""
        with self.lock:
            job = self.jobs.get(fault.request_id or "")
            if job is not None and fault.kind in OF_JOB:
                self.jobs[job.request_id] = struck(job, fault)
            else:
                self.faults.add(fault)

    def reset(self) -> None:
        """Forget the jobs, records, leaks and faults, and open new quota windows; the settings stay."""
        with self.lock:
            self.faults.clear()
            self.jobs.clear()
            self.requests.clear()
            self.leaks.clear()
            self.quota = Quota(self.quota_per_minute, self.quota_per_hour)


def struck(job: Job, fault: Fault) -> Job:
    """Return a job with a fault that sticks to it."""
    if fault.kind == "not_yet":
        return replace(job, hidden_for=fault.seconds or 0.0)
    if fault.kind == "flag":
        return replace(job, flagged=None if fault.value is None else tuple(fault.value))
    return replace(job, failure=mishaps.failure(fault))
