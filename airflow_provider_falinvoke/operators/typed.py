"""What the operators with typed parameters share: ``input`` is made of their parameters."""

from __future__ import annotations

import warnings
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError

from airflow_provider_falinvoke.api.inputs import FalInput, input_type
from airflow_provider_falinvoke.api.models import InvokeRequest, object_of, problems_of
from airflow_provider_falinvoke.completion import TEMPLATE_FILES
from airflow_provider_falinvoke.exceptions import FalInvokeInputError
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context, XComArg

    from airflow_provider_falinvoke.operators.falinvoke import _Order


class TypedInputOperator(FalInvokeOperator):
    """An operator whose ``input`` is made of parameters of its own; a subclass says of which.

    A subclass sets an attribute for each of its :attr:`fields` and calls this constructor then. A literal value is
    checked when the DAG is parsed; a template, what comes from another task, and what a mapped task is given, once it
    is rendered: before anything is sent. The rendered ``input`` is what is sent.

    :param further_input: further fields of the model, by name; they pass as they are.
    """

    input: dict[str, Any]
    #: Why ``input`` could not be made of the rendered parameters.
    _wrong: FalInvokeInputError | None = None

    #: The checks of the fields where the model is not a documented one.
    family: ClassVar[type[FalInput]] = FalInput
    #: The model's fields that are parameters, each a template field; None leaves one out.
    fields: ClassVar[tuple[str, ...]] = ()

    template_fields: Sequence[str] = ("further_input", *FalInvokeOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "further_input": "json",
        **FalInvokeOperator.template_fields_renderers,
    }

    def __init__(self, *, further_input: dict[str, Any] | str | XComArg | None = None, **kwargs: Any) -> None:
        self.further_input = further_input
        super().__init__(input={}, **kwargs)
        self.input = self._named()
        # A mapped task is made anew in its run, of values that are rendered: not the time to fail its parsing.
        if not getattr(self, "_BaseOperator__from_mapped", False):
            self._check_literals()

    def compose(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return ``input``, given all fields by name; for a subclass that moves one to where the model takes it."""
        return fields

    def check(self, given: Mapping[str, Any]) -> None:
        """Refuse fields each of which is right by itself.

        :param given: the fields whose values are known; all of them once they are rendered.
        :raises FalInvokeInputError: they do not go together.
        """
        if given.get("sync_mode") is True and self.output_path is None and self.wait_for_completion:
            raise FalInvokeInputError(
                "sync_mode: the file would come inside the reply, from where it cannot go into XCom, and the vendor "
                "does not keep it. Set output_path to save it, or leave sync_mode out."
            )

    def caution(self, model_id: str, given: Container[str]) -> str | None:
        """Return a warning about what is left out, if there is need of one.

        :param given: the names of the fields.
        """
        del model_id, given
        return None

    def _named(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.fields if getattr(self, name) is not None}

    def _made_of(self, further: Any) -> dict[str, Any]:
        named = self._named()
        if not isinstance(further, Mapping):
            raise FalInvokeInputError(f"further_input: it must be a dict, not {further!r}")
        if twice := sorted(named.keys() & further.keys()):
            raise FalInvokeInputError(f"{', '.join(twice)}: given twice, as a parameter and in further_input")
        return self.compose({**further, **named})

    def _check_literals(self) -> None:
        """Check what is known when the DAG is parsed, and let ``input`` show it."""
        all_known = is_literal(self.further_input)
        model_id = self.model_id if isinstance(self.model_id, str) and is_literal(self.model_id) else ""
        try:
            self.input = self._made_of(self._further() if all_known else {})
            known = {name: value for name, value in self.input.items() if is_literal(value)}
            checks = input_type(model_id, self.family)
            unknown = (self.input if all_known else checks.model_fields).keys() - known.keys()
            try:
                checks.model_validate(known)
            except ValidationError as error:
                if problems := problems_of(error, but=unknown):
                    raise FalInvokeInputError(problems) from None
            self.check(known)
        except FalInvokeInputError as error:
            raise FalInvokeInputError(f"Task {self.task_id!r} is wrong: {error.message}") from None
        if all_known and (advice := self.caution(model_id, self.input)):
            warnings.warn(f"Task {self.task_id!r}: {advice}", UserWarning, stacklevel=2)

    def _further(self) -> Any:
        return {} if self.further_input is None else object_of(self.further_input, "further_input")

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: jinja2.Environment,
        seen_oids: set[int],
    ) -> None:
        """Render each parameter once, and make ``input`` of them; Airflow calls this for a mapped task too."""
        rendered_here = [name for name in template_fields if parent is not self or name != "input"]
        super()._do_render_template_fields(parent, rendered_here, context, jinja_env, seen_oids)
        if parent is self:
            try:
                self.input = self._made_of(self._further())
            except FalInvokeInputError as error:
                # Whoever asks for the request hears of it. A task that is resumed does not: its job is paid.
                self.input, self._wrong = {}, error

    def _request(self) -> InvokeRequest:
        if self._wrong is not None:
            raise self._wrong
        return InvokeRequest.build(self.model_id, self.input, self.tags, family=self.family)

    def _order(self, context: Context) -> _Order:
        order = super()._order(context)
        self.check(order.request.input)
        if advice := self.caution(order.request.model_id, order.request.input):
            self.log.warning("%s", advice)
        return order


def is_literal(value: Any) -> bool:
    """Whether a parameter is known when the DAG is parsed: no template, nor a file of one, nor from another task."""
    if isinstance(value, str):
        return not value.endswith(TEMPLATE_FILES) and not any(mark in value for mark in ("{{", "{%", "{#"))
    if isinstance(value, Mapping):
        return all(is_literal(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(is_literal(item) for item in value)
    return value is None or isinstance(value, (bool, int, float))
