"""Submit a job, wait for it without a worker slot, and bring its result and its files home."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_provider_falinvoke.api.models import Invocation, InvokeRequest
from airflow_provider_falinvoke.api.outcomes import by_hand
from airflow_provider_falinvoke.api.pacing import PollSchedule
from airflow_provider_falinvoke.api.protocol import completed
from airflow_provider_falinvoke.completion import BACKSTOP, bring_home, failing_for_good, seconds_of
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.triggers.falinvoke import FalInvokeTrigger, read_event, safe_first_look_at

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg


class FalInvokeOperator(BaseOperator):
    """Run a fal model through DigitalOcean's async-invoke API.

    The job is submitted by the worker, once. A fast one is awaited there for ``defer_after`` seconds; after that the
    task defers, so that no worker slot is held while the model works.

    Durations are in seconds, or timedeltas. All parameters but ``deferrable`` and ``wait_for_completion`` are
    templated, nested values too, and checked after rendering: ``"4"`` becomes 4 for a documented integer.

    :param model_id: the fal model, such as ``fal-ai/flux/schnell``.
    :param input: the model's fields, such as ``{"prompt": "…"}``.
    :param tags: tags for the vendor's records: a dict, or a list of ``{"key": …, "value": …}``.
    :param fal_conn_id: the :ref:`falinvoke connection <connection>`.
    :param output_path: a folder to stream the files to, as :class:`~airflow.sdk.ObjectStoragePath` takes it; None
        leaves them on the vendor's host, where they expire.
    :param wait_for_completion: False submits only and returns the request_id, for a
        :class:`~airflow_provider_falinvoke.sensors.falinvoke.FalInvokeSensor` to await.
    :param deferrable: wait in the triggerer; False waits on the worker.
    :param defer_after: how long the worker waits before it defers. A deferral costs some 3 s of its own.
    :param poll_interval: the time between two looks at the job; None for a growing one,
        ``min(max_poll_interval, 0.5 + 0.2 * age)``, that takes few requests.
    :param max_poll_interval: the longest growing time between two looks.
    :param timeout: how long the job may take, from its submit to its end, deferred or not.
    :return: see :func:`~airflow_provider_falinvoke.completion.bring_home`; the request_id with
        ``wait_for_completion=False``.
    """

    template_fields: Sequence[str] = (
        "model_id",
        "input",
        "tags",
        "fal_conn_id",
        "output_path",
        "defer_after",
        "poll_interval",
        "max_poll_interval",
        "timeout",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"input": "json", "tags": "json"}
    ui_color = "#e8e2fb"

    def __init__(
        self,
        *,
        model_id: str | XComArg,
        input: dict[str, Any] | str | XComArg,
        tags: dict[str, str] | list[dict[str, str]] | XComArg | None = None,
        fal_conn_id: str = FalInvokeHook.default_conn_name,
        output_path: str | None = None,
        wait_for_completion: bool = True,
        deferrable: bool = True,
        defer_after: float | timedelta | str = 5.0,
        poll_interval: float | timedelta | str | None = None,
        max_poll_interval: float | timedelta | str = 30.0,
        timeout: float | timedelta | str = 3600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_id = model_id
        self.input = input
        self.tags = tags
        self.fal_conn_id = fal_conn_id
        self.output_path = output_path
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.defer_after = defer_after
        self.poll_interval = poll_interval
        self.max_poll_interval = max_poll_interval
        self.timeout = timeout
        self._running: str | None = None

    @cached_property
    def hook(self) -> FalInvokeHook:
        """The hook for the connection."""
        return FalInvokeHook(self.fal_conn_id)

    def execute(self, context: Context) -> dict[str, Any] | str | None:
        """Submit the job and, unless told otherwise, wait for it."""
        with failing_for_good():
            request = InvokeRequest.build(self.model_id, self.input, self.tags)
            timeout = seconds_of("timeout", self.timeout)
            defer_after = seconds_of("defer_after", self.defer_after)
            schedule = self._schedule()

            invocation = self.hook.submit_request(request)
            submitted_at = time.time()
            context["ti"].xcom_push(key="request_id", value=invocation.request_id)
            if not self.wait_for_completion:
                return invocation.request_id
            if not invocation.status.ended:
                invocation = self._wait(invocation, submitted_at, submitted_at + timeout, defer_after, schedule)
            return bring_home(self.hook, completed(invocation), self.output_path)

    def _wait(
        self,
        invocation: Invocation,
        submitted_at: float,
        deadline: float,
        defer_after: float,
        schedule: PollSchedule,
    ) -> Invocation:
        request_id = invocation.request_id
        assert request_id is not None, "a pending invocation has an id, or the submit was ambiguous"
        self._running = request_id
        if self.deferrable:
            until = min(submitted_at + defer_after, deadline)
            done = self.hook.wait_briefly(request_id, submitted_at=submitted_at, until=until, schedule=schedule)
            if done is not None:
                return done
            now = time.time()
            first_look_at = safe_first_look_at(now)
            if first_look_at < deadline:
                self.log.info("Waiting for %s without this worker slot", request_id)
                self.defer(
                    trigger=FalInvokeTrigger(
                        fal_conn_id=self.fal_conn_id,
                        request_id=request_id,
                        submitted_at=submitted_at,
                        deadline=deadline,
                        first_look_at=max(first_look_at, now + schedule.pause(now - submitted_at)),
                        poll_interval=self._poll_interval(),
                        max_poll_interval=seconds_of("max_poll_interval", self.max_poll_interval),
                    ),
                    method_name="execute_complete",
                    kwargs={"request_id": request_id},
                    timeout=timedelta(seconds=deadline - now + BACKSTOP),
                )
        return self.hook.wait(
            request_id,
            submitted_at=submitted_at,
            deadline=deadline,
            schedule=schedule,
            first_look_at=time.time() + schedule.pause(0.0),
        )

    def execute_complete(self, context: Context, event: Any = None, request_id: str | None = None) -> dict[str, Any]:
        """Take the job's result from the trigger's event, on a worker again."""
        with failing_for_good():
            invocation = completed(read_event(event, self.hook, request_id))
            self.log.info("Resumed: the job %s is completed", invocation.request_id)
            return bring_home(self.hook, invocation, self.output_path)

    def on_kill(self) -> None:
        """Say that the job goes on: the API has no cancel."""
        if self._running:
            self.log.warning("The job %s goes on and is paid. %s", self._running, by_hand(self._running))

    def _poll_interval(self) -> float | None:
        return None if self.poll_interval is None else seconds_of("poll_interval", self.poll_interval)

    def _schedule(self) -> PollSchedule:
        return PollSchedule.of(self._poll_interval(), seconds_of("max_poll_interval", self.max_poll_interval))
