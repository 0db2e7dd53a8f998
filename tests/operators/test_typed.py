"""The operators with typed parameters: what is wrong is found as early as it can be known, before anything is sent."""

from __future__ import annotations

import inspect
import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke._compat import AirflowFailException
from airflow_provider_falinvoke.api.inputs import SIZE_NAMES, FalInput
from airflow_provider_falinvoke.emulator import Emulator
from airflow_provider_falinvoke.exceptions import FalInvokeInputError
from airflow_provider_falinvoke.operators.audio import FalAudioOperator
from airflow_provider_falinvoke.operators.image import FalImageOperator
from airflow_provider_falinvoke.operators.speech import FalSpeechOperator
from airflow_provider_falinvoke.operators.typed import TypedInputOperator, is_literal
from tests.support.dags import run_tasks
from tests.support.execution import Context, execute
from tests.support.metadata import rendered_fields

IMAGE, AUDIO, SPEECH = FalImageOperator, FalAudioOperator, FalSpeechOperator
OPERATORS: list[type[TypedInputOperator]] = [IMAGE, AUDIO, SPEECH]
SHORT = "fal-ai/fast-sdxl"
SMALL = {"width": 32, "height": 32}
ROOT = Path(__file__).parent.parent.parent

#: What each takes at the least, so that nothing is warned of.
LEAST: dict[type[TypedInputOperator], dict[str, Any]] = {
    IMAGE: {"prompt": "a fox"},
    AUDIO: {"prompt": "rain", "seconds_total": 1},
    SPEECH: {"text": "Good morning."},
}

#: The operator, a parameter that is wrong, and what the error says.
MISTAKES: list[tuple[type[TypedInputOperator], dict[str, Any], str]] = [
    (IMAGE, {"num_images": 0}, "num_images: Input should be greater than or equal to 1 .got '0'."),
    (IMAGE, {"num_images": True}, "num_images: .*not a boolean"),
    (IMAGE, {"num_images": 1.5}, "num_images: .*integer"),
    (IMAGE, {"prompt": ""}, "prompt: .*at least 1 character"),
    (IMAGE, {"prompt": None}, "prompt: Field required"),
    (IMAGE, {"num_inference_steps": 13}, "num_inference_steps: .*less than or equal to 12"),
    (IMAGE, {"seed": "seven"}, "seed: .*integer"),
    (IMAGE, {"guidance_scale": "a lot"}, "guidance_scale: .*number"),
    (IMAGE, {"image_size": "landscape"}, "image_size.*'landscape_4_3'"),
    (IMAGE, {"image_size": {"width": 0, "height": 8}}, "image_size.*width"),
    (IMAGE, {"image_size": {"width": 8}}, "image_size.*height"),
    (IMAGE, {"enable_safety_checker": "perhaps"}, "enable_safety_checker: .*boolean"),
    (IMAGE, {"output_format": "square", "image_size": "square"}, "output_format: .*image_size is given too"),
    (IMAGE, {"sync_mode": True}, "sync_mode: .*Set output_path"),
    (IMAGE, {"further_input": {"sync_mode": True}}, "sync_mode: .*Set output_path"),
    (IMAGE, {"further_input": ["loras"]}, "further_input: it must be a dict"),
    (AUDIO, {"seconds_total": 0}, "seconds_total: .*greater than or equal to 1"),
    (AUDIO, {"seconds_total": 10.5}, "seconds_total: .*integer"),
    (AUDIO, {"sync_mode": True}, "sync_mode: .*Set output_path"),
    (SPEECH, {"text": ""}, "text: .*at least 1 character"),
    (SPEECH, {"speed": 0}, "speed: .*greater than 0"),
    (SPEECH, {"stability": 1.1}, "stability: .*less than or equal to 1"),
    (SPEECH, {"similarity_boost": -0.1}, "similarity_boost: .*greater than or equal to 0"),
    (SPEECH, {"voice": ""}, "voice: .*at least 1 character"),
    (IMAGE, {"num_images": 2, "further_input": {"num_images": 2}}, "num_images: given twice"),
    (AUDIO, {"seconds_total": 3, "further_input": {"seconds_total": 4}}, "seconds_total: given twice"),
    (SPEECH, {"voice": "Aria", "further_input": {"voice": "Aria"}}, "voice: given twice"),
]


