"""Values as users pass them: paths, empty params, files of templates, lazy lists; a slip is told before the payment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath, Param, task

from airflow_provider_falinvoke.decorators.falinvoke import fal_invoke_task
from airflow_provider_falinvoke.emulator import Emulator
from airflow_provider_falinvoke.exceptions import FalInvokeInputError
from airflow_provider_falinvoke.operators.batch import FalInvokeBatchOperator
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator
from airflow_provider_falinvoke.operators.image import FalImageOperator
from airflow_provider_falinvoke.operators.speech import FalSpeechOperator
from airflow_provider_falinvoke.sensors.falinvoke import FalInvokeSensor
from tests.support.dags import Ran, run_tasks

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_deferral")
INSTANT = "fal-ai/flux/schnell"
NATIVE = {"render_template_as_native_obj": True}


def make(**parameters: Any) -> Any:
    return FalInvokeOperator(**{"task_id": "make", "model_id": INSTANT, "input": {"prompt": "x"}, **parameters})


def prompts_of(emulator: Emulator) -> list[str]:
    return [job.input.get("prompt") or job.input["text"] for job in emulator.jobs.values()]


def refused(ran: Ran, emulator: Emulator, words: str) -> None:
    assert ran.state == "failed"
    assert words in str(ran.errors["make"])
    assert emulator.posts() == []


@pytest.mark.parametrize("kind", [Path, lambda path: ObjectStoragePath(Path(path).as_uri())], ids=["Path", "Airflow's"])
def test_a_folder_may_be_a_path_and_is_rendered(kind: Callable[[str], Any], emulator: Emulator, tmp_path: Path) -> None:
    folder = kind(str(tmp_path)) / "{{ dag.dag_id }}"

    def build() -> None:
        submit = make(task_id="submit", wait_for_completion=False)
        make(output_path=folder / "one")
        FalInvokeSensor(task_id="wait", request_id=submit.output, output_path=folder / "two")
        FalInvokeBatchOperator(task_id="all", model_id=INSTANT, inputs=["a", "b"], output_path=folder / "three")
        mapped = FalInvokeOperator.partial(task_id="each", model_id=INSTANT, output_path=folder / "four")
        mapped.expand(input=[{"prompt": "y"}])

    ran = run_tasks(build)
    assert ran.state == "success", ran.errors
    (dag_folder,) = tmp_path.iterdir()
    assert dag_folder.name.startswith("test_")
    pictures = [path.relative_to(dag_folder).parts[0] for path in dag_folder.rglob("*.png")]
    assert sorted(pictures) == ["four", "one", "three", "three", "two"]


def test_the_inputs_of_a_batch_may_be_a_path(emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')

    def build() -> None:
        given: dict[str, Any] = {"inputs": tmp_path / "{{ 'prompts' }}.jsonl", "output_path": tmp_path / "out"}
        FalInvokeBatchOperator(task_id="make", model_id=INSTANT, **given)

    ran = run_tasks(build)
    assert ran.state == "success", ran.errors
    assert sorted(prompts_of(emulator)) == ["a", "b"]


@pytest.mark.parametrize(
    "folder", ["{{ params.folder }}", "{{ params.folder }}/pictures", "file:///tmp/{{ params.folder }}"]
)
@pytest.mark.parametrize("native", [False, True])
def test_a_folder_without_a_value_is_refused_before_anything_is_sent(
    native: bool, folder: str, emulator: Emulator
) -> None:
    params = {"folder": Param(None, type=["null", "string"])}
    ran = run_tasks(
        lambda: make(output_path=folder), dag_args={"params": params, "render_template_as_native_obj": native}
    )
    refused(ran, emulator, "output_path")


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    "build",
    [
        lambda said: make(input={"prompt": said}),
        lambda said: FalImageOperator(task_id="make", prompt=said),
        lambda said: FalSpeechOperator(task_id="make", text=said),
        lambda said: FalInvokeBatchOperator(task_id="make", model_id=INSTANT, inputs=[said], output_path="/tmp/x"),
    ],
    ids=["input", "image", "speech", "batch"],
)
def test_a_prompt_without_a_value_is_refused_before_anything_is_sent(
    build: Callable[[str], Any], native: bool, emulator: Emulator
) -> None:
    params = {"said": Param(None, type=["null", "string"])}
    dag_args = {"params": params, "render_template_as_native_obj": native}
    ran = run_tasks(lambda: build("{{ params.said }}"), dag_args=dag_args)
    refused(ran, emulator, "" if native else "its template may have no value")


@pytest.mark.parametrize("folder", ["pictures", "~/pictures", "s3:/bucket/key", "{{ 'pictures' }}/one"])
def test_a_folder_that_depends_on_where_the_worker_was_started_is_refused(folder: str, emulator: Emulator) -> None:
    """Where the journal of a batch is not found again, a retry would pay for all of it again."""
    refused(run_tasks(lambda: make(output_path=folder)), emulator, "Begin it with a slash")
    batch: dict[str, Any] = {"model_id": INSTANT, "inputs": ["a"], "output_path": folder}
    refused(run_tasks(lambda: FalInvokeBatchOperator(task_id="make", **batch)), emulator, "Begin it with a slash")


def test_what_mapped_tasks_returned_is_a_list_of_the_input(emulator: Emulator) -> None:
    def build() -> None:
        @task
        def upload(name: str) -> str:
            return f"https://files.example/{name}"

        urls = upload.expand(name=["a.png", "b.png"])
        make(input={"prompt": "x", "image_urls": urls})

    ran = run_tasks(build)
    assert ran.state == "success", ran.errors
    (job,) = emulator.jobs.values()
    assert job.input["image_urls"] == ["https://files.example/a.png", "https://files.example/b.png"]


def test_a_number_for_a_prompt_is_text_where_templates_are_native(emulator: Emulator, tmp_path: Path) -> None:
    def build() -> None:
        make(input={"prompt": "{{ '1984' }}"})
        FalImageOperator(task_id="image", prompt="{{ '1985' }}")
        FalInvokeBatchOperator(task_id="all", model_id=INSTANT, inputs=["{{ '1986' }}"], output_path=tmp_path.as_uri())

    ran = run_tasks(build, dag_args=NATIVE)
    assert ran.state == "success", ran.errors
    assert sorted(prompts_of(emulator)) == ["1984", "1985", "1986"]


@pytest.fixture
def templates(tmp_path: Path) -> dict[str, Any]:
    """Return the DAG's arguments that lead to a folder of templates."""
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "hero.j2").write_text("A hero of {{ dag.dag_id[:4] }}")
    (folder / "speech.jinja2").write_text("Good morning, {{ dag.dag_id[:4] }}.")
    return {"template_searchpath": str(folder)}


