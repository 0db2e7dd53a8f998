"""A hook whose calls can be watched: for the API's reply as it came, and for a line that tells how far the job is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from airflow_provider_falinvoke.api.outcomes import (
    Call,
    Failure,
    Outcome,
    Reply,
    Send,
    Step,
    SubmitRecord,
    T,
    is_success,
    words,
)
from airflow_provider_falinvoke.api.printable import printable
from airflow_provider_falinvoke.api.reading import document_in
from airflow_provider_falinvoke.api.replies import read_invocation
from airflow_provider_falinvoke.cli.streams import say
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook


def observed(call: Call[T], see: Callable[[Step | Outcome], object]) -> Call[T]:
    """Perform ``call`` as it is, and show each of its steps and outcomes to ``see``."""
    try:
        step = next(call)
        while True:
            see(step)
            outcome = yield step
            see(outcome)
            step = call.send(outcome)
    except StopIteration as stop:
        result: T = stop.value
        return result


class Watch:
    """What was seen last, and the line on stderr that tells it, while in ``with``.

    On a terminal the line is written over; elsewhere each new state is a line of its own.

    :param about: what the line begins with, where several jobs are followed one after the other.
    :param quiet: write no line.
    :ivar reply: the API's last reply.
    :ivar request_id: the job's id, once a reply told it.
    :ivar sending: whether a request is on its way, so that nobody knows whether it arrives.
    """

    def __init__(self, about: str = "", *, quiet: bool = False) -> None:
        self.reply: Reply | None = None
        self.request_id: str | None = None
        self.sending = False
        self._about = f"{printable(about)}: " if about else ""
        self._quiet = quiet
        self._since = 0.0
        self._told = ""
        self._width = 0

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        if self._width:
            say("")
            self._width = 0

    def see(self, event: Step | Outcome) -> None:
        """Take in a step or an outcome."""
        self.sending = isinstance(event, Send)
        if isinstance(event, Reply):
            self.reply = event
            self._since = self._since or event.at
            invocation = read_invocation(event.body, key=event.key) if is_success(event) else None
            if invocation is None:
                self._tell(words(event), event.at)
            else:
                self.request_id = self.request_id or invocation.request_id
                self._tell(invocation.raw_status or invocation.status.value, event.at)
        elif isinstance(event, Failure):
            self._tell(words(event), event.at)

    @property
    def document(self) -> Any:
        """The last reply's JSON as it was read, or None where it was none."""
        return document_in(self.reply.body, self.reply.key) if self.reply is not None else None

    def _tell(self, state: str, at: float) -> None:
        if self._quiet:
            return
        line = self._about + (f"{state}, {at - self._since:.0f} s" if self._since else state)
        if sys.stderr.isatty():
            say(f"{line:<{self._width}}", start="\r", end="")
            self._width = max(self._width, len(line))
        elif state != self._told:
            say(line)
        self._told = state


class WatchedHook(FalInvokeHook):
    """A hook whose every call is shown to ``watch``."""

    def __init__(self, fal_conn_id: str, watch: Watch) -> None:
        super().__init__(fal_conn_id)
        self._watch = watch

    def _run(self, call: Call[T], record: SubmitRecord | None = None) -> T:
        return super()._run(observed(call, self._watch.see), record)
