"""Wait for a job that another task, or another system, submitted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_falinvoke._compat import (
    AirflowFailException,
    AirflowSensorTimeout,
    TaskDeferralError,
    TaskDeferralTimeout,
)
from airflow_provider_falinvoke.api.models import Invocation
from airflow_provider_falinvoke.api.portable import for_airflow
from airflow_provider_falinvoke.api.printable import printable
from airflow_provider_falinvoke.api.protocol import NOT_FOUND_GRACE, completed
from airflow_provider_falinvoke.assets import announce
from airflow_provider_falinvoke.completion import (
    BACKSTOP,
    LONGEST,
    SHORTEST_POLL,
    bring_home,
    failing_for_good,
    flag_policy_of,
    last_look,
    path_text,
    poll_interval_of,
    saving_of,
    seconds_of,
)
from airflow_provider_falinvoke.exceptions import (
    FalInvokeJobFailedError,
    FalInvokeRateLimitError,
    FalInvokeTimeoutError,
    FalInvokeUnreachableError,
)
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.labels import SafeLabel
from airflow_provider_falinvoke.lineage import ReportsLineage
from airflow_provider_falinvoke.links.media import MediaLink
from airflow_provider_falinvoke.media import DEFAULT_FILE_NAME, FlagPolicy, Saving
from airflow_provider_falinvoke.triggers.falinvoke import FalInvokeTrigger, read_event, safe_first_look_at, story_of

if TYPE_CHECKING:
    from pathlib import PurePath

    from airflow.sdk import Context, ObjectStoragePath, XComArg


class _LooksOnceMore(SafeLabel):
    """Below Airflow's sensor, which applies ``soft_fail`` and ``never_fail`` to whatever a resumed task raises."""

    def look_once_more(self, context: Context, error: Exception) -> Any:
        """Return the task's result though Airflow ended its wait, or say why there is none."""
        raise NotImplementedError

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; where Airflow itself ended the wait, look at the job first. The policy is for what comes of that."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralTimeout, TaskDeferralError) as error:
            return self.look_once_more(context, error)


