"""Submit a job, wait for it without a worker slot, and bring its result and its files home."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from airflow_provider_falinvoke import metrics
from airflow_provider_falinvoke._compat import (
    AirflowSkipException,
    TaskDeferralError,
    TaskDeferralTimeout,
    a_clear_drops_the_store,
)
from airflow_provider_falinvoke.api.inputs import prompt_of
from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus, InvokeRequest, object_of
from airflow_provider_falinvoke.api.outcomes import by_hand
from airflow_provider_falinvoke.api.portable import for_airflow
from airflow_provider_falinvoke.api.printable import printable
from airflow_provider_falinvoke.api.protocol import completed
from airflow_provider_falinvoke.api.schedule import BriefWait, PollSchedule
from airflow_provider_falinvoke.assets import announce
from airflow_provider_falinvoke.budget import check_cost, estimated_cost
from airflow_provider_falinvoke.completion import (
    BACKSTOP,
    SHORTEST_POLL,
    bring_home,
    failing_for_good,
    flag_policy_of,
    last_look,
    poll_interval_of,
    saving_of,
    seconds_of,
)
from airflow_provider_falinvoke.durable import Action, AmbiguousPolicy, Ledger, Phase, fingerprint, unknown_submit
from airflow_provider_falinvoke.exceptions import (
    FalInvokeAmbiguousSubmitError,
    FalInvokeError,
    FalInvokeFlaggedError,
    FalInvokeInputError,
    FalInvokeMediaGoneError,
    FalInvokeNotFoundError,
)
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.labels import SafeLabel
from airflow_provider_falinvoke.lineage import ReportsLineage
from airflow_provider_falinvoke.links.media import MediaLink
from airflow_provider_falinvoke.media import DEFAULT_FILE_NAME, FlagPolicy, Saving, without_inline
from airflow_provider_falinvoke.reuse import Kept
from airflow_provider_falinvoke.side_effects import not_stopping_the_task

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg


class FalInvokeOperator(ReportsLineage, SafeLabel):
    """Run a fal model through DigitalOcean's async-invoke API.

    The job is submitted by the worker, once. A fast one is awaited there for some seconds (``defer_after``); after that
    the task defers, so that no worker slot is held while the model works.

    Durations are in seconds, or timedeltas. All parameters but ``deferrable``, ``durable``, ``manifest``,
    ``on_ambiguous_submit``, ``on_flagged``, ``prices``, ``reuse`` and ``wait_for_completion`` are templated, nested
    values too, and checked after rendering: ``"4"`` becomes 4 for a documented integer.

    :param model_id: the fal model, such as ``fal-ai/flux/schnell``.
    :param input: the model's fields, such as ``{"prompt": "…"}``.
    :param tags: tags for the vendor's records: a dict, or a list of ``{"key": …, "value": …}``.
    :param fal_conn_id: the :ref:`falinvoke connection <connection>`.
    :param output_path: a folder to stream the files to, as :class:`~airflow.sdk.ObjectStoragePath` takes it; None
        leaves them on the vendor's host, where they expire.
    :param file_name: how they are named in it: text with the fields ``{dag_id}``, ``{run_id}``, ``{task_id}``,
        ``{map_index}``, ``{request_id}``, ``{number}`` and ``{extension}``; empty folders vanish.
    :param manifest: write the result beside the files, as JSON.
    :param max_file_size: bytes; a larger file is refused.
    :param download_timeout: how long the download of one file may take, all tries together.
    :param max_files: files of one job; of more, the first are saved, and ``left_out`` of the result names the others.
    :param max_total_size: bytes of all files of one job; more are refused.
    :param save_timeout: how long the download of all files of one job may take.
    :param on_flagged: what to do about files that the model's safety checker flagged: ``"keep"`` and mark them,
        ``"fail"`` the task for good and save none, or ``"skip"`` them, and the task where no other file is left.
    :param reuse: where files that the same connection, model and input made lie under ``output_path`` already, and are
        unchanged, return their result, marked ``reused``, and submit nothing. Needs a ``seed`` in ``input``.
    :param wait_for_completion: False submits only and returns the request_id, for a
        :class:`~airflow_provider_falinvoke.sensors.falinvoke.FalInvokeSensor` to await.
    :param deferrable: wait in the triggerer; False waits on the worker.
    :param defer_after: how long the worker waits before it defers. A deferral costs some 3 s of its own, and
        brings no result for 8 s; so None waits up to 6 s for a model that is known to be fast, once its job has
        started and while requests are not scarce, and not at all for any other.
    :param poll_interval: the time between two looks at the job; None for a growing one,
        ``min(max_poll_interval, 0.5 + 0.2 * age)``, that takes few requests.
    :param max_poll_interval: the longest growing time between two looks; five times as long where requests are scarce.
    :param timeout: how long the job may take, from its submit to its end, deferred or not, retries included.
    :param durable: keep the request_id in Airflow's task state store (3.3 and newer), so that a retry or a clear takes
        a running job up again and does not pay for a second one.
    :param on_ambiguous_submit: what to do where a submit may have been accepted though no request_id came back:
        ``"fail"`` ends the task and leaves it to a person, ``"retry"`` lets Airflow's retries submit again, and
        maybe pay twice. None takes the connection's ``on_ambiguous_submit``, which is ``"fail"`` by default.
    :param prices: prices by model_id, in your currency: ``{"fal-ai/fast-sdxl": {"per_image": 0.003}}``; also
        ``per_megapixel``, ``per_second``, ``per_1000_characters``. None takes the connection's ``prices``. Without a
        price nothing is guessed.
    :param max_cost: refuse, before anything is sent, a job that is estimated to cost more than this.
    :return: see :func:`~airflow_provider_falinvoke.completion.bring_home`, and ``prompt`` (cut where it is long),
        ``estimated_cost`` and ``reused``; the request_id with ``wait_for_completion=False``.
    """

    template_fields: Sequence[str] = (
        "model_id",
        "input",
        "tags",
        "fal_conn_id",
        "output_path",
        "file_name",
        "max_file_size",
        "download_timeout",
        "max_files",
        "max_total_size",
        "save_timeout",
        "defer_after",
        "poll_interval",
        "max_poll_interval",
        "timeout",
        "max_cost",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"input": "json", "tags": "json"}
    ui_color = "#e8e2fb"
    operator_extra_links = (MediaLink(),)

    def __init__(
        self,
        *,
        model_id: str | XComArg,
        input: dict[str, Any] | str | XComArg,
        tags: dict[str, str] | list[dict[str, str]] | XComArg | None = None,
        fal_conn_id: str = FalInvokeHook.default_conn_name,
        output_path: str | None = None,
        file_name: str = DEFAULT_FILE_NAME,
        manifest: bool = False,
        max_file_size: int | str = Saving.max_file_size,
        download_timeout: float | timedelta | str = Saving.download_timeout,
        max_files: int | str = Saving.max_files,
        max_total_size: int | str = Saving.max_total_size,
        save_timeout: float | timedelta | str = Saving.save_timeout,
        on_flagged: FlagPolicy = "keep",
        reuse: bool = False,
        wait_for_completion: bool = True,
        deferrable: bool = True,
        defer_after: float | timedelta | str | None = None,
        poll_interval: float | timedelta | str | None = None,
        max_poll_interval: float | timedelta | str = 30.0,
        timeout: float | timedelta | str = 3600.0,
        durable: bool = True,
        on_ambiguous_submit: AmbiguousPolicy | None = None,
        prices: Mapping[str, Mapping[str, float]] | None = None,
        max_cost: float | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_id = model_id
        self.input = input
        self.tags = tags
        self.fal_conn_id = fal_conn_id
        self.output_path = output_path
        self.file_name = file_name
        self.manifest = manifest
        self.max_file_size = max_file_size
        self.download_timeout = download_timeout
        self.max_files = max_files
        self.max_total_size = max_total_size
        self.save_timeout = save_timeout
        self.on_flagged = flag_policy_of(on_flagged)
        self.reuse = reuse
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.defer_after = defer_after
        self.poll_interval = poll_interval
        self.max_poll_interval = max_poll_interval
        self.timeout = timeout
        self.durable = durable
        self.on_ambiguous_submit = on_ambiguous_submit
        self.prices = prices
        self.max_cost = max_cost
        self._running: str | None = None
        self._ledger: Ledger | None = None

    @cached_property
    def hook(self) -> FalInvokeHook:
        """The hook for the connection."""
        return FalInvokeHook(self.fal_conn_id)

    def execute(self, context: Context) -> dict[str, Any] | str | None:
        """Take up the job of an earlier try, or submit it; then, unless told otherwise, wait for it."""
        metrics.about(str(self.model_id))
        with failing_for_good():
            order = self._order(context)
            ledger = self._ledger = Ledger.of(context, durable=self.durable)
            if self.durable and not ledger.remembers:
                self.log.warning(
                    "This Airflow has no task state store (it came with 3.3): a retry submits and pays again"
                )
            job = self._of_an_earlier_try(order, ledger)
            if ledger.remembers and ledger.record is None and self._was_cleared(context) and a_clear_drops_the_store():
                self.log.warning(
                    "Airflow's task state store holds nothing of an earlier try: a clear drops it, unless you tick "
                    "'keep task state'. A job of an earlier try goes on and is paid; its request_id is in that try's "
                    "log. A new one is submitted now"
                )
            if job is None:
                if order.kept is not None and (result := order.kept.find()) is not None:
                    self._push_request_id(context, result["request_id"])
                    self._announce(context, result)
                    return result
                check_cost(order.request, self.prices, self.max_cost, self.hook)
                if self.wait_for_completion:
                    order.saving.check_folder()
                # All that took its time; a process that was frozen meanwhile must see what a newer try did.
                if ledger.has_changed():
                    job = self._of_an_earlier_try(order, ledger)
            job = job or self._submitted(order, ledger)
            try:
                return self._result_of(context, job, order, ledger)
            finally:
                ledger.write_again()

    def _result_of(self, context: Context, job: _Job, order: _Order, ledger: Ledger) -> dict[str, Any] | str:
        request_id = self._running = job.invocation.request_id
        self._push_request_id(context, request_id)
        # A result that came without an id is all there will ever be of it.
        if not self.wait_for_completion and request_id is not None:
            announce(context, self.outlets, {"request_id": request_id, "model_id": order.request.model_id})
            ledger.done(request_id)
            return request_id
        invocation = completed(job.invocation)
        if not invocation.status.ended:
            invocation = self._wait(job, order, ledger)
        return self._home(context, invocation, ledger)

    def execute_complete(self, context: Context, event: Any = None, request_id: str | None = None) -> dict[str, Any]:
        """Take the job's result from the trigger's event, on a worker again."""
        from airflow_provider_falinvoke.triggers.falinvoke import read_event, story_of

        self.log.info("%s", story_of(event, request_id))
        with failing_for_good():
            ledger = self._ledger = Ledger.of(context, durable=self.durable)
            with not_stopping_the_task("The request_id cannot be stored for a later try", request_id):
                ledger.resumed(request_id, seconds_of("timeout", self.timeout, least=SHORTEST_POLL))
            return self._home(context, completed(read_event(event, self.hook, request_id)), ledger)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; where Airflow itself ended the wait, look at the job once more before the task fails."""
        metrics.about(str(self.model_id))
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralTimeout, TaskDeferralError) as error:
            ledger = self._ledger = Ledger.of(context, durable=self.durable)
            # Airflow keeps no arguments of ours where it ended the wait.
            request_id = ledger.known_request_id() or self._pulled_request_id(context)
            with failing_for_good():
                return self._home(context, last_look(self.hook, request_id, error), ledger)

    def _was_cleared(self, context: Context) -> bool:
        return int(context["ti"].max_tries) > (self.retries or 0)

    def _push_request_id(self, context: Context, request_id: str | None) -> None:
        with not_stopping_the_task(f"The request_id {printable(request_id)} could not be pushed to XCom"):
            context["ti"].xcom_push(key="request_id", value=for_airflow(request_id))

    def _pulled_request_id(self, context: Context) -> str | None:
        ti = context["ti"]
        with not_stopping_the_task("The request_id cannot be read from XCom, so the job is not looked at once more"):
            request_id: str | None = ti.xcom_pull(task_ids=self.task_id, key="request_id", map_indexes=ti.map_index)
            return request_id
        return None

    def _request(self) -> InvokeRequest:
        # No plain text for a prompt: a template that yields a dict is rendered to a text that looks like one.
        return InvokeRequest.read(object_of(self.input), model_id=self.model_id, tags=self.tags)

    def _order(self, context: Context) -> _Order:
        request = self._request()
        policy = self.on_ambiguous_submit or self.hook.endpoint.extra.on_ambiguous_submit
        if policy not in get_args(AmbiguousPolicy):
            raise FalInvokeInputError(f"on_ambiguous_submit must be 'fail' or 'retry', not {policy!r}.")
        poll_interval = poll_interval_of(self.poll_interval)
        max_poll_interval = seconds_of("max_poll_interval", self.max_poll_interval, least=SHORTEST_POLL)
        schedule = PollSchedule.of(poll_interval, max_poll_interval)
        defer_after = None if self.defer_after is None else seconds_of("defer_after", self.defer_after)
        return _Order(
            request=request,
            fingerprint=fingerprint(request, self.fal_conn_id),
            policy=policy,
            saving=saving_of(self, context),
            kept=Kept(request, self.fal_conn_id, self.output_path) if self.reuse else None,
            timeout=seconds_of("timeout", self.timeout, least=SHORTEST_POLL),
            schedule=schedule,
            brief=BriefWait.of(request.model_id, defer_after, schedule),
            poll_interval=poll_interval,
            max_poll_interval=max_poll_interval,
        )

    def _of_an_earlier_try(self, order: _Order, ledger: Ledger) -> _Job | None:
        """Return the job of an earlier try, if there is one that is still of use.

        :raises FalInvokeAmbiguousSubmitError: nobody knows whether there is.
        """
        action = ledger.action(order.fingerprint, order.policy)
        if action is Action.STOP:
            error = unknown_submit(ledger.record)
            ledger.reported()
            raise error
        if action is Action.SUBMIT:
            return None
        record = ledger.record
        assert record is not None and record.request_id is not None, "only a job with an id is resumed"
        try:
            invocation = self.hook.get(record.request_id, is_new=True)
        except FalInvokeNotFoundError:
            self.log.warning(
                "The API does not know the job %s of an earlier try any more", printable(record.request_id)
            )
            return None
        if invocation.status is InvocationStatus.FAILED:
            if invocation.refused and not ledger.was_cleared:
                completed(invocation)
            self.log.warning("The job %s of an earlier try failed: %s", printable(record.request_id), invocation.error)
            return None
        if record.phase is Phase.DONE and ledger.was_cleared:
            self.log.warning(
                "The job %s of an earlier try is done and paid, but Airflow never stored that try's success. Its "
                "result is taken now; to pay for another job, clear the task again once it has succeeded",
                printable(record.request_id),
            )
        now = time.time()
        deadline = now + order.timeout if ledger.was_cleared else record.deadline
        self.log.info(
            "Taking up the job %s of an earlier try, submitted %.1f s ago: %s",
            printable(record.request_id),
            now - record.submitted_at,
            invocation.status.value,
        )
        metrics.resumed()
        ledger.submitted(record.request_id, record.submitted_at, deadline)
        return _Job(invocation, record.submitted_at, deadline, looked_at=now)

    def _submitted(self, order: _Order, ledger: Ledger) -> _Job:
        """Submit the job, with the record that lets a later try find it."""
        try:
            invocation = self.hook.submit_request(order.request, record=ledger)
        except FalInvokeAmbiguousSubmitError as error:
            error.may_pass = order.policy == "retry"
            ledger.reported()
            raise
        except FalInvokeError:
            ledger.withdraw()
            raise
        now = time.time()
        if invocation.request_id is not None:
            ledger.submitted(invocation.request_id, now, now + order.timeout)
        else:
            self.log.warning(
                "The API answered with the result and no request_id, so it cannot be fetched again: %s",
                without_inline(invocation.output),
            )
        return _Job(invocation, submitted_at=now, deadline=now + order.timeout, looked_at=now)

    def _wait(self, job: _Job, order: _Order, ledger: Ledger) -> Invocation:
        request_id = job.invocation.request_id
        assert request_id is not None, "a pending invocation has an id, or the submit was ambiguous"
        schedule = order.schedule
        look_at = job.looked_at + schedule.pause(job.looked_at - job.submitted_at)
        if self.deferrable:
            done = self.hook.wait_briefly(
                request_id, submitted_at=job.submitted_at, brief=order.brief, deadline=job.deadline
            )
            if isinstance(done, Invocation):
                return done
            look_at = done
            # Not with every DAG file that is parsed: Airflow's base class of a trigger takes some 8 ms to import.
            from airflow_provider_falinvoke.triggers.falinvoke import FalInvokeTrigger, safe_first_look_at

            now = time.time()
            first_look_at = safe_first_look_at(now)
            if first_look_at < job.deadline:
                self.log.info(
                    "Deferring, %.1f s after the submit: waiting for %s without this worker slot",
                    now - job.submitted_at,
                    printable(request_id),
                )
                self.defer(
                    trigger=FalInvokeTrigger(
                        fal_conn_id=self.fal_conn_id,
                        request_id=request_id,
                        submitted_at=job.submitted_at,
                        deadline=job.deadline,
                        first_look_at=max(first_look_at, look_at),
                        poll_interval=order.poll_interval,
                        max_poll_interval=order.max_poll_interval,
                        model_id=order.request.model_id,
                    ),
                    method_name="execute_complete",
                    kwargs=for_airflow({"request_id": request_id}),
                    timeout=timedelta(seconds=job.deadline - now + BACKSTOP),
                )
        ledger.write_again()
        return self.hook.wait(
            request_id,
            submitted_at=job.submitted_at,
            deadline=job.deadline,
            schedule=schedule,
            first_look_at=look_at,
            model_id=order.request.model_id,
        )

    def _home(self, context: Context, invocation: Invocation, ledger: Ledger) -> dict[str, Any]:
        cost = estimated_cost(self.model_id, self.input, self.prices, self.hook)
        try:
            result = bring_home(
                self.hook,
                invocation,
                saving_of(self, context, paid=invocation),
                prompt=prompt_of(self.input),
                estimated_cost=cost,
                reused=False,
            )
        except (FalInvokeMediaGoneError, FalInvokeFlaggedError, AirflowSkipException):
            # A retry looks for new URLs; a user who clears the task wants another job.
            ledger.closed(invocation.request_id)
            raise
        self._announce(context, result)
        ledger.done(invocation.request_id)
        if self.reuse:
            self._keep(result, ledger)
        return result

    def _announce(self, context: Context, result: dict[str, Any]) -> None:
        announce(context, self.outlets, result)
        self.brought_home = result

    def _keep(self, result: dict[str, Any], ledger: Ledger) -> None:
        """Keep a result for reuse, unless another request made it than the one this task would send by now."""
        with not_stopping_the_task(f"The result of the job {result['request_id']} cannot be kept for reuse"):
            request = self._request()
            if ledger.record is None or ledger.record.fingerprint == fingerprint(request, self.fal_conn_id):
                Kept(request, self.fal_conn_id, self.output_path).keep(result)

    def acknowledge_success(self) -> None:
        """Note that Airflow stored this task's success; called by the plugin's listener."""
        if self._ledger is not None:
            self._ledger.acknowledge()

    def on_kill(self) -> None:
        """Say that the job goes on: the API has no cancel."""
        if self._running:
            self.log.warning("The job %s goes on and is paid. %s", printable(self._running), by_hand(self._running))
        elif self._ledger is not None and self._ledger.is_submitting:
            self.log.warning(
                "This task was ended while it submitted a job, which may be running and paid; no request_id came back "
                "to fetch it by. Look at the usage in the vendor's console before you clear the task"
            )


@dataclass(frozen=True)
class _Order:
    """What to submit and how to wait for it: the operator's parameters, rendered and checked."""

    request: InvokeRequest
    fingerprint: str
    policy: AmbiguousPolicy
    saving: Saving
    kept: Kept | None
    timeout: float
    schedule: PollSchedule
    brief: BriefWait
    poll_interval: float | None
    max_poll_interval: float


@dataclass(frozen=True)
class _Job:
    """A job that is paid for: what is known of it, and the times by which it is awaited, in epoch seconds."""

    invocation: Invocation
    submitted_at: float
    deadline: float
    looked_at: float
