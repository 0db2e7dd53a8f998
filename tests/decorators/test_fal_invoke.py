"""``@task.fal_invoke`` in real Airflow: what a function returns is what is made, once."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import airflow
import pytest
from airflow.sdk import Asset, task

from airflow_provider_falinvoke._compat import AirflowFailException
from airflow_provider_falinvoke.api.schedule import PollSchedule
from airflow_provider_falinvoke.decorators.falinvoke import _FalInvokeDecoratedOperator
from airflow_provider_falinvoke.emulator import Emulator, Fault
from tests.support.dags import Ran, run_tasks
from tests.support.execution import Context
from tests.support.metadata import asset_events, rendered_fields

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_deferral")

FAST, SHORT = "fal-ai/flux/schnell", "fal-ai/fast-sdxl"
SPEECH = "fal-ai/elevenlabs/tts/multilingual-v2"
SMALL = {"image_size": {"width": 32, "height": 32}}
AIRFLOW = tuple(int(part) for part in airflow.__version__.split(".")[:2])
ROOT = Path(__file__).parent.parent.parent


def run(returns: Any, **parameters: Any) -> Ran:
    """Run a function that returns this, as the task ``made``."""

    def build() -> None:
        def made() -> Any:
            return returns() if callable(returns) else returns

        task.fal_invoke(**{"model_id": FAST, "poll_interval": 0.1, **parameters})(made)()

    return run_tasks(build)


@pytest.mark.parametrize(
    ("model_id", "returned", "asked"),
    [
        (FAST, "a fox", {"prompt": "a fox"}),
        ("fal-ai/flux/schnell ", "a fox", {"prompt": "a fox"}),
        (SPEECH, "Good morning.", {"text": "Good morning."}),
        (FAST, {"prompt": "a fox", **SMALL}, {"prompt": "a fox", **SMALL}),
        (FAST, {"prompt": "a fox", "input": "with a field of that name"}, None),
        (FAST, "a fox {{ 1 / 0 }}", {"prompt": "a fox {{ 1 / 0 }}"}),
    ],
    ids=["prompt", "padded model", "text", "input", "a field input", "no template"],
)
def test_a_prompt_or_an_input_is_sent(model_id: str, returned: Any, asked: Any, emulator: Emulator) -> None:
    ran = run(returned, model_id=model_id)
    assert ran.state == "success", ran.errors
    (job,) = emulator.jobs.values()
    assert (job.model_id, job.input) == (model_id.strip(), asked or returned)
    assert ran.results["made"]["request_id"] == job.request_id


@pytest.mark.parametrize("given", [{}, {"model_id": SHORT, "tags": {"from": "the decorator"}}], ids=["alone", "beside"])
def test_a_whole_request_wins_over_the_decorators_parameters(given: dict[str, Any], emulator: Emulator) -> None:
    request = {"model_id": SPEECH, "input": {"text": "Good morning."}, "tags": {"from": "the function"}}
    ran = run(request, **{"model_id": None, **given})
    assert ran.state == "success", ran.errors
    (job,) = emulator.jobs.values()
    assert (job.model_id, job.input, job.tags) == (
        SPEECH,
        request["input"],
        [{"key": "from", "value": "the function"}],
    )


def test_a_request_may_leave_the_model_and_the_tags_to_the_decorator(emulator: Emulator) -> None:
    run({"input": {"prompt": "a fox"}}, tags={"from": "the decorator"})
    run({"model_id": SPEECH, "input": "Good morning."})
    run({"model_id": SPEECH, "input": '{"text": "Good night."}'})
    first, second, third = emulator.jobs.values()
    assert (first.model_id, first.input, first.tags) == (
        FAST,
        {"prompt": "a fox"},
        [{"key": "from", "value": "the decorator"}],
    )
    assert (second.model_id, second.input) == (SPEECH, {"text": "Good morning."})
    assert (third.model_id, third.input) == (SPEECH, {"text": "Good night."})


@pytest.mark.parametrize(
    ("returned", "model_id", "says"),
    [
        (None, FAST, "returned None; nothing was sent"),
        (7, FAST, "returned 7; nothing was sent"),
        (["a fox"], FAST, "must return a prompt"),
        ("", FAST, "input.prompt"),
        ({"num_images": 0, "prompt": "x"}, FAST, "input.num_images"),
        ("a fox", None, "No model_id for the task 'made'"),
        ({"model_id": "", "input": {"prompt": "x"}}, None, "No model_id"),
    ],
)
def test_what_makes_no_request_fails_for_good_and_nothing_is_sent(
    returned: Any, model_id: str | None, says: str, emulator: Emulator
) -> None:
    ran = run(returned, model_id=model_id, retries=2)
    assert ran.state == "failed"
    assert isinstance(ran.errors["made"], AirflowFailException)
    assert says in str(ran.errors["made"])
    assert emulator.requests == []


def test_a_function_that_fails_is_retried_and_nothing_is_sent_before(emulator: Emulator) -> None:
    calls = itertools.count(1)

    def fails_once() -> str:
        if next(calls) == 1:
            raise OSError("the catalogue is closed")
        return "a fox"

    ran = run(fails_once, retries=1)
    assert (ran.state, ran.tries["made"]) == ("success", 2)
    assert len(emulator.posts()) == 1


def test_arguments_and_parameters_are_rendered_and_the_context_is_given(emulator: Emulator, tmp_path: Path) -> None:
    def build() -> None:
        @task
        def animal() -> str:
            return "fox"

        @task.fal_invoke(
            model_id="fal-ai/{{ 'flux' }}/schnell",
            output_path=f"{tmp_path.as_uri()}/{{{{ ti.task_id }}}}",
            tags={"run": "{{ 'x' * 3 }}"},
        )
        def made(kind: Any, *, place: str, ti: Any = None) -> dict[str, Any]:
            return {"prompt": f"a {kind} in {place} for {ti.task_id}", **SMALL}

        made(animal(), place="{{ 'the ' ~ 'snow' }}")

    ran = run_tasks(build)
    assert ran.state == "success", ran.errors
    (job,) = emulator.jobs.values()
    assert job.input["prompt"] == "a fox in the snow for made"
    assert job.tags == [{"key": "run", "value": "xxx"}]
    (file,) = ran.results["made"]["files"]
    assert Path(file["path"].removeprefix("file://")).is_relative_to(tmp_path / "made")
    assert set(ran.results["made"]) >= {"request_id", "files", "estimated_cost"}, "annotated as a dict, and yet whole"


def test_it_maps(emulator: Emulator) -> None:
    def build() -> None:
        @task
        def animals() -> list[str]:
            return ["fox", "owl", "elk"]

        @task.fal_invoke(model_id=FAST)
        def made(kind: str, place: str) -> str:
            return f"a {kind} in {place}"

        made.partial(place="the snow").expand(kind=animals())

    ran = run_tasks(build)
    assert ran.state == "success", ran.errors
    asked = {result["request_id"]: result["output"]["prompt"] for result in ran.results.values() if "output" in result}
    assert sorted(asked.values()) == ["a elk in the snow", "a fox in the snow", "a owl in the snow"]
    assert set(asked) == set(emulator.jobs)


def test_after_a_deferral_the_function_is_not_called_again(emulator: Emulator) -> None:
    calls: list[int] = []

    def once() -> str:
        calls.append(1)
        return f"fox number {len(calls)}"

    picture = Asset("drawn_by_a_function")
    ran = run(once, model_id=SHORT, defer_after=0, outlets=[picture])
    assert ran.state == "success", ran.errors
    assert len(ran.deferred) == len(calls) == len(emulator.posts()) == 1
    ((_, extra),) = asset_events(asset=picture)
    assert extra["request_id"] == ran.results["made"]["request_id"]


class Deferred(Exception):
    """Stands for Airflow's own, and holds what it would keep."""


