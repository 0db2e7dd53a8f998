"""``airflow falinvoke test-request``: one request as typed, and the API's reply."""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from airflow_provider_falinvoke.api.clients import preview
from airflow_provider_falinvoke.api.inputs import likely_slips
from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus, InvokeRequest
from airflow_provider_falinvoke.api.outcomes import INVOKE_PATH, Send
from airflow_provider_falinvoke.api.pricing import estimate
from airflow_provider_falinvoke.api.printable import printable
from airflow_provider_falinvoke.api.protocol import completed
from airflow_provider_falinvoke.cli.ending import (
    FAILED,
    INTERRUPTED,
    USAGE,
    EndError,
    command,
    how_to_collect,
    save_files,
)
from airflow_provider_falinvoke.cli.folder import folder_of
from airflow_provider_falinvoke.cli.printing import print_document
from airflow_provider_falinvoke.cli.streams import say
from airflow_provider_falinvoke.cli.watch import Watch, WatchedHook

#: Seconds from the submit to the first look at the job.
FIRST_LOOK = 0.5
_NOT_SUBMITTED = "Not submitted; nothing is paid."


@command
def test_request(args: Namespace) -> None:
    """Send one request, follow its job, print the API's reply, and save the files."""
    request = request_of(args)
    watch = Watch()
    hook = WatchedHook(args.conn_id, watch)
    show(request, hook)
    folder = folder_of(args.save_to) if args.save_to else None
    confirm(unasked=args.yes)
    try:
        try:
            with watch:
                invocation = hook.submit_request(request)
            watch.request_id = invocation.request_id
            say(f"Submitted as {invocation.request_id or 'a job that was done at once, without a request_id'}.")
            with watch:
                invocation = _ended(invocation, hook, args.timeout)
        finally:
            if watch.document is not None:
                print_document(watch.document, args.output)
        for path in save_files(hook, invocation, folder) if folder else ():
            say(f"Saved {path}")
    except KeyboardInterrupt:
        raise EndError(INTERRUPTED, _left_behind(watch, args)) from None


def request_of(args: Namespace) -> InvokeRequest:
    """Return the request that was typed, checked.

    :raises EndError: what was typed is no JSON, or says a thing twice.
    :raises FalInvokeInputError: a field of the request is wrong.
    """
    typed = [args.model_id, args.input, args.prompt, args.text, *args.tag]
    if args.file:
        if any(part is not None for part in typed):
            raise EndError(
                USAGE, "--file holds the whole request; leave out MODEL_ID, --input, --prompt, --text, --tag."
            )
        return _request_of_file(args.file)
    if args.model_id is None:
        raise EndError(USAGE, "Say which model: MODEL_ID, or --file with the whole request.")
    fields = _object(args.input, "--input") if args.input else {}
    for name, value in (("prompt", args.prompt), ("text", args.text)):
        if value is None:
            continue
        if name in fields:
            raise EndError(USAGE, f"--input holds {name!r} already; leave it out there, or leave out --{name}.")
        fields[name] = value
    return InvokeRequest.build(args.model_id, fields, [_tag(text) for text in args.tag] or None)


def _request_of_file(name: str) -> InvokeRequest:
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EndError(USAGE, f"--file {name} cannot be read: {error}") from None
    given = _object(text, f"--file {name}")
    unknown = given.keys() - {"model_id", "input", "tags"}
    if unknown:
        raise EndError(USAGE, f"--file {name}: a request has no field {', '.join(sorted(unknown))}.")
    return InvokeRequest.read({"model_id": None, "input": None, **given})


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise EndError(USAGE, f"{where} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise EndError(USAGE, f"{where} is not a JSON object.")
    return value


def _tag(text: str) -> dict[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise EndError(USAGE, f"--tag {text!r} is not KEY=VALUE.")
    return {"key": key, "value": value}


def show(request: InvokeRequest, hook: WatchedHook) -> None:
    """Tell what will be sent, the key masked, what in it is probably misspelt, and what it is estimated to cost."""
    sent = preview(Send("POST", INVOKE_PATH, request.body()), hook.endpoint)
    say(f"{sent.method} {sent.url}")
    for name, value in sent.headers.items():
        say(f"{name}: {'Bearer ***' if name == 'authorization' else value}")
    say("\n" + json.dumps(json.loads(sent.content), indent=2, ensure_ascii=False) + "\n")
    for slip in likely_slips(request.model_id, tuple(request.input)):
        say(f"This may be a slip of the pen: {printable(slip, 400)}")
    cost = estimate(request, hook.endpoint.extra.prices)
    if cost is None:
        say("What it costs is not known: the connection has no price for this model, or the input no size.")
    else:
        say(f"Estimated cost: {cost:g}")


def confirm(*, unasked: bool) -> None:
    """Ask before spending.

    :raises EndError: the answer is no, or nobody is there to ask.
    """
    if unasked:
        return
    if not sys.stdin.isatty():
        raise EndError(
            USAGE, "Not submitted: this is a paid job, and nobody is here to ask. Say --yes to submit unasked."
        )
    say("Submit this paid job? [y/N] ", end="")
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        raise EndError(INTERRUPTED, f"\n{_NOT_SUBMITTED}") from None
    if answer.strip().lower() not in ("y", "yes"):
        raise EndError(FAILED, _NOT_SUBMITTED if answer else f"\n{_NOT_SUBMITTED}")  # Ctrl-D leaves the cursor there


def _ended(invocation: Invocation, hook: WatchedHook, timeout: float | None) -> Invocation:
    if completed(invocation).status is InvocationStatus.COMPLETED:
        return invocation
    assert invocation.request_id is not None, "a pending submit without an id is an error of its own"
    now = time.time()
    return hook.wait(invocation.request_id, timeout=timeout, submitted_at=now, first_look_at=now + FIRST_LOOK)


def _left_behind(watch: Watch, args: Namespace) -> str:
    if watch.request_id is not None:
        later = how_to_collect(args.conn_id, [watch.request_id], args.save_to)
        return f"Interrupted. The job {watch.request_id} is paid, and goes on without you. To collect it: {later}"
    if watch.sending:
        return (
            "Interrupted while the request was on its way: it is not known whether the job was submitted. It may be "
            "running and paid; look at the usage in the vendor's console before you send it again."
        )
    return "Interrupted. Nothing was submitted, and nothing is paid."
