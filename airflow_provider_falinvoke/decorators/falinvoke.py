"""``@task.fal_invoke``: a function says what to make, and its task has it made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.sdk.bases.decorator import DecoratedOperator, task_decorator_factory
from airflow.sdk.definitions._internal.types import SET_DURING_EXECUTION
from airflow.sdk.definitions.context import context_merge

from airflow_provider_falinvoke.api.models import InvokeRequest, object_of
from airflow_provider_falinvoke.api.portable import for_airflow
from airflow_provider_falinvoke.completion import failing_for_good
from airflow_provider_falinvoke.exceptions import FalInvokeInputError
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg
    from airflow.sdk.bases.decorator import TaskDecorator, determine_kwargs
else:
    # Not in _compat, which every operator imports: this import takes milliseconds.
    try:
        from airflow.sdk.bases.decorator import determine_kwargs
    except ImportError:  # until Airflow 3.1
        from airflow.utils.operator_helpers import determine_kwargs


class _FalInvokeDecoratedOperator(DecoratedOperator, FalInvokeOperator):
    """Call a function for the request, once a try, and submit what it returns."""

    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *FalInvokeOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **FalInvokeOperator.template_fields_renderers,
    }
    #: As in any TaskFlow function, an argument is what was passed, and no file that has its name.
    template_ext: Sequence[str] = ()
    custom_operator_name = "@task.fal_invoke"
    overwrite_rtif_after_execution = True

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        model_id: str | XComArg | None = None,
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            model_id=model_id or "",
            input=SET_DURING_EXECUTION,
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        """Ask the function for the request, then do as the operator does."""
        context_merge(context, self.op_kwargs)
        kwargs = determine_kwargs(self.python_callable, self.op_args, context)
        returned = self.python_callable(*self.op_args, **kwargs)
        with failing_for_good():
            self._take(returned)
        return super().execute(context)

    def defer(self, *, kwargs: dict[str, Any] | None = None, **how: Any) -> NoReturn:
        """Defer, and take the request along: the function is not called again."""
        # Its JSON, which is ASCII: a dict would have to be escaped where it has keys that Airflow reserves.
        request = self._request().body().decode()
        super().defer(kwargs=for_airflow({**(kwargs or {}), "request": request}), **how)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume with the request that was submitted."""
        kwargs = dict(next_kwargs or {})
        # dag.test() keeps nothing but the trigger's event.
        if request := kwargs.pop("request", None):
            self._take(object_of(request))
        return super().resume_execution(next_method, kwargs, context)

    def _take(self, returned: Any) -> None:
        """Read what the function returned: a request, an input, or a prompt."""
        if not isinstance(returned, (str, Mapping)):
            raise FalInvokeInputError(
                f"The function of the task {self.task_id!r} returned {returned!r}; nothing was sent. It must return a "
                "prompt, a dict for input, or a request: a dict of model_id, input and tags."
            )
        if not (self.model_id or (isinstance(returned, Mapping) and returned.get("model_id"))):
            raise FalInvokeInputError(
                f"No model_id for the task {self.task_id!r}; nothing was sent. Give it to @task.fal_invoke, or let "
                "the function return it in a request."
            )
        request = InvokeRequest.read(returned, model_id=self.model_id, tags=self.tags)
        self.model_id, self.input = request.model_id, request.input
        self.tags = [tag.model_dump() for tag in request.tags] if request.tags else None


def fal_invoke_task(
    python_callable: Callable[..., Any] | None = None, *, multiple_outputs: bool = False, **kwargs: Any
) -> TaskDecorator:
    """Turn a function into a task that has made what the function says: ``@task.fal_invoke(model_id=…)``.

    The function returns a prompt (for a documented speech model, the text), a dict for ``input``, or a whole request: a
    dict of ``model_id``, ``input`` and ``tags``. It is called once a try, and not again after a deferral. A retry
    compares what it returns then with what was submitted: something else is another request, and another job.

    :param python_callable: the function.
    :param multiple_outputs: whether to push each key of the result as an XCom of its own too.
    :param kwargs: the parameters of :class:`~airflow_provider_falinvoke.operators.falinvoke.FalInvokeOperator` but
        ``input``; ``model_id`` may be left to the function.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=_FalInvokeDecoratedOperator,
        **kwargs,
    )