def can_be_rendered(changes: dict[str, Any]) -> bool:
    """Whether the mistakes stay mistakes, the same ones, when a template yields them as texts."""
    return all(isinstance(value, (str, int, float)) and value is not True for value in changes.values())


def make(cls: type[TypedInputOperator], **changes: Any) -> TypedInputOperator:
    return cls(**{"task_id": "make_it", **LEAST[cls], **changes})


_names = (f"made_{number}" for number in itertools.count(1))


@pytest.mark.parametrize(("cls", "changes", "says"), MISTAKES)
def test_a_literal_mistake_fails_the_parsing_and_names_the_task_and_the_field(
    cls: type[TypedInputOperator], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(FalInvokeInputError, match=f"Task 'make_it' is wrong: .*{says}"):
        make(cls, **changes)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(FalInvokeInputError, match=r"prompt.*num_images.*seed"):
        make(IMAGE, prompt="", num_images=-1, seed=0.5)


@pytest.mark.parametrize("value", ["{{ params.n }}", "{% if 1 %}0{% endif %}", "{# none #}0"])
@pytest.mark.parametrize(("cls", "name"), [(IMAGE, "num_images"), (AUDIO, "seconds_total"), (SPEECH, "speed")])
def test_a_template_is_not_judged_before_it_is_rendered(cls: type[TypedInputOperator], name: str, value: str) -> None:
    assert make(cls, **{name: value}).input[name] == value


def test_what_comes_from_another_task_is_not_judged_before_it_came() -> None:
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG

    with DAG("from_another", schedule=None):
        before = EmptyOperator(task_id="before")
        one = make(IMAGE, prompt=before.output, num_images=before.output, further_input=before.output)
    assert one.upstream_task_ids == {"before"}


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ("a fox", True),
        ("{{ ds }}", False),
        ({"width": 8, "height": [1, 2.5, True, None]}, True),
        ({"width": "{{ params.w }}"}, False),
        (("a", ["{% raw %}"]), False),
        (object(), False),
        (lambda context, jinja_env: 1, False),
    ],
)
def test_only_what_can_be_known_counts_as_literal(value: Any, literal: bool) -> None:
    assert is_literal(value) is literal


def test_a_literal_mistake_beside_a_template_is_found() -> None:
    with pytest.raises(FalInvokeInputError, match="num_images"):
        make(IMAGE, prompt="{{ ds }}", num_images=0)
    with pytest.raises(FalInvokeInputError, match="num_images"):
        make(IMAGE, num_images=0, further_input="{{ params | tojson }}")
    with pytest.raises(FalInvokeInputError, match="num_images"):
        make(IMAGE, num_images=0, model_id="{{ params.model }}")


def test_what_is_not_given_is_left_out() -> None:
    for cls in OPERATORS:
        assert make(cls).input == LEAST[cls]
    assert make(IMAGE, seed=0, enable_safety_checker=False).input == {
        "prompt": "a fox",
        "seed": 0,
        "enable_safety_checker": False,
    }


@pytest.mark.parametrize("cls", OPERATORS)
def test_each_field_of_the_family_is_a_parameter_and_each_parameter_is_rendered(cls: type[TypedInputOperator]) -> None:
    parameters = set(inspect.signature(cls).parameters) - {"kwargs"}
    assert set(cls.family.model_fields) - set(FalInput.model_fields) <= parameters
    assert parameters <= set(cls.template_fields)
    assert set(cls.fields) == parameters - {"model_id", "further_input", "max_characters"}
    documented = set(re.findall(r":param (\w+):", cls.__doc__ or ""))
    assert documented == parameters


