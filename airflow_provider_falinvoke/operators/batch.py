"""One task, thousands of jobs: submit them in waves, wait without a worker slot, and bring their files home."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from airflow.sdk import BaseOperator

from airflow_provider_falinvoke._compat import TaskDeferralError, TaskDeferralTimeout
from airflow_provider_falinvoke.api.pricing import read_prices
from airflow_provider_falinvoke.assets import announce
from airflow_provider_falinvoke.batch.engine import Batch, Settings
from airflow_provider_falinvoke.batch.items import Inputs
from airflow_provider_falinvoke.batch.journal import Journal
from airflow_provider_falinvoke.batch.plan import FailurePolicy, Next
from airflow_provider_falinvoke.batch.storage import Folder, safe_name
from airflow_provider_falinvoke.batch.waiting import Waited
from airflow_provider_falinvoke.completion import (
    BACKSTOP,
    SHORTEST_POLL,
    amount_of,
    failing_for_good,
    poll_interval_of,
    seconds_of,
)
from airflow_provider_falinvoke.durable import AmbiguousPolicy
from airflow_provider_falinvoke.exceptions import FalInvokeInputError
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.triggers.batch import FalInvokeBatchTrigger, read_event
from airflow_provider_falinvoke.triggers.falinvoke import safe_first_look_at

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

#: The trigger's arguments hold the ids of all jobs in flight, and MySQL keeps them in 64 kB.
MOST_IN_FLIGHT = 400


class FalInvokeBatchOperator(BaseOperator):
    """Run a fal model on thousands of inputs, in one task.

    All inputs are checked before anything is paid. Then the worker submits as many as may be in flight, and the task
    defers; it resumes when enough jobs ended, saves their files, submits the next ones and defers again. What became
    of each item is kept in a journal under ``output_path``, so that a retry does only what is missing, in all
    supported versions of Airflow.

    Durations are in seconds, or timedeltas. All parameters but ``deferrable``, ``on_ambiguous_submit``,
    ``on_item_failure`` and ``prices`` are templated; the lines of a file are not.

    :param model_id: the fal model of all items that name none.
    :param inputs: the items: a list, or the path of a JSONL file in any storage. An item is a prompt (for a speech
        model: a text), a dict of the model's fields, or ``{"model_id": …, "input": {…}, "tags": …}``.
    :param output_path: a folder, as :class:`~airflow.sdk.ObjectStoragePath` takes it. The files, the manifest and the
        journal go to ``{dag_id}/{run_id}/{task_id}`` in it (a mapped task's to ``/{map_index}`` in that).
    :param input: fields that all items have; an item's own win.
    :param tags: tags of the items that have none: a dict, or a list of ``{"key": …, "value": …}``.
    :param fal_conn_id: the :ref:`falinvoke connection <connection>`.
    :param max_in_flight: how many jobs run at a time, at the most 400. The vendor's quota lets 125 jobs a minute start
        and end, which is the default; jobs that take longer than a minute can do with more.
    :param on_item_failure: ``"fail"`` finishes all items, then fails the task and names those that failed;
        ``"ignore"`` lets it succeed; ``"stop"`` submits nothing more after the first failure, brings home what is paid,
        and fails.
    :param on_ambiguous_submit: what to do with an item whose submit may have been accepted though no request_id came
        back: ``"fail"`` counts it as failed and never submits it again, ``"retry"`` lets a retry of the task submit it
        again, and maybe pay twice. None takes the connection's, which is ``"fail"`` by default.
    :param deferrable: wait in the triggerer; False waits on the worker.
    :param timeout: how long each job may take, from its submit to its end.
    :param poll_interval: the time between two looks at a job; None for a growing one.
    :param max_poll_interval: the longest growing time between two looks.
    :param prices: prices by model_id; see :class:`~airflow_provider_falinvoke.operators.falinvoke.FalInvokeOperator`.
    :param max_cost: refuse, before anything is sent, a batch that is estimated to cost more than this.
    :return: see :func:`~airflow_provider_falinvoke.batch.result.write_manifest`.
    """

    template_fields: Sequence[str] = (
        "model_id",
        "inputs",
        "output_path",
        "input",
        "tags",
        "fal_conn_id",
        "max_in_flight",
        "timeout",
        "poll_interval",
        "max_poll_interval",
        "max_cost",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"inputs": "json", "input": "json", "tags": "json"}
    ui_color = "#e8e2fb"

    def __init__(
        self,
        *,
        model_id: str | XComArg,
        inputs: Sequence[Any] | str | XComArg,
        output_path: str,
        input: dict[str, Any] | XComArg | None = None,
        tags: dict[str, str] | list[dict[str, str]] | XComArg | None = None,
        fal_conn_id: str = FalInvokeHook.default_conn_name,
        max_in_flight: int | str = 125,
        on_item_failure: FailurePolicy = "fail",
        on_ambiguous_submit: AmbiguousPolicy | None = None,
        deferrable: bool = True,
        timeout: float | timedelta | str = 3600.0,
        poll_interval: float | timedelta | str | None = None,
        max_poll_interval: float | timedelta | str = 30.0,
        prices: Mapping[str, Mapping[str, float]] | None = None,
        max_cost: float | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_id = model_id
        self.inputs = inputs
        self.output_path = output_path
        self.input = input
        self.tags = tags
        self.fal_conn_id = fal_conn_id
        self.max_in_flight = max_in_flight
        self.on_item_failure = on_item_failure
        self.on_ambiguous_submit = on_ambiguous_submit
        self.deferrable = deferrable
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.max_poll_interval = max_poll_interval
        self.prices = prices
        self.max_cost = max_cost
        self._batch: Batch | None = None

    @cached_property
    def hook(self) -> FalInvokeHook:
        """The hook for the connection."""
        return FalInvokeHook(self.fal_conn_id)

    def execute(self, context: Context) -> dict[str, Any]:
        """Check all inputs, take up what earlier tries left, and begin."""
        with failing_for_good():
            batch = self._open(context)
            batch.begin(int(context["ti"].max_tries))
            return self._go_on(batch, context, Waited())

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Go on with what the trigger's event brings, on a worker again."""
        with failing_for_good():
            batch = self._open(context)
            batch.reopen()
            return self._go_on(batch, context, read_event(event))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; where Airflow itself ended the wait, look at the jobs once more before the task fails."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralTimeout, TaskDeferralError) as error:
            with failing_for_good():
                batch = self._open(context)
                batch.reopen()
                return self._go_on(batch, context, batch.last_looks(error))

    def _open(self, context: Context) -> Batch:
        settings = self._settings()
        ti = context["ti"]
        map_index = -1 if ti.map_index is None else ti.map_index
        parts = [ti.dag_id, ti.run_id, ti.task_id, *([str(map_index)] if map_index >= 0 else [])]
        home = "/".join([self.output_path.rstrip("/"), *map(safe_name, parts)])
        names: dict[str, str | int] = {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id}
        self._batch = Batch(
            self.hook,
            settings,
            inputs=Inputs(
                self.inputs, conn_id=self.fal_conn_id, model_id=self.model_id, shared=self.input, tags=self.tags
            ),
            home=Folder(home),
            journal=Journal(Folder(f"{home}/_batch"), {**names, "map_index": map_index}),
        )
        return self._batch

    def _settings(self) -> Settings:
        extra = self.hook.endpoint.extra
        policy = self.on_ambiguous_submit or extra.on_ambiguous_submit
        for name, value, kinds in (
            ("on_ambiguous_submit", policy, get_args(AmbiguousPolicy)),
            ("on_item_failure", self.on_item_failure, get_args(FailurePolicy)),
        ):
            if value not in kinds:
                raise FalInvokeInputError(f"{name} must be one of {', '.join(map(repr, kinds))}, not {value!r}.")
        most = amount_of("max_in_flight", self.max_in_flight, least=1, most=MOST_IN_FLIGHT, kind="a whole number")
        return Settings(
            max_in_flight=int(most),
            on_item_failure=self.on_item_failure,
            on_ambiguous_submit=policy,
            timeout=seconds_of("timeout", self.timeout, least=SHORTEST_POLL),
            poll_interval=poll_interval_of(self.poll_interval),
            max_poll_interval=seconds_of("max_poll_interval", self.max_poll_interval, least=SHORTEST_POLL),
            prices=extra.prices if self.prices is None else read_prices(self.prices),
            max_cost=None if self.max_cost is None else amount_of("max_cost", self.max_cost),
        )

    def _go_on(self, batch: Batch, context: Context, waited: Waited) -> dict[str, Any]:
        while (following := batch.wave(waited)).wait:
            if self.deferrable:
                self._defer(batch, following)
            waited = batch.wait_here(following)
        summary, error = batch.finish()
        if error is not None:
            # A task that fails returns nothing; who looks after it may want to know where the others are.
            context["ti"].xcom_push(key="summary", value=summary)
            raise error
        announce(context, self.outlets, summary, files=[{"path": summary["manifest"], **summary}])
        return summary

    def _defer(self, batch: Batch, following: Next) -> None:
        now = time.time()
        jobs = batch.jobs(now)
        until = None if math.isinf(following.until) else following.until
        last = max((job.deadline for job in jobs), default=until or now)
        self.log.info("Waiting for %d jobs without this worker slot", len(jobs))
        self.defer(
            trigger=FalInvokeBatchTrigger(
                fal_conn_id=self.fal_conn_id,
                jobs=jobs,
                more=following.more,
                not_before=safe_first_look_at(now),
                until=until,
                poll_interval=batch.settings.poll_interval,
                max_poll_interval=batch.settings.max_poll_interval,
                folder=batch.folder,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=last - now + BACKSTOP),
        )

    def on_kill(self) -> None:
        """Submit nothing more, and say that the jobs in flight go on: the API has no cancel."""
        if self._batch is not None and (left := self._batch.stop()):
            self.log.warning(
                "%d jobs go on and are paid. Their request_ids are in %s; the next try of the task, or a clear, takes "
                "them up.",
                left,
                self._batch.folder,
            )