def test_a_file_of_a_template_is_rendered_wherever_a_literal_names_it(
    templates: dict[str, Any], emulator: Emulator, tmp_path: Path
) -> None:
    output = tmp_path.as_uri()

    def build() -> None:
        make(input={"prompt": "hero.j2"})
        FalImageOperator(task_id="image", prompt="hero.j2")
        FalSpeechOperator(task_id="say", text="speech.jinja2")
        FalInvokeBatchOperator(task_id="texts", model_id=INSTANT, inputs=["hero.j2"], output_path=output)
        inputs = [{"prompt": "hero.j2", "num_images": 2}]
        FalInvokeBatchOperator(task_id="dicts", model_id=INSTANT, inputs=inputs, output_path=output)

    ran = run_tasks(build, dag_args=templates)
    assert ran.state == "success", ran.errors
    assert sorted(prompts_of(emulator)) == ["A hero of test"] * 4 + ["Good morning, test."]


def test_what_another_task_returned_or_a_template_made_names_no_file(
    templates: dict[str, Any], emulator: Emulator
) -> None:
    def build() -> None:
        @task
        def name() -> str:
            return "hero.j2"

        @task
        def fields() -> dict[str, str]:
            return {"prompt": "hero.j2"}

        @task
        def many() -> list[dict[str, str]]:
            return [{"prompt": "hero.j2"}]

        FalImageOperator(task_id="image", prompt=name())
        make(input=fields())
        make(task_id="nested", input={"prompt": name.override(task_id="again")()})
        make(task_id="template", input={"prompt": "{{ 'hero' + '.j2' }}"})
        FalInvokeOperator.partial(task_id="mapped", model_id=INSTANT).expand(input=many())

        @fal_invoke_task(model_id=INSTANT)
        def decorated(said: str) -> str:
            return said

        decorated("hero.j2")

    ran = run_tasks(build, dag_args=templates)
    assert ran.state == "success", ran.errors
    assert prompts_of(emulator) == ["hero.j2"] * 6


@pytest.mark.parametrize(
    "build",
    [
        lambda: make(input={"prompt": "missing.j2"}),
        lambda: FalImageOperator(task_id="make", prompt="missing.j2"),
        lambda: FalInvokeBatchOperator(task_id="make", model_id=INSTANT, inputs=["missing.j2"], output_path="/tmp/x"),
    ],
    ids=["input", "typed", "batch"],
)
def test_a_file_that_is_missing_is_an_error_before_anything_is_sent(
    build: Callable[[], Any], templates: dict[str, Any], emulator: Emulator
) -> None:
    refused(run_tasks(build, dag_args=templates), emulator, "missing.j2")


def test_outputs_of_a_task_that_returns_a_text_are_refused_when_the_dag_is_parsed() -> None:
    with pytest.raises(FalInvokeInputError, match="multiple_outputs"):
        make(multiple_outputs=True, wait_for_completion=False)
    with pytest.raises(FalInvokeInputError, match="multiple_outputs"):

        @fal_invoke_task(model_id=INSTANT, multiple_outputs=True, wait_for_completion=False)
        def draw() -> str:
            return "x"

        draw()


def test_each_entry_of_a_result_may_be_an_output(emulator: Emulator) -> None:
    def build() -> None:
        make(multiple_outputs=True)

    ran = run_tasks(build)
    assert ran.state == "success", ran.errors
