"""One task, thousands of jobs: submit them in waves, wait without a worker slot, and bring their files home."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_falinvoke.api.portable import for_airflow
from airflow_provider_falinvoke.assets import announce
from airflow_provider_falinvoke.batch.engine import Batch
from airflow_provider_falinvoke.batch.items import Inputs
from airflow_provider_falinvoke.batch.plan import FailurePolicy
from airflow_provider_falinvoke.completion import TEMPLATE_FILES, flag_policy_of, path_text, saving_of
from airflow_provider_falinvoke.durable import AmbiguousPolicy
from airflow_provider_falinvoke.exceptions import FalInvokeError
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.links.media import MediaLink
from airflow_provider_falinvoke.media import DEFAULT_FILE_NAME, FlagPolicy, Saving
from airflow_provider_falinvoke.operators.waves import IN_FLIGHT, RunsBatch
from airflow_provider_falinvoke.side_effects import not_stopping_the_task

if TYPE_CHECKING:
    from pathlib import PurePath

    from airflow.sdk import Context, ObjectStoragePath, XComArg


class FalInvokeBatchOperator(RunsBatch):
    """Run a fal model on thousands of inputs, in one task.

    All inputs are checked before anything is paid. Then the worker submits as many as may be in flight, and the task
    defers; it resumes when enough jobs ended, saves their files, submits the next ones and defers again. What became
    of each item is kept in a journal under ``output_path``, so that a retry does only what is missing, in all
    supported versions of Airflow.

    Durations are in seconds, or timedeltas. All parameters but ``deferrable``, ``on_ambiguous_submit``,
    ``on_flagged``, ``on_item_failure`` and ``prices`` are templated; the lines of a file are not.

    :param model_id: the fal model of all items that name none.
    :param inputs: the items: a list, or the path of a JSONL file in any storage. An item is a prompt (for a speech
        model: a text), a dict of the model's fields, or ``{"model_id": …, "input": {…}, "tags": …}``.
    :param output_path: a folder, as :class:`~airflow.sdk.ObjectStoragePath` takes it. The manifest and the journal go
        to ``{dag_id}/{run_id}/{task_id}`` in it (a mapped task's to ``/{map_index}`` in that), and so do the files.
    :param file_name: how the files are named below ``output_path``; see
        :class:`~airflow_provider_falinvoke.operators.falinvoke.FalInvokeOperator`, also for the next three.
    :param max_file_size: bytes; a larger file is refused.
    :param download_timeout: how long the download of one file may take, all tries together.
    :param max_files: files of one job; of more, the first are saved, and ``left_out`` of the result names the others.
    :param max_total_size: bytes of all files of one job; more are refused.
    :param save_timeout: how long the download of all files of one job may take.
    :param on_flagged: what to do about files that the model's safety checker flagged: ``"keep"``, ``"fail"`` (the item,
        for good) or ``"skip"`` (the files).
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
        "file_name",
        "max_file_size",
        "download_timeout",
        "max_files",
        "max_total_size",
        "save_timeout",
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
    template_ext: Sequence[str] = TEMPLATE_FILES
    ui_color = "#e8e2fb"
    operator_extra_links = (MediaLink(),)

    def __init__(
        self,
        *,
        model_id: str | XComArg,
        inputs: Sequence[Any] | str | PurePath | ObjectStoragePath | XComArg,
        output_path: str | PurePath | ObjectStoragePath,
        file_name: str = DEFAULT_FILE_NAME,
        max_file_size: int | str = Saving.max_file_size,
        download_timeout: float | timedelta | str = Saving.download_timeout,
        max_files: int | str = Saving.max_files,
        max_total_size: int | str = Saving.max_total_size,
        save_timeout: float | timedelta | str = Saving.save_timeout,
        on_flagged: FlagPolicy = "keep",
        input: dict[str, Any] | XComArg | None = None,
        tags: dict[str, str] | list[dict[str, str]] | XComArg | None = None,
        fal_conn_id: str = FalInvokeHook.default_conn_name,
        max_in_flight: int | str = IN_FLIGHT,
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
        self.inputs = path_text(inputs)
        self.output_path: str | None = path_text(output_path)
        self.wants_files = True
        self.file_name = file_name
        #: There is one for all of them.
        self.manifest = False
        self.max_file_size = max_file_size
        self.download_timeout = download_timeout
        self.max_files = max_files
        self.max_total_size = max_total_size
        self.save_timeout = save_timeout
        self.on_flagged = flag_policy_of(on_flagged)
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

    @cached_property
    def hook(self) -> FalInvokeHook:
        """The hook for the connection."""
        return FalInvokeHook(self.fal_conn_id)

    def execute(self, context: Context) -> dict[str, Any]:
        """Check all inputs, take up what earlier tries left, and begin."""
        return self.first_wave(context)

    def open_batch(self, context: Context) -> Batch:
        """Return the batch of this task instance."""
        settings = self.batch_settings(max_in_flight=self.max_in_flight, on_item_failure=self.on_item_failure)
        inputs = Inputs(
            self.inputs, conn_id=self.fal_conn_id, model_id=self.model_id, shared=self.input, tags=self.tags
        )
        return Batch.of(context["ti"], self.hook, settings, inputs=inputs, saving=saving_of(self, context))

    def close_batch(
        self, context: Context, batch: Batch, summary: dict[str, Any], error: FalInvokeError | None
    ) -> dict[str, Any]:
        """Return the summary, or fail with what is not home."""
        del batch
        if error is not None:
            # A task that fails returns nothing; who looks after it may want to know where the others are.
            with not_stopping_the_task("The summary could not be pushed to XCom"):
                context["ti"].xcom_push(key="summary", value=for_airflow(summary))
            raise error
        # Of thousands of files, an asset's event names the one that names them all.
        announce(context, self.outlets, summary, files=[{"path": summary["manifest"], **summary}])
        return summary
