"""The label of a mapped task, which Airflow renders once its job is paid, and stores in 250 characters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_falinvoke.api.printable import printable
from airflow_provider_falinvoke.side_effects import not_stopping_the_task

if TYPE_CHECKING:
    from airflow.sdk import Context

#: Characters that Airflow's database has for a label. PostgreSQL refuses a longer one, and the task's end with it
#: (apache/airflow #37798).
LONGEST = 250


class SafeLabel(BaseOperator):
    """A task whose ``map_index_template`` cannot end it, whatever it renders to."""

    def pre_execute(self, context: Any) -> None:
        """Have Airflow's rendering at the end of the task lead to :func:`_label`."""
        super().pre_execute(context)
        if template := context.get("map_index_template"):
            with not_stopping_the_task("The map_index_template stays as it is"):
                environment = self.dag.get_template_env()
                begin, end = environment.variable_start_string, environment.variable_end_string
                context["falinvoke_label"] = lambda: _label(environment, template, context)
                context["map_index_template"] = f"{begin} falinvoke_label() {end}"


def _label(environment: Any, template: str, context: Context) -> str:
    """Return what the template says, on one line and cut to what fits; the index where it cannot be rendered."""
    from jinja2.nativetypes import NativeEnvironment

    label = str(context["ti"].map_index)
    with not_stopping_the_task("The map_index_template cannot be rendered"):
        label = printable(environment.from_string(template).render(context), LONGEST) or label
    # A native environment takes a text for a literal: 1984 for a number, of which Airflow wants the length.
    return repr(label) if isinstance(environment, NativeEnvironment) else label
