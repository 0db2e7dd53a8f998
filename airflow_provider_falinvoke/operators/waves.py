"""What tasks of many jobs share: one wave after the other, and a deferral in between."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_args

from airflow_provider_falinvoke._compat import TaskDeferralError, TaskDeferralTimeout
from airflow_provider_falinvoke.api.pricing import read_prices
from airflow_provider_falinvoke.batch.engine import Batch, Settings
from airflow_provider_falinvoke.batch.plan import FailurePolicy, Next
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
from airflow_provider_falinvoke.exceptions import FalInvokeConfigError, FalInvokeError, FalInvokeInputError
from airflow_provider_falinvoke.labels import SafeLabel
from airflow_provider_falinvoke.triggers.batch import FalInvokeBatchTrigger, read_event
from airflow_provider_falinvoke.triggers.falinvoke import safe_first_look_at

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook


#: The trigger's arguments hold the ids of all jobs in flight, and MySQL keeps them in 64 kB.
MOST_IN_FLIGHT = 400
#: The vendor's quota lets so many jobs a minute start and end.
IN_FLIGHT = 125


class RunsBatch(SafeLabel):
    """A task that may run a batch of jobs.

    A subclass says what the batch is, and what becomes of its summary.
    """

    if TYPE_CHECKING:

        @cached_property
        def hook(self) -> FalInvokeHook:
            """The hook for the connection."""
            raise NotImplementedError

        model_id: Any
        fal_conn_id: str
        deferrable: bool
        on_ambiguous_submit: AmbiguousPolicy | None
        timeout: float | timedelta | str
        poll_interval: float | timedelta | str | None
        max_poll_interval: float | timedelta | str
        prices: Mapping[str, Mapping[str, float]] | None
        max_cost: float | str | None

    _batch: Batch | None = None

    @property
    def runs_batch(self) -> bool:
        """Whether this task runs a batch at all."""
        return True

    def open_batch(self, context: Context) -> Batch:
        """Return the batch of this task instance."""
        raise NotImplementedError

    def close_batch(
        self, context: Context, batch: Batch, summary: dict[str, Any], error: FalInvokeError | None
    ) -> dict[str, Any]:
        """Return the task's result once all waves are over.

        :param error: why the task fails, if it does.
        """
        raise NotImplementedError

    def first_wave(self, context: Context) -> dict[str, Any]:
        """Check all inputs, take up what earlier tries left, and begin."""
        with failing_for_good(self.model_id):
            batch = self._batch = self.open_batch(context)
            batch.begin(int(context["ti"].max_tries))
            return self._waves(context, batch, Waited())

    def next_wave(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Go on with what the trigger's event brings, on a worker again."""
        with failing_for_good(self.model_id):
            return self._waves(context, self._reopen_batch(context), read_event(event))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; where Airflow itself ended the wait, look at the jobs once more before the task fails."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralTimeout, TaskDeferralError) as error:
            if not self.runs_batch:
                raise
            with failing_for_good(self.model_id):
                batch = self._reopen_batch(context)
                return self._waves(context, batch, batch.last_looks(error))

    def on_kill(self) -> None:
        """Submit nothing more, and say that the jobs in flight go on: the API has no cancel."""
        if self._batch is not None and (left := self._batch.stop()):
            self.log.warning(
                "%d jobs go on and are paid. Their request_ids are in %s; the next try of the task, or a clear, takes "
                "them up.",
                left,
                self._batch.folder,
            )
        super().on_kill()

    def _reopen_batch(self, context: Context) -> Batch:
        try:
            batch = self._batch = self.open_batch(context)
        except (FalInvokeInputError, FalInvokeConfigError) as error:
            # A template may render to something else after a deferral, and to something right again at the next try.
            raise FalInvokeError(
                f"The batch's jobs go on and are paid, but its parameters cannot be read any more: {error} Once they "
                "can, a retry or a clear takes the jobs up."
            ) from error
        batch.reopen()
        return batch

    def _waves(self, context: Context, batch: Batch, waited: Waited) -> dict[str, Any]:
        while (following := batch.wave(waited)).wait:
            if self.deferrable:
                self._defer_until_some_ended(batch, following)
            waited = batch.wait_here(following)
        return self.close_batch(context, batch, *batch.finish())

    def _defer_until_some_ended(self, batch: Batch, following: Next) -> None:
        jobs, now = batch.jobs(), time.time()
        until = None if math.isinf(following.until) else following.until
        last = max((job.deadline for job in jobs), default=until or now)
        self.log.info("Deferring: waiting for %d jobs without this worker slot", len(jobs))
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
                model_id=batch.model_id,
            ),
            method_name=self.next_wave.__name__,
            timeout=timedelta(seconds=last - now + BACKSTOP),
        )

    def batch_settings(self, *, max_in_flight: Any = IN_FLIGHT, on_item_failure: Any = "fail") -> Settings:
        """Return how to run the batch: the task's parameters, rendered and checked.

        :raises FalInvokeInputError: one of them cannot be right.
        """
        extra = self.hook.endpoint.extra
        policy = self.on_ambiguous_submit or extra.on_ambiguous_submit
        for name, value, kinds in (
            ("on_ambiguous_submit", policy, get_args(AmbiguousPolicy)),
            ("on_item_failure", on_item_failure, get_args(FailurePolicy)),
        ):
            if value not in kinds:
                raise FalInvokeInputError(f"{name} must be one of {', '.join(map(repr, kinds))}, not {value!r}.")
        most = amount_of("max_in_flight", max_in_flight, least=1, most=MOST_IN_FLIGHT, kind="a whole number")
        if most != int(most) or isinstance(max_in_flight, bool):
            raise FalInvokeInputError(f"max_in_flight must be a whole number, not {max_in_flight!r}.")
        return Settings(
            max_in_flight=int(most),
            on_item_failure=on_item_failure,
            on_ambiguous_submit=policy,
            timeout=seconds_of("timeout", self.timeout, least=SHORTEST_POLL),
            poll_interval=poll_interval_of(self.poll_interval),
            max_poll_interval=seconds_of("max_poll_interval", self.max_poll_interval, least=SHORTEST_POLL),
            prices=extra.prices if self.prices is None else read_prices(self.prices),
            max_cost=None if self.max_cost is None else amount_of("max_cost", self.max_cost),
        )
