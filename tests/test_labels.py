"""A mapped task's label is rendered after its job is paid, and may not end it."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_falinvoke.labels import LONGEST
from airflow_provider_falinvoke.operators.batch import FalInvokeBatchOperator
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator
from airflow_provider_falinvoke.operators.speech import FalSpeechOperator
from airflow_provider_falinvoke.sensors.falinvoke import FalInvokeSensor
from tests.support.execution import Context


def rendered(task: Any, dag: DAG, template: str, **known: Any) -> Any:
    """Return the label as Airflow renders it once a task returned."""
    context = Context()
    context.update(map_index_template=template, task=task)
    context.map_index = 3
    task.pre_execute(context)
    context.update(known)  # by the task, while it ran
    return dag.get_template_env().from_string(context["map_index_template"]).render(context)


@pytest.fixture(params=[{}, {"render_template_as_native_obj": True}], ids=["text", "native"])
def dag(request: pytest.FixtureRequest) -> DAG:
    return DAG("labelled", schedule=None, **request.param)


@pytest.mark.parametrize(
    ("prompt", "label"),
    [
        ("a fox", "a fox"),
        ("1984", "1984"),
        ("x" * 250, "x" * 250),
        ("é" * 300, "é" * 249 + "…"),
        ("a\nfox", "a fox"),
        ("{{ nothing.more }}", "{{ nothing.more }}"),
        ('it\'s "quoted"', 'it\'s "quoted"'),
        ("", "3"),
    ],
)
def test_a_label_is_a_text_of_one_line_that_airflows_database_has_room_for(prompt: str, label: str, dag: DAG) -> None:
    task = FalInvokeOperator(task_id="draw", model_id="m", input={"prompt": prompt}, dag=dag)
    assert rendered(task, dag, "{{ task.input['prompt'] }}") == label
    assert len(label) <= LONGEST


def test_a_label_knows_what_the_task_put_into_its_context_while_it_ran(dag: DAG) -> None:
    task = FalInvokeOperator(task_id="draw", model_id="m", input={}, dag=dag)
    assert rendered(task, dag, "{{ seen }}", seen="later") == "later"


@pytest.mark.parametrize("template", ["{{ task.input.no.such }}", "{{ 1 / 0 }}", "{% if %}", "{{ undefined() }}"])
def test_one_that_cannot_be_rendered_is_the_index_and_is_said(
    template: str, dag: DAG, caplog: pytest.LogCaptureFixture
) -> None:
    task = FalInvokeOperator(task_id="draw", model_id="m", input={}, dag=dag)
    assert rendered(task, dag, template) == "3"
    assert "The map_index_template cannot be rendered" in caplog.text


def test_every_task_of_ours_has_it(dag: DAG) -> None:
    long = "{{ 'x' * 999 }}"
    for task in (
        FalInvokeSensor(task_id="a", request_id="r", dag=dag),
        FalInvokeBatchOperator(task_id="b", model_id="m", inputs=["x"], output_path="file:///tmp", dag=dag),
        FalSpeechOperator(task_id="c", text="x", dag=dag),
    ):
        assert len(rendered(task, dag, long)) == LONGEST


def test_a_task_without_a_template_gets_none(dag: DAG) -> None:
    context = Context()
    FalInvokeOperator(task_id="draw", model_id="m", input={}, dag=dag).pre_execute(context)
    assert list(context) == ["ti"]