class FalInvokeSensor(ReportsLineage, BaseSensorOperator, _LooksOnceMore):
    """Wait until a job is completed, and bring its result and its files home. Costs nothing but requests.

    A job that is done already is never deferred for. A job that failed fails the sensor for good: asking again
    changes nothing.

    :param request_id: the job's id, such as the return value of a
        :class:`~airflow_provider_falinvoke.operators.falinvoke.FalInvokeOperator` with ``wait_for_completion=False``.
    :param fal_conn_id: a connection of the account that submitted the job.
    :param output_path: a folder to stream the files to, as :class:`~airflow.sdk.ObjectStoragePath` takes it.
    :param file_name: as :class:`~airflow_provider_falinvoke.operators.falinvoke.FalInvokeOperator` takes it; so are
        ``manifest``, ``max_file_size``, ``download_timeout``, ``max_files``, ``max_total_size``, ``save_timeout`` and
        ``on_flagged``.
    :param deferrable: wait in the triggerer. By default True, unless ``mode`` is given (``"poke"`` holds the worker
        slot, ``"reschedule"`` frees it between two looks).
    :param poll_interval: for ``deferrable``, the seconds between two looks; None for a growing time.
    :param max_poll_interval: for ``deferrable``, the longest growing time between two looks, in seconds.
    :param poke_interval: for the other modes, the seconds between two looks.
    :param timeout: seconds to wait from the first look on.
    :param mode: ``"poke"`` or ``"reschedule"``; None is ``"poke"`` for a sensor that is not deferrable.
    :return: see :func:`~airflow_provider_falinvoke.completion.bring_home`.
    """

    template_fields: Sequence[str] = (
        "request_id",
        "fal_conn_id",
        "output_path",
        "file_name",
        "max_file_size",
        "download_timeout",
        "max_files",
        "max_total_size",
        "save_timeout",
        "poll_interval",
        "max_poll_interval",
    )
    ui_color = "#e8e2fb"
    operator_extra_links = (MediaLink(),)

    def __init__(
        self,
        *,
        request_id: str | XComArg,
        fal_conn_id: str = FalInvokeHook.default_conn_name,
        output_path: str | PurePath | ObjectStoragePath | None = None,
        file_name: str = DEFAULT_FILE_NAME,
        manifest: bool = False,
        max_file_size: int | str = Saving.max_file_size,
        download_timeout: float | timedelta | str = Saving.download_timeout,
        max_files: int | str = Saving.max_files,
        max_total_size: int | str = Saving.max_total_size,
        save_timeout: float | timedelta | str = Saving.save_timeout,
        on_flagged: FlagPolicy = "keep",
        deferrable: bool | None = None,
        poll_interval: float | timedelta | str | None = None,
        max_poll_interval: float | timedelta | str = 30.0,
        poke_interval: float | timedelta = 30.0,
        timeout: float | timedelta = 3600.0,
        mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.deferrable = mode is None if deferrable is None else deferrable
        super().__init__(poke_interval=poke_interval, timeout=timeout, mode=mode or "poke", **kwargs)
        # An XComArg until the fields are rendered.
        self.request_id = cast("str", request_id)
        self.fal_conn_id = fal_conn_id
        self.output_path: str | None = path_text(output_path)
        self.wants_files = output_path is not None
        self.file_name = file_name
        self.manifest = manifest
        self.max_file_size = max_file_size
        self.download_timeout = download_timeout
        self.max_files = max_files
        self.max_total_size = max_total_size
        self.save_timeout = save_timeout
        self.on_flagged = flag_policy_of(on_flagged)
        self.poll_interval = poll_interval
        self.max_poll_interval = max_poll_interval

    @cached_property
    def hook(self) -> FalInvokeHook:
        """The hook for the connection."""
        return FalInvokeHook(self.fal_conn_id)

    def poke(self, context: Context) -> PokeReturnValue | bool:
        """Look once; where the job is not completed and the sensor is deferrable, defer."""
        with failing_for_good():
            saving_of(self, context)  # a wrong parameter shows before the wait, not after it
            invocation = self._look()
            if invocation is not None and invocation.status.ended:
                return PokeReturnValue(True, self._home(context, invocation))
            if self.deferrable:
                self._defer(invocation)
        return False

    def execute_complete(self, context: Context, event: Any = None, request_id: str | None = None) -> dict[str, Any]:
        """Take the job's result from the trigger's event, on a worker again."""
        self.log.info("%s", story_of(event, request_id or self.request_id))
        with failing_for_good(), _as_a_sensor_fails():
            return self._home(context, completed(read_event(event, self.hook, request_id or self.request_id)))

    def look_once_more(self, context: Context, error: Exception) -> dict[str, Any]:
        """Take the job's result though Airflow ended the wait, if it is completed."""
        with failing_for_good(), _as_a_sensor_fails():
            try:
                return self._home(context, last_look(self.hook, self.request_id, error))
            except FalInvokeTimeoutError as pending:
                if isinstance(error, TaskDeferralTimeout):
                    raise
                # The trigger failed, not the job: the next try waits for it.
                raise TaskDeferralError(str(pending)) from pending

    def _home(self, context: Context, invocation: Invocation) -> dict[str, Any]:
        result = bring_home(self.hook, invocation, saving_of(self, context, paid=invocation))
        announce(context, self.outlets, result)
        self.brought_home = result
        return result

    def _look(self) -> Invocation | None:
        try:
            with _as_a_sensor_fails():
                return completed(self.hook.get(self.request_id, patience=NOT_FOUND_GRACE, is_new=True))
        except (FalInvokeUnreachableError, FalInvokeRateLimitError) as error:
            if not error.may_pass:
                raise
            # One look that fails says nothing about the job; the sensor's own timeout bounds how many may.
            self.log.warning("%s", error)
            return None

    def _defer(self, invocation: Invocation | None) -> None:
        now = time.time()
        created_at = invocation.created_at if invocation is not None else None
        deadline = now + min(self.timeout, LONGEST)
        self.log.info("Deferring: waiting for %s without this worker slot", printable(self.request_id))
        self.defer(
            trigger=FalInvokeTrigger(
                fal_conn_id=self.fal_conn_id,
                request_id=self.request_id,
                # The pauses go by the job's age, and the sensor may come late.
                submitted_at=min(now, created_at.timestamp()) if created_at is not None else now,
                deadline=deadline,
                first_look_at=safe_first_look_at(now),
                poll_interval=poll_interval_of(self.poll_interval),
                max_poll_interval=seconds_of("max_poll_interval", self.max_poll_interval, least=SHORTEST_POLL),
                model_id=invocation.model_id if invocation is not None else None,
            ),
            method_name="execute_complete",
            kwargs=for_airflow({"request_id": self.request_id}),
            timeout=timedelta(seconds=deadline - now + BACKSTOP),
        )


@contextmanager
def _as_a_sensor_fails() -> Iterator[None]:
    """Turn what is final for a sensor into Airflow's own errors: another try changes nothing about it."""
    try:
        yield
    except FalInvokeTimeoutError as error:
        raise AirflowSensorTimeout(str(error)) from error
    except FalInvokeJobFailedError as error:
        raise AirflowFailException(str(error)) from error