def test_the_parameters_that_are_not_fields_stay_those_of_the_operator(tmp_path: Path) -> None:
    one = make(IMAGE, output_path=tmp_path.as_uri(), timeout=60, tags={"a": "b"}, retries=3)
    assert (one.output_path, one.timeout, one.tags, one.retries) == (tmp_path.as_uri(), 60, {"a": "b"}, 3)


@pytest.mark.parametrize("word", SIZE_NAMES)
def test_a_pictures_size_in_the_output_format_goes_where_the_model_takes_it(word: str) -> None:
    """The vendor's samples have it in ``output_format``, where fal's models look for jpeg or png."""
    assert make(IMAGE, output_format=word).input == {"prompt": "a fox", "image_size": word}
    assert make(IMAGE, output_format="png").input == {"prompt": "a fox", "output_format": "png"}


def test_an_undocumented_model_takes_other_words_and_its_fields_are_still_typed(
    emulator: Emulator,
) -> None:
    one = make(IMAGE, model_id="fal-ai/flux/slow", image_size="4k", seed="7", wait_for_completion=False)
    execute(one, Context())
    (job,) = emulator.jobs.values()
    assert job.input == {"prompt": "a fox", "image_size": "4k", "seed": 7}
    with pytest.raises(FalInvokeInputError, match="seed"):
        make(IMAGE, model_id="fal-ai/flux/slow", seed="x")


