"""The API and the host of its files, as a transport of httpx: no socket, and each accepted POST is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, Protocol

import httpx

from tests.simulation.blows import Kind
from tests.simulation.world import World
from tests.support.samples import picture, wav

BASE_URL = "http://127.0.0.1:9"
Weather = Literal["fair", "busy", "refusing", "slow"]
_PICTURE = picture("PNG", (4, 4))
_SOUND = wav(0.05)


@dataclass
class Job:
    """An accepted POST, which is paid.

    :param what: the prompt, or the text.
    :param process: who sent it.
    :param is_known: whether a process that knew its id went on to something else.
    """

    request_id: str
    what: str
    model_id: str
    created_at: float
    ends_at: float
    process: str
    is_known: bool = False

    @property
    def is_speech(self) -> bool:
        """Whether it says something."""
        return "tts" in self.model_id

    def file(self) -> bytes:
        """Return the bytes that it makes: others for each prompt."""
        return _SOUND if self.is_speech else _PICTURE + self.what.encode()


@dataclass
class Sent:
    """The POSTs of one prompt.

    :param accepted: jobs that it became.
    :param certainly_not: whether the last one certainly came to nothing, by an answer that the process had.
    :param paused: whether the process paused since, and its intent stood.
    """

    accepted: list[Job] = field(default_factory=list)
    certainly_not: bool = False
    paused: bool = False


class Payments(Protocol):
    """Is told of each job that is paid, at that moment."""

    def paid(self, job: Job) -> None:
        """Take note."""


class Api:
    """Answers requests.

    :param duration: seconds that a job takes.
    :param weather: ``busy`` answers the first two POSTs with 429, ``refusing`` makes no connection for them, ``slow``
        takes 20 s for each POST.
    """

    def __init__(self, world: World, *, duration: float, weather: Weather = "fair") -> None:
        self._world = world
        self._duration = duration
        self._weather = weather
        self._to_turn_away = 2 if weather in ("busy", "refusing") else 0
        self.jobs: dict[str, Job] = {}
        self.sent: dict[str, Sent] = {}
        self.payments: Payments | None = None
        #: Prompts whose POST ended without an answer.
        self.uncertain: set[str] = set()

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request, or raise as httpx's transport does."""
        path = request.url.path
        if path.startswith("/files/"):
            job = self.jobs[path.split("/")[2]]
            job.is_known = True
            return self._do(Kind.MEDIA, f"GET file of {self.short(job)}", lambda: _response(200, job.file()), request)
        if request.method == "POST":
            return self._post(request)
        found = self.jobs.get(path.rpartition("/")[2])
        if found is not None:
            found.is_known = True
        name = f"GET {self.short(found)}" if found else f"GET {path}"
        return self._do(Kind.API, name, lambda: self._invocation(found), request)

    def accept(self, model_id: str, what: str) -> Job:
        """Take a job."""
        now = self._world.now
        number = len(self.jobs) + 1
        job = Job(f"job-{number:04}", what, model_id, now, now + self._duration, self._world.current.name)
        self.jobs[job.request_id] = job
        self.sent.setdefault(what, Sent()).accepted.append(job)
        return job

    def short(self, job: Job) -> str:
        """Return a name for a job by what it is about, the same in each run."""
        return f"{job.what[:12]!r}#{self.sent[job.what].accepted.index(job) + 1}"

    def _post(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        what = str(body["input"].get("prompt") or body["input"].get("text"))
        sent = self.sent.setdefault(what, Sent())
        sent.certainly_not = sent.paused = False

        def arrive() -> httpx.Response:
            if self._to_turn_away:
                self._to_turn_away -= 1
                sent.certainly_not = True
                if self._weather == "refusing":
                    raise httpx.ConnectError("Connection refused", request=request)
                return _json(429, {"id": "too_many_requests", "message": "slow down"})
            job = self.accept(body["model_id"], what)
            if self._weather == "slow":
                self._world.advance(20.0)
            if self.payments is not None:
                self.payments.paid(job)
            return _json(202, self._shown(job))

        try:
            response = self._do(Kind.API, f"POST {what[:12]!r}", arrive, request)
        except httpx.ConnectError:
            sent.certainly_not = True
            raise
        except httpx.ReadTimeout:
            self.uncertain.add(what)
            raise
        if response.status_code == 202:
            self._world.current.learned.append(sent.accepted[-1].request_id)
        return response

    def _invocation(self, job: Job | None) -> httpx.Response:
        if job is None:
            return _json(404, {"id": "not_found", "message": "no such invocation"})
        return _json(200, self._shown(job))

    def _shown(self, job: Job) -> dict[str, Any]:
        ended = self._world.now >= job.ends_at
        url = f"{BASE_URL}/files/{job.request_id}/file"
        output: Any = None
        if ended and job.is_speech:
            output = {"audio": {"url": url, "content_type": "audio/wav"}}
        elif ended:
            output = {"images": [{"url": url, "content_type": "image/png"}], "seed": 7, "has_nsfw_concepts": [False]}
        return {
            "request_id": job.request_id,
            "status": "COMPLETED" if ended else "IN_PROGRESS",
            "model_id": job.model_id,
            "created_at": _iso(job.created_at),
            "started_at": _iso(job.created_at),
            "completed_at": _iso(job.ends_at) if ended else None,
            "output": output,
            "error": None,
        }

    def _do(
        self, kind: Kind, name: str, effect: Callable[[], httpx.Response], request: httpx.Request
    ) -> httpx.Response:
        response = self._world.do(
            kind,
            name,
            effect,
            before=lambda: httpx.ConnectError("Connection refused", request=request),
            after=lambda: httpx.ReadTimeout("timed out", request=request),
        )
        response.extensions["network_stream"] = _Stream()
        return response


def _response(status: int, body: bytes) -> httpx.Response:
    # As a stream, because who reads it decides how.
    return httpx.Response(status, headers={"content-length": str(len(body))}, stream=httpx.ByteStream(body))


def _json(status: int, value: Any) -> httpx.Response:
    return _response(status, json.dumps(value).encode())


class _Stream:
    """What httpx tells of a connection."""

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 9) if name == "server_addr" else None

    def close(self) -> None:
        """There is nothing to close."""


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat()