def test_the_request_comes_back_from_a_deferral(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """``dag.test()`` keeps nothing but the trigger's event, so this hands over by itself what a scheduler keeps."""

    def keep(_: Any, *, kwargs: dict[str, Any], **__: Any) -> None:
        raise Deferred(kwargs)

    def made() -> dict[str, Any]:
        fields = {"prompt": "a fox", "num_images": "2", "__type": {"__id__": 1}}  # keys that Airflow reserves
        return {"model_id": SHORT, "input": fields, "tags": {"a": "b"}}

    def build() -> _FalInvokeDecoratedOperator:
        prices = {SHORT: {"per_image": 0.5}}
        return _FalInvokeDecoratedOperator(task_id="made", python_callable=made, prices=prices, defer_after=0)

    monkeypatch.setattr("airflow.sdk.BaseOperator.defer", keep)
    first, second, context = build(), build(), Context()
    with pytest.raises(Deferred) as deferred:
        first.execute(context)  # type: ignore[arg-type]  # a context of the test's
    (kept,) = deferred.value.args
    fields = {"prompt": "a fox", "num_images": 2, "__type": {"__id__": 1}}
    request = {"model_id": SHORT, "input": fields, "tags": [{"key": "a", "value": "b"}]}
    assert kept["request_id"] in emulator.jobs
    assert json.loads(kept["request"]) == request

    event = {"status": "completed", "request_id": kept["request_id"]}
    second.hook.wait(kept["request_id"], schedule=PollSchedule.of(0.05, 1))
    result = second.resume_execution("execute_complete", {**kept, "event": event}, context)  # type: ignore[arg-type]  # a test's context
    assert result["estimated_cost"] == 1.0
    assert {"model_id": second.model_id, "input": second.input, "tags": second.tags} == request
    assert len(emulator.posts()) == 1


remembers = pytest.mark.skipif(AIRFLOW < (3, 3), reason="the task state store came with Airflow 3.3")


@remembers
@pytest.mark.parametrize(("another", "posts"), [(False, 1), (True, 2)], ids=["the same", "another"])
def test_a_retry_asks_the_function_anew_and_compares(
    another: bool, posts: int, emulator: Emulator, tmp_path: Path
) -> None:
    """The same answer takes the job up that is paid; another one is another request, and another job."""
    calls = itertools.count(1)

    def answer() -> str:
        number = next(calls)
        return f"fox number {number if another else 1}"

    emulator.add_fault(Fault("answer", on="media", status=410))
    ran = run(answer, retries=1, output_path=tmp_path.as_uri())
    assert (ran.state, ran.tries["made"]) == ("success", 2)
    assert (next(calls) - 1, len(emulator.posts())) == (2, posts)


def test_the_rendered_view_shows_what_was_sent(emulator: Emulator) -> None:
    def build() -> None:
        @task.fal_invoke(model_id=FAST)
        def shown_in_the_view() -> str:
            return "a fox"

        shown_in_the_view()

    assert run_tasks(build).state == "success"
    assert rendered_fields("shown_in_the_view")["input"] == {"prompt": "a fox"}
    assert len(emulator.posts()) == 1


SNIPPET = """
from typing import Any

from airflow.sdk import DAG, task

with DAG("decorated"):

    @task
    def idea() -> str:
        return "a fox"

    @task.fal_invoke(model_id="fal-ai/flux/schnell", output_path="/tmp/out", retries=2)
    def draw(kind: Any, place: str = "the snow") -> dict[str, Any]:
        return {"prompt": f"{kind} in {place}"}

    @task.fal_invoke
    def whole() -> dict[str, Any]:
        return {"model_id": "fal-ai/flux/schnell", "input": {"prompt": "a fox"}}

    draw(idea()) >> whole()
    draw.partial(place="rain").expand(kind=["a fox", "an owl"])
    draw.override(task_id="again")("an elk")
    draw.expand(3)  # wrong
"""


def test_mypy_takes_it_in_a_dag_file(tmp_path: Path) -> None:
    dag_file = tmp_path / "decorated_dag.py"
    dag_file.write_text(SNIPPET)
    command = [sys.executable, "-m", "mypy", str(dag_file)]  # as make lint does, so that its cache serves here
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    wrong = [number for number, line in enumerate(SNIPPET.split("\n"), start=1) if line.endswith("# wrong")]
    seen = [int(number) for number in re.findall(r"decorated_dag\.py:(\d+): error", done.stdout)]
    assert seen == wrong, done.stdout + done.stderr