class TestAudioWithoutALength:
    def test_it_is_warned_of_when_the_dag_is_parsed(self) -> None:
        with pytest.warns(UserWarning, match=r"Task 'play': seconds_total is not given, .* 190 seconds .* paid"):
            FalAudioOperator(task_id="play", prompt="rain")

    @pytest.mark.parametrize(
        "given",
        [
            {"seconds_total": 190},
            {"seconds_total": "{{ params.seconds }}"},
            {"further_input": {"seconds_total": 5}},
            {"further_input": "{{ params.further | tojson }}"},
            {"model_id": "fal-ai/someone-elses/music"},
        ],
        ids=str,
    )
    def test_it_is_not_where_the_length_is_or_may_be_said(self, given: dict[str, Any]) -> None:
        FalAudioOperator(task_id="play", prompt="rain", **given)

    def test_the_tasks_log_says_it_before_anything_is_sent(
        self, emulator: Emulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise ConnectionError("sent")

        monkeypatch.setattr("airflow_provider_falinvoke.hooks.falinvoke.FalInvokeHook.submit_request", refuse)
        with pytest.warns(UserWarning, match="190"), pytest.raises(ConnectionError):
            execute(FalAudioOperator(task_id="play", prompt="rain"), Context())
        assert "makes 190 seconds of audio" in capsys.readouterr().out
        assert emulator.requests == []


@pytest.mark.usefixtures("airflow_db", "quick_deferral")
class TestInAirflow:
    def test_every_field_is_rendered_once_and_input_shows_what_is_sent(self, emulator: Emulator) -> None:
        name = next(_names)

        def build() -> None:
            from airflow.sdk import task

            @task
            def idea() -> str:
                """Return what looks like a template, and is none."""
                return "a fox {{ 1 / 0 }}"

            FalImageOperator(
                task_id=name,
                prompt=idea(),
                image_size={"width": "{{ 8 * 4 }}", "height": 32},
                num_images="{{ 1 + 1 }}",
                seed="{{ 7 }}",
                guidance_scale="{{ 2.5 }}",
                output_format="{{ 'png' }}",
                enable_safety_checker="{{ true }}",
                further_input={"acceleration": "{{ 'none' }}"},
                model_id="fal-ai/flux/{{ 'schnell' }}",
            )

        ran = run_tasks(build)
        assert ran.state == "success", ran.errors
        (job,) = emulator.jobs.values()
        assert job.model_id == "fal-ai/flux/schnell"
        assert job.input == {
            "prompt": "a fox {{ 1 / 0 }}",
            "image_size": SMALL,
            "num_images": 2,
            "seed": 7,
            "guidance_scale": 2.5,
            "output_format": "png",
            "enable_safety_checker": True,
            "acceleration": "none",
        }
        shown = rendered_fields(name)
        assert shown["input"]["prompt"] == shown["prompt"] == job.input["prompt"]
        assert shown["input"]["num_images"] == shown["num_images"] == "2"
        assert shown["input"]["acceleration"] == shown["further_input"]["acceleration"] == "none"

    @pytest.mark.parametrize(("cls", "changes", "says"), [case for case in MISTAKES if can_be_rendered(case[1])])
    def test_a_templated_mistake_fails_for_good_and_nothing_is_sent(
        self, cls: type[TypedInputOperator], changes: dict[str, Any], says: str, emulator: Emulator
    ) -> None:
        """Each literal mistake again, as a template that yields it."""
        templated = {name: "{{ " + repr(value) + " }}" for name, value in changes.items()}
        ran = run_tasks(lambda: make(cls, retries=2, **templated))
        assert ran.state == "failed"
        error = ran.errors["make_it"]
        assert isinstance(error, AirflowFailException)
        assert re.search(says.split(":", maxsplit=1)[0], str(error))
        assert emulator.requests == []

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"further_input": "{{ {'num_images': 2} | tojson }}", "num_images": 3}, "num_images: given twice"),
            ({"further_input": "{{ {'sync_mode': true} | tojson }}"}, "Set output_path"),
            ({"further_input": "{{ [1] | tojson }}"}, "further_input: it must be a dict"),
            ({"further_input": "{{ {'a': 1} }}"}, "further_input must be a dict .or its JSON."),
            ({"sync_mode": "{{ true }}"}, "Set output_path"),
            ({"output_format": "{{ 'square' }}", "image_size": "square"}, "image_size is given too"),
        ],
        ids=str,
    )
    def test_what_does_not_go_together_once_it_is_rendered_fails_for_good(
        self, changes: dict[str, Any], says: str, emulator: Emulator
    ) -> None:
        ran = run_tasks(lambda: make(IMAGE, retries=2, **changes))
        assert ran.state == "failed"
        error = ran.errors["make_it"]
        assert isinstance(error, AirflowFailException)
        assert re.search(says, str(error))
        assert emulator.requests == []

    def test_a_rendered_size_goes_where_the_model_takes_it(self, emulator: Emulator) -> None:
        ran = run_tasks(lambda: make(IMAGE, output_format="{{ 'square' }}"))
        assert ran.state == "success", ran.errors
        (job,) = emulator.jobs.values()
        assert job.input == {"prompt": "a fox", "image_size": "square"}
        (image,) = ran.results["make_it"]["output"]["images"]
        assert (image["width"], image["height"]) == (512, 512)

    def test_the_vendors_sample_passes_the_generic_operator_as_it_stands(self, emulator: Emulator) -> None:
        from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator

        sample = {"prompt": "a fox", "output_format": "landscape_4_3"}
        ran = run_tasks(lambda: FalInvokeOperator(task_id="draw", model_id="fal-ai/flux/schnell", input=sample))
        assert ran.state == "success"
        assert [job.input for job in emulator.jobs.values()] == [sample]

    @pytest.mark.parametrize("cls", [IMAGE, AUDIO])
    def test_sync_mode_saves_the_file_that_comes_in_the_reply(
        self, cls: type[TypedInputOperator], emulator: Emulator, tmp_path: Path
    ) -> None:
        ran = run_tasks(lambda: make(cls, sync_mode=True, output_path=tmp_path.as_uri(), poll_interval=0.1))
        assert ran.state == "success", ran.errors
        (file,) = ran.results["make_it"]["files"]
        assert Path(file["path"].removeprefix("file://")).stat().st_size == file["size"] > 1000
        assert not [record for record in emulator.requests if record.route == "media"]

    def test_it_maps_over_any_parameter(self, emulator: Emulator) -> None:
        def build() -> None:
            from airflow.sdk import task

            @task
            def sizes() -> list[dict[str, int]]:
                return [SMALL, {"width": 64, "height": 32}]

            partial = FalImageOperator.partial(task_id="make_it", num_images="{{ 1 }}")
            partial.expand(prompt=["a fox", "an elk"], image_size=sizes())

        ran = run_tasks(build)
        assert ran.state == "success", ran.errors
        asked = [(job.input["prompt"], job.input["image_size"]["width"]) for job in emulator.jobs.values()]
        assert sorted(asked) == [("a fox", 32), ("a fox", 64), ("an elk", 32), ("an elk", 64)]
        assert all(job.input["num_images"] == 1 for job in emulator.jobs.values())

    def test_a_mapped_mistake_fails_its_own_task_for_good_and_sends_nothing(self, emulator: Emulator) -> None:
        def build() -> None:
            FalImageOperator.partial(task_id="make_it", prompt="a fox", retries=2, image_size=SMALL).expand(
                num_images=[1, 0]
            )

        ran = run_tasks(build)
        assert ran.states == {"make_it[0]": "success", "make_it[1]": "failed"}
        assert ran.tries["make_it[1]"] == 1
        assert len(emulator.posts()) == 1

    def test_a_deferral_changes_nothing(self, emulator: Emulator) -> None:
        prices = {SHORT: {"per_image": 0.5}}
        ran = run_tasks(
            lambda: make(
                IMAGE,
                model_id=SHORT,
                num_images="{{ 2 }}",
                image_size=SMALL,
                defer_after=0,
                poll_interval=0.1,
                prices=prices,
            )
        )
        assert ran.state == "success", ran.errors
        assert len(ran.deferred) == len(emulator.posts()) == 1
        assert ran.results["make_it"]["estimated_cost"] == 1.0


