"""The first origin: the vendor's API. Decides a reply from a request, the state and the clock; opens no socket."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import unquote
from uuid import uuid4

from airflow_provider_falinvoke.emulator import catalog, mishaps, outputs, validation
from airflow_provider_falinvoke.emulator.faults import DELIVERING, INTERCEPTING, OF_JOB, SHAPING, Subject
from airflow_provider_falinvoke.emulator.jobs import Job, drawn_queue_time, jittered
from airflow_provider_falinvoke.emulator.records import RecordedRequest, Route
from airflow_provider_falinvoke.emulator.replies import Reply, Request, error_reply, json_reply, unauthorized
from airflow_provider_falinvoke.emulator.state import State, struck

#: When the vendor's models were made, in epoch seconds.
_MODELS_CREATED = 1_750_000_000


class Target(NamedTuple):
    """What a request asks for: the route, and the request_id that its path names.

    :param allowed: the method of the path, where the request has another one.
    """

    route: Route
    request_id: str | None = None
    allowed: str | None = None


def target_of(method: str, path: str) -> Target:
    """Return what a method and a path, still percent-encoded, ask for."""
    # Split before decoding: a request_id with an encoded slash is one segment, and no other route.
    match [unquote(part) for part in path.split("/")]:
        case ["", "v1", "async-invoke"]:
            target = Target("post")
        case ["", "v1", "async-invoke", request_id]:
            target = Target("get", request_id)
        case ["", "v1", "async-invoke", request_id, "status"]:
            target = Target("status", request_id)
        case ["", "v1", "models"]:
            target = Target("models")
        case _:
            return Target("other")
    allowed = "POST" if target.route == "post" else "GET"
    return target if method == allowed else Target("other", allowed=allowed)


class Api:
    """Answers the requests to the API.

    :param state: what the emulator knows.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def prepare(self, request: Request) -> Callable[[], object] | None:
        """Return the slow part of the answer, to be done off the event loop: the files that go into the reply itself.

        They are cached, so that ``answer`` finds them made.
        """
        target = target_of(request.method, request.path)
        if target.route != "get":
            return None
        with self._state.lock:
            job, now = self._state.jobs.get(target.request_id or ""), self._state.now()
        if job is None or job.input.get("sync_mode") is not True or not job.completed(now):
            return None
        made = outputs.files(job)
        return lambda: [file.make() for file in made]

    def answer(self, request: Request) -> Reply:
        """Answer a request and record it."""
        target = target_of(request.method, request.path)
        with self._state.lock:
            now = self._state.now()
            before = len(self._state.jobs)
            reply, subject = self._decide(request, target, now)
            accepted = len(self._state.jobs) > before
        self._state.record(
            RecordedRequest(
                request.method,
                self._state.path_of(request),
                target.route,
                self._state.redacted(subject.request_id) if subject.request_id else None,
                subject.model_id,
                reply.shown_status,
                now,
                accepted,
            )
        )
        return reply

    def _decide(self, request: Request, target: Target, now: float) -> tuple[Reply, Subject]:
        subject = self._subject(request, target)
        if request.headers.get("authorization") != f"Bearer {self._state.api_key}":
            return self._metered(unauthorized(), now), subject
        if not self._state.quota.spend(now):
            return self._metered(self._too_many(now), now), subject
        fault = self._state.faults.first(INTERCEPTING + DELIVERING, target.route, subject)
        if fault and fault.kind in INTERCEPTING:
            if fault.accepted and target.route == "post":
                _, subject = self._post(request, subject, now)
            reply = mishaps.intercepted(fault, self._state.media_url + request.path)
            # A proxy that answers in the API's place knows nothing of its quota.
            if fault.kind == "answer":
                reply = mishaps.with_headers(self._metered(reply, now), fault.headers)
            return reply, subject
        reply, subject = self._serve(request, target, subject, now)
        reply = self._metered(reply, now)
        return (mishaps.delivered(fault, reply) if fault else reply), subject

    def _subject(self, request: Request, target: Target) -> Subject:
        if target.route == "post":
            return _subject_of_body(request)
        job = self._state.jobs.get(target.request_id or "")
        return Subject(job.request_id, job.model_id, job.prompt) if job else Subject(target.request_id)

    def _serve(self, request: Request, target: Target, subject: Subject, now: float) -> tuple[Reply, Subject]:
        if target.route == "post":
            return self._post(request, subject, now)
        if target.route == "models":
            same = {"object": "model", "created": _MODELS_CREATED, "owned_by": "digitalocean"}
            listed = [{"id": name, **same} for name in catalog.LISTED_MODELS]
            return json_reply(200, {"object": "list", "data": listed}), subject
        if target.allowed:
            refused = error_reply(405, "method_not_allowed", f"Only {target.allowed} is allowed.")
            return replace(refused, headers={**refused.headers, "allow": target.allowed}), subject
        if target.route == "other":
            return error_reply(404, "not_found", "The resource you requested could not be found."), subject
        job = self._state.jobs.get(target.request_id or "")
        if job is None or now < job.created_at + job.hidden_for:
            return error_reply(404, "not_found", "The invocation you requested could not be found."), subject
        invocation = self._invocation(job, target.route, subject, now)
        return json_reply(200, invocation), subject

    def _post(self, request: Request, subject: Subject, now: float) -> tuple[Reply, Subject]:
        if request.too_large:
            return error_reply(413, "payload_too_large", "The request body is too large."), subject
        try:
            document = validation.parse(request.headers.get("content-type", ""), request.body)
            validation.check(document, self._state.durations)
        except validation.Refusal as refusal:
            return error_reply(refusal.status, refusal.error_id, refusal.message), subject
        job = self._accept(document, subject, now)
        subject = replace(subject, request_id=job.request_id)
        status = 200 if now >= job.ends_at else self._state.accept_status
        return json_reply(status, self._invocation(job, "post", subject, now)), subject

    def _accept(self, document: Mapping[str, Any], subject: Subject, now: float) -> Job:
        model_id, tags = document["model_id"], document.get("tags")
        family = catalog.family_of(model_id, self._state.durations)
        assert family is not None, "validation has refused unknown models"
        request_id = str(uuid4())
        duration = validation.tagged_duration(tags)
        if duration is None:
            configured = catalog.known_as(model_id, self._state.durations)
            usual = self._state.durations[configured] if configured else catalog.DEFAULT_DURATIONS[family]
            duration = jittered(usual, self._state.jitter, request_id)
        queued = self._state.queue_time
        if queued is None:
            queued = drawn_queue_time(duration, request_id)
        else:
            duration += queued
        number = len(self._state.jobs) + 1
        job = Job(request_id, model_id, family, document["input"], tags, number, now, duration, queued)
        for entry in self._state.faults.matching(OF_JOB, "post", subject):
            if entry.take():
                job = struck(job, entry.fault)
        self._state.jobs[request_id] = job
        return job

    def _invocation(self, job: Job, route: Route, subject: Subject, now: float) -> dict[str, Any]:
        shown = self.invocation_of(job, now)
        if route == "status":
            shown = {"status": shown["status"]}
        for entry in self._state.faults.matching(SHAPING, route, subject):
            fault = entry.fault
            changed = mishaps.reshaped(fault, shown)
            if fault.kind == "output_shape" and shown.get("output") is not None:
                changed = {**shown, "output": outputs.reshaped(job, self._locate(job), fault.value)}
            # A fault that finds nothing to change yet, as a spelling of COMPLETED in a pending job, is not used up.
            if changed != shown and entry.take():
                shown = changed
        return shown

    def invocation_of(self, job: Job, now: float) -> dict[str, Any]:
        """Return the invocation of a job at ``now``, in the spelling that is configured and free of faults."""
        embedded = job.input.get("sync_mode") is True
        locate = outputs.MediaFile.data_uri if embedded else self._locate(job)
        output = outputs.output(job, locate) if job.completed(now) else None
        invocation = job.invocation(now, output)
        return {**invocation, "status": self._state.statuses.get(invocation["status"], invocation["status"])}

    def _locate(self, job: Job) -> outputs.Locate:
        return lambda file: f"{self._state.media_url}/files/{job.request_id}/{file.name}"

    def _metered(self, reply: Reply, now: float) -> Reply:
        standing = self._state.quota.binding(now)
        if standing is None:
            return reply
        limit, remaining = str(standing.limit), str(standing.remaining)
        reset = str(self._state.timeline.client_epoch(standing.resets_in))
        quota = {
            "ratelimit-limit": limit,
            "ratelimit-remaining": remaining,
            "ratelimit-reset": reset,
            "x-ratelimit-limit-requests": limit,
            "x-ratelimit-remaining-requests": remaining,
            "x-ratelimit-reset-requests": reset,
        }
        return replace(reply, headers={**reply.headers, **quota})

    def _too_many(self, now: float) -> Reply:
        reply = error_reply(429, "too_many_requests", "API Rate limit exceeded.")
        standing = self._state.quota.binding(now)
        if standing is None or not self._state.retry_after:
            return reply
        wait = max(1, self._state.timeline.client_wait(standing.resets_in))
        return replace(reply, headers={**reply.headers, "retry-after": str(wait)})


def _subject_of_body(request: Request) -> Subject:
    """Return what a POST is about as far as its body can be read: a fault may hit one that would be refused."""
    try:
        document = json.loads(request.body)
        model_id, given = document.get("model_id"), document.get("input")
        prompt = given.get("prompt", given.get("text"))
    except (ValueError, RecursionError, AttributeError):
        return Subject()
    return Subject(
        model_id=model_id if isinstance(model_id, str) else None,
        prompt=prompt if isinstance(prompt, str) else None,
    )