SNIPPET = """
from airflow.sdk import DAG, task
from airflow_provider_falinvoke.operators.audio import FalAudioOperator
from airflow_provider_falinvoke.operators.image import FalImageOperator
from airflow_provider_falinvoke.operators.speech import FalSpeechOperator

with DAG("typed") as dag:
    @task
    def idea() -> str:
        return "a fox"

    draw = FalImageOperator(task_id="draw", prompt=idea(), image_size={"width": 8, "height": "{{ 8 }}"}, num_images=2)
    FalImageOperator(task_id="again", prompt=draw.output, num_images="{{ params.n }}", seed=draw.output)
    FalAudioOperator(task_id="play", prompt="rain", seconds_total="{{ params.s }}", guidance_scale=2)
    FalSpeechOperator(task_id="say", text=draw.output, speed=1, stability=0.5, timestamps=True, output_path="/tmp")
    FalImageOperator(task_id="w1", prompt="x", num_images=[4])  # wrong
    FalImageOperator(task_id="w2", prompt="x", image_size=5)  # wrong
    FalImageOperator(task_id="w3", prompt=["x"])  # wrong
    FalImageOperator(task_id="w4", num_images=1)  # wrong
    FalAudioOperator(task_id="w5", prompt="x", seconds_total=10.5)  # wrong
    FalSpeechOperator(task_id="w6", text="x", speed=[1])  # wrong
    FalSpeechOperator(task_id="w7", text=7)  # wrong
    FalSpeechOperator(task_id="w8", text="x", timestamps=0.5)  # wrong
"""


def test_mypy_sees_wrong_types_in_a_dag_file_and_no_others(tmp_path: Path) -> None:
    dag_file = tmp_path / "typed_dag.py"
    dag_file.write_text(SNIPPET)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", str(dag_file)],  # as make lint does, so that its cache serves here
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    wrong = [number for number, line in enumerate(SNIPPET.split("\n"), start=1) if line.endswith("# wrong")]
    seen = [int(number) for number in re.findall(r"typed_dag\.py:(\d+): error", done.stdout)]
    assert seen == wrong, done.stdout + done.stderr
