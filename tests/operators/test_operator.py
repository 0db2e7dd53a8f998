"""The operator in real Airflow: one POST a job, whatever happens."""

from __future__ import annotations

import inspect
import json
import re
import time
import wave
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from airflow_provider_falinvoke import exceptions
from airflow_provider_falinvoke._compat import AirflowFailException
from airflow_provider_falinvoke.emulator import Emulator, Fault
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator
from tests.support.dags import Ran, run_tasks
from tests.support.execution import Context, Memory, execute, operator

if TYPE_CHECKING:
    from airflow.sdk.exceptions import TaskDeferred
else:
    try:
        from airflow.sdk.exceptions import TaskDeferred
    except ImportError:  # Airflow 3.1
        from airflow.exceptions import TaskDeferred

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_deferral")

FAST, SHORT, SLOW = "fal-ai/flux/schnell", "fal-ai/fast-sdxl", "fal-ai/flux/slow"
AUDIO, SPEECH = "fal-ai/stable-audio-25/text-to-audio", "fal-ai/elevenlabs/tts/multilingual-v2"
SMALL = {"image_size": {"width": 64, "height": 64}}


def run(model_id: str = FAST, *, dag_args: dict[str, Any] | None = None, **changes: Any) -> Ran:
    """Run one task in a DAG; ``changes`` are the operator's parameters."""
    given = {"input": {"prompt": "a fox", **SMALL}, "poll_interval": 0.05, **changes}
    return run_tasks(lambda: FalInvokeOperator(task_id="draw", model_id=model_id, **given), dag_args=dag_args)


def only_post(emulator: Emulator) -> str:
    """Return the request_id of the only job, having checked that one POST made it and that no GET followed its end."""
    (post,) = emulator.posts()
    assert post.request_id is not None
    ends_at = emulator.jobs[post.request_id].ends_at
    assert len([poll for poll in emulator.gets() if poll.at >= ends_at]) <= 1
    return post.request_id


def test_a_job_that_is_done_at_once_needs_no_get(emulator: Emulator) -> None:
    ran = run()
    assert ran.state == "success"
    assert ran.results["draw"]["request_id"] == only_post(emulator)
    assert ran.pushed["draw"] == ran.results["draw"]["request_id"]
    assert emulator.gets() == []
    assert ran.deferred == []


def test_a_fast_job_is_awaited_on_the_worker(emulator: Emulator) -> None:
    ran = run(SHORT)
    assert (ran.state, ran.deferred) == ("success", [])
    only_post(emulator)


def test_a_slow_job_defers_and_is_resumed(emulator: Emulator) -> None:
    ran = run(SHORT, defer_after=0)
    assert ran.state == "success"
    request_id = only_post(emulator)
    (arguments,) = ran.deferred
    assert arguments["request_id"] == request_id
    assert arguments["deadline"] - arguments["submitted_at"] == pytest.approx(3600)
    assert arguments["first_look_at"] > arguments["submitted_at"]
    assert ran.results["draw"]["status"] == "COMPLETED"


def test_without_deferral_the_worker_waits(emulator: Emulator) -> None:
    ran = run(SHORT, deferrable=False, defer_after=0)
    assert (ran.state, ran.deferred) == ("success", [])
    only_post(emulator)


def test_without_waiting_the_request_id_is_the_result(emulator: Emulator) -> None:
    ran = run(SLOW, wait_for_completion=False)
    assert ran.results["draw"] == only_post(emulator)
    assert emulator.gets() == []


def test_the_result_is_a_plain_dict_with_the_documented_keys(emulator: Emulator) -> None:
    result = run(SHORT).results["draw"]
    assert list(result) == [
        "request_id",
        "model_id",
        "status",
        "created_at",
        "started_at",
        "completed_at",
        "seconds",
        "output",
        "flagged",
        "files",
        "left_out",
        "manifest",
        "prompt",
        "estimated_cost",
        "reused",
    ]
    assert json.loads(json.dumps(result)) == result
    assert result["seconds"] == 0.3
    assert result["completed_at"].endswith("+00:00")
    assert result["files"] == []


def test_inline_files_stay_out_of_xcom(emulator: Emulator, tmp_path: Path) -> None:
    """``sync_mode`` puts megabytes into the reply; they are saved, and a short note stands in the result."""
    ran = run(SHORT, defer_after=0, output_path=tmp_path.as_uri(), input={"prompt": "x", "sync_mode": True})
    result = ran.results["draw"]
    assert len(json.dumps(result)) < 2000
    assert result["output"]["images"][0]["url"].startswith("<inline image/png")
    assert result["files"][0]["source_url"] == "inline"
    with Image.open(next(tmp_path.rglob("*-1.png"))) as picture:
        assert picture.format == "PNG"


def test_every_template_field_is_rendered(emulator: Emulator, tmp_path: Path) -> None:
    ran = run(
        "{{ 'fal-ai/' }}fast-sdxl",
        input={
            "prompt": "{{ ds_nodash[:0] }}a fox",
            "num_images": "{{ 1 + 1 }}",
            "guidance_scale": "{{ 2.5 }}",
            "enable_safety_checker": "{{ true }}",
            "loras": [{"path": "{{ dag.dag_id[:4] }}", "scale": 1}],
            **SMALL,
        },
        tags={"dag": "{{ dag.dag_id[:4] }}"},
        fal_conn_id="{{ 'falinvoke_default' }}",
        output_path=tmp_path.as_uri() + "/{{ 'sub' }}",
        file_name="{{ 'made' }}/{number}{extension}",
        max_file_size="{{ 10 ** 6 }}",
        download_timeout="{{ 60 }}",
        max_files="{{ 3 }}",
        max_total_size="{{ 10 ** 7 }}",
        save_timeout="{{ 600 }}",
        defer_after="{{ 0 }}",
        poll_interval="{{ 0.05 }}",
        max_poll_interval="{{ 1 }}",
        timeout="{{ 60 }}",
    )
    assert ran.state == "success", ran.errors
    job = emulator.jobs[only_post(emulator)]
    assert job.input == {
        "prompt": "a fox",
        "num_images": 2,
        "guidance_scale": 2.5,
        "enable_safety_checker": True,
        "loras": [{"path": "test", "scale": 1}],
        **SMALL,
    }
    assert job.tags == [{"key": "dag", "value": "test"}]
    assert sorted(path.name for path in (tmp_path / "sub" / "made").iterdir()) == ["1.png", "2.png"]
    (arguments,) = ran.deferred
    assert (arguments["poll_interval"], arguments["max_poll_interval"]) == (0.05, 1.0)
    assert arguments["deadline"] - arguments["submitted_at"] == pytest.approx(60)


def test_every_parameter_is_a_template_field_or_says_that_it_is_not() -> None:
    """The class's docstring names those that are not, in the sentence that says that all others are."""
    (sentence,) = re.findall(r"All parameters but (.*?)are\s+templated", FalInvokeOperator.__doc__ or "", re.DOTALL)
    plain = set(re.findall(r"``(\w+)``", sentence))
    parameters = set(inspect.signature(FalInvokeOperator).parameters) - {"kwargs"}
    assert parameters - plain == set(FalInvokeOperator.template_fields)


def test_a_template_that_yields_the_whole_input_may_be_json(emulator: Emulator) -> None:
    ran = run(input="{{ {'prompt': 'a fox', 'num_images': 2} | tojson }}")
    assert ran.state == "success", ran.errors
    assert emulator.jobs[only_post(emulator)].input == {"prompt": "a fox", "num_images": 2}


def test_a_whole_request_in_place_of_the_input_is_read_as_one(emulator: Emulator) -> None:
    run(model_id=SHORT, input={"model_id": FAST, "input": json.dumps({"prompt": "a fox", **SMALL})})
    (job,) = emulator.jobs.values()
    assert (job.model_id, job.input) == (FAST, {"prompt": "a fox", **SMALL})


def test_a_template_that_yields_a_dict_works_with_native_objects(emulator: Emulator) -> None:
    ran = run(
        input="{{ {'prompt': 'a fox', 'seed': 7} }}",
        timeout="{{ 60 }}",
        dag_args={"render_template_as_native_obj": True},
    )
    assert ran.state == "success", ran.errors
    assert emulator.jobs[only_post(emulator)].input == {"prompt": "a fox", "seed": 7}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input": {"prompt": "x", "num_images": "0"}}, "num_images"),
        ({"input": {"prompt": ""}}, "prompt"),
        ({"input": {}}, "prompt"),
        ({"input": "{{ {'prompt': 1} }}"}, "render_template_as_native_obj"),
        ({"model_id": " "}, "model_id"),
        ({"tags": {"a": ["b"]}}, "tags"),
        ({"timeout": "soon"}, "timeout must be a number of seconds"),
        ({"timeout": -1}, "timeout"),
        ({"defer_after": "{{ none }}"}, "defer_after"),
        ({"poll_interval": "often"}, "poll_interval"),
        ({"max_poll_interval": "inf"}, "max_poll_interval"),
        ({"file_name": "{{ 'nosuch' }}/{number}.png"}, "file_name"),
        ({"max_file_size": "{{ 'much' }}"}, "max_file_size"),
        ({"download_timeout": "{{ none }}"}, "download_timeout"),
        ({"fal_conn_id": "no_such_connection"}, "no_such_connection"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_wrong_parameter_fails_before_anything_is_sent(
    changes: dict[str, Any], words: str, emulator: Emulator
) -> None:
    given = {"model_id": FAST, "retries": 1, **changes}
    ran = run(**given)
    assert ran.state == "failed"
    assert words in str(ran.errors["draw"])
    assert emulator.requests == []
    if words != "no_such_connection":  # somebody may define it meanwhile, so Airflow retries
        assert isinstance(ran.errors["draw"], AirflowFailException)
        assert ran.tries["draw"] == 1


def test_mapped_inputs_are_one_post_each(emulator: Emulator, tmp_path: Path) -> None:
    def build() -> None:
        prompts = [{"prompt": name, **SMALL} for name in ("a", "b", "c")]
        FalInvokeOperator.partial(
            task_id="draw", model_id=FAST, output_path=tmp_path.as_uri(), map_index_template="{{ task.input.prompt }}"
        ).expand(input=prompts)

    ran = run_tasks(build)
    assert ran.state == "success", ran.errors
    made = [emulator.jobs[ran.results[f"draw[{index}]"]["request_id"]] for index in range(3)]
    assert [job.input["prompt"] for job in made] == ["a", "b", "c"]
    assert len(emulator.posts()) == 3
    assert sorted(path.parent.name for path in tmp_path.rglob("*.png")) == ["0", "1", "2"], "by their map index"


@pytest.mark.parametrize("defer_after", [0, 5], ids=["deferred", "on the worker"])
def test_pictures_come_home_as_real_files_and_the_key_stays_away(
    defer_after: float, emulator: Emulator, tmp_path: Path
) -> None:
    ran = run(
        SHORT,
        input={"prompt": "a fox", "num_images": 2, **SMALL},
        output_path=tmp_path.as_uri(),
        defer_after=defer_after,
    )
    request_id = only_post(emulator)
    files = ran.results["draw"]["files"]
    paths = sorted(tmp_path.rglob("*.png"))
    assert [file["path"] for file in files] == [path.as_uri() for path in paths]
    for number, (file, path) in enumerate(zip(files, paths, strict=True), start=1):
        assert path.name == f"{request_id}-{number}.png"
        with Image.open(path) as picture:
            assert (picture.format, picture.size) == ("PNG", (64, 64))
        assert file["size"] == path.stat().st_size
        assert file["content_type"] == "image/png"
    assert emulator.leaks == []
    assert len([request for request in emulator.requests if request.route == "media"]) == 2


@pytest.mark.parametrize(
    ("model_id", "given"),
    [(AUDIO, {"prompt": "rain", "seconds_total": "1"}), (SPEECH, {"text": "good morning"})],
    ids=["audio", "speech"],
)
def test_sounds_come_home_as_real_files(
    model_id: str, given: dict[str, Any], emulator: Emulator, tmp_path: Path
) -> None:
    ran = run(model_id, input=given, output_path=tmp_path.as_uri())
    assert ran.state == "success", ran.errors
    (path,) = tmp_path.rglob(f"{only_post(emulator)}-1.wav")
    with wave.open(str(path)) as sound:
        assert sound.getnframes() > 0
    assert emulator.leaks == []


Kind = type[exceptions.FalInvokeError]
#: What goes wrong; the error; whether Airflow may retry.
FAILURES: dict[str, tuple[list[Fault], dict[str, Any], Kind, bool]] = {
    "the job failed": ([Fault("fail")], {}, exceptions.FalInvokeJobFailedError, True),
    "the job failed while deferred": (
        [Fault("fail")],
        {"defer_after": 0},
        exceptions.FalInvokeJobFailedError,
        True,
    ),
    "it took too long on the worker": (
        [],
        {"model_id": SLOW, "timeout": 0.3, "deferrable": False},
        exceptions.FalInvokeTimeoutError,
        True,
    ),
    "it took too long while deferred": (
        [],
        {"model_id": SLOW, "timeout": timedelta(seconds=0.6), "defer_after": 0},
        exceptions.FalInvokeTimeoutError,
        True,
    ),
    "the key was withdrawn": (
        [Fault("answer", on="get", status=401, times=None)],
        {},
        exceptions.FalInvokeAuthError,
        False,
    ),
    "the key was withdrawn while deferred": (
        [Fault("answer", on="get", status=401, times=None)],
        {"defer_after": 0},
        exceptions.FalInvokeAuthError,
        False,
    ),
    "the files are gone": (
        [Fault("answer", on="media", status=410, times=None)],
        {"output_path": "TMP"},
        exceptions.FalInvokeMediaError,
        True,
    ),
}


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"output_path": "nosuch://x"}, exceptions.FalInvokeMediaError, "nothing is paid"),
        ({"max_cost": 1}, AirflowFailException, "what a job of .* costs is not known"),
        (
            {"max_cost": "0.02", "prices": {FAST: {"per_image": 0.01}}, "input": {"prompt": "x", "num_images": 3}},
            AirflowFailException,
            r"0\.03, more than max_cost \(0\.02\)",
        ),
        ({"max_cost": "much"}, AirflowFailException, "max_cost must be a number"),
        ({"prices": {FAST: {"per_day": 1}}}, AirflowFailException, "prices"),
        ({"on_ambiguous_submit": "panic"}, AirflowFailException, "on_ambiguous_submit"),
    ],
)
def test_what_can_be_known_before_is_refused_before_it_is_paid(
    changes: dict[str, Any], kind: type[Exception], words: str, emulator: Emulator
) -> None:
    ran = run(**changes)
    assert ran.state == "failed"
    assert isinstance(ran.errors["draw"], kind)
    assert re.search(words, str(ran.errors["draw"]))
    assert emulator.posts() == []


def test_a_job_within_its_budget_says_what_it_is_estimated_to_cost(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prices may stand in the connection, for all tasks."""
    prices = {"prices": {FAST: {"per_image": 0.01}}}
    monkeypatch.setenv("AIRFLOW_CONN_FALINVOKE_DEFAULT", json.dumps({**emulator.connection, "extra": prices}))
    ran = run(input={"prompt": "x", "num_images": 3}, max_cost=0.03)
    assert ran.results["draw"]["estimated_cost"] == pytest.approx(0.03)


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_names_the_job_and_posts_once(name: str, emulator: Emulator, tmp_path: Path) -> None:
    faults, changes, kind, may_retry = FAILURES[name]
    if changes.get("output_path") == "TMP":
        changes = {**changes, "output_path": tmp_path.as_uri()}
    for fault in faults:
        emulator.add_fault(fault)
    ran = run(**{"model_id": SHORT, **changes})
    assert ran.state == "failed"
    error = ran.errors["draw"]
    request_id = only_post(emulator)
    assert request_id in str(error)
    assert isinstance(error, kind if may_retry else AirflowFailException)
    assert ran.pushed["draw"] == request_id
    if not may_retry:
        assert isinstance(error.__cause__, kind)


REFUSED: dict[str, tuple[Fault, Kind, bool]] = {
    "a wrong key": (Fault("answer", on="post", status=401), exceptions.FalInvokeAuthError, False),
    "a refused body": (Fault("answer", on="post", status=422), exceptions.FalInvokeAPIError, False),
    "no answer after the POST": (Fault("drop", on="post"), exceptions.FalInvokeAmbiguousSubmitError, False),
    "accepted, and no answer": (
        Fault("drop", on="post", accepted=True),
        exceptions.FalInvokeAmbiguousSubmitError,
        False,
    ),
    "accepted, and a proxy's 504": (
        Fault("html", on="post", status=504, accepted=True),
        exceptions.FalInvokeAmbiguousSubmitError,
        False,
    ),
    "accepted, and no id": (
        Fault("omit", on="post", value="request_id"),
        exceptions.FalInvokeAmbiguousSubmitError,
        False,
    ),
    "the quota is used up for long": (
        Fault("answer", on="post", status=429, seconds=3600),
        exceptions.FalInvokeRateLimitError,
        True,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_submit_without_an_id_is_one_post_and_airflow_retries_only_what_was_refused_for_now(
    name: str, emulator: Emulator
) -> None:
    fault, kind, may_retry = REFUSED[name]
    emulator.add_fault(fault)
    ran = run(SLOW, retries=0 if may_retry else 3)
    error = ran.errors["draw"]
    assert len(emulator.posts()) == 1
    assert emulator.gets() == []
    assert ran.tries["draw"] == 1
    assert isinstance(error if may_retry else error.__cause__, kind)
    assert isinstance(error, AirflowFailException) is not may_retry


def test_a_429_is_waited_out(emulator: Emulator) -> None:
    """It was refused, so a second POST does not pay twice."""
    emulator.add_fault(Fault("answer", on="post", status=429, seconds=0.1))
    assert run().state == "success"
    assert [post.status for post in emulator.posts()] == [429, 200]
    assert len(emulator.jobs) == 1


def test_the_request_id_is_pushed_before_the_first_question(emulator: Emulator) -> None:
    emulator.add_fault(Fault("answer", on="get", status=401, times=None))
    context = Context()
    with pytest.raises(AirflowFailException):
        execute(operator(), context)
    assert context.pushed == [("request_id", next(iter(emulator.jobs)))]


def test_a_kill_says_that_the_job_goes_on(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """The API has no cancel."""
    one = operator(timeout=0.2, deferrable=False)
    one.on_kill()
    with pytest.raises(exceptions.FalInvokeTimeoutError):
        execute(one, Context())
    capsys.readouterr()
    one.on_kill()
    said = capsys.readouterr().out
    assert next(iter(emulator.jobs)) in said
    assert "FalInvokeSensor" in said


def test_near_its_deadline_the_worker_waits_itself(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deferral would come back too late to say anything."""
    monkeypatch.setattr("airflow_provider_falinvoke.triggers.falinvoke.RESUME_MARGIN", 10.0)
    started = time.monotonic()
    with pytest.raises(exceptions.FalInvokeTimeoutError):
        execute(operator(timeout=0.4, defer_after=0.1), Context())
    assert time.monotonic() - started < 3


def deferred_by(one: FalInvokeOperator) -> dict[str, Any]:
    """Execute until the task defers; return its trigger's keyword arguments."""
    with pytest.raises(TaskDeferred) as caught:
        execute(one, Context())
    kwargs: dict[str, Any] = caught.value.trigger.serialize()[1]
    return kwargs


def test_a_job_that_does_not_start_holds_the_worker_for_a_second_even_if_its_model_is_fast(emulator: Emulator) -> None:
    """A slot for 5 s would be a twelfth of a job of 60 s."""
    deferred_by(operator(poll_interval=None))
    assert len(emulator.gets()) == 1


def test_a_job_of_a_model_that_is_not_known_to_be_fast_is_not_looked_at_before_the_deferral(emulator: Emulator) -> None:
    deferred_by(operator(model_id=AUDIO, tags={"emulator-duration": "60"}, poll_interval=None))
    assert emulator.gets() == []


def test_a_deferred_wait_begins_when_the_api_wants_to_be_asked_again(emulator: Emulator) -> None:
    emulator.add_fault(Fault("answer", on="get", status=429, headers={"retry-after": "40"}))
    arguments = deferred_by(operator())
    assert 40 <= arguments["first_look_at"] - arguments["submitted_at"] < 60
    assert len(emulator.gets()) == 1


def test_nothing_is_looked_up_in_init() -> None:
    """A DAG file is parsed again and again."""
    one = operator(fal_conn_id="no_such_connection")
    assert "hook" not in vars(one)


def can_remember() -> bool:
    """Whether this Airflow has a task state store."""
    import airflow

    return tuple(int(part) for part in airflow.__version__.split(".")[:2]) >= (3, 3)


remembers = pytest.mark.skipif(not can_remember(), reason="the task state store came with Airflow 3.3")


@remembers
def test_a_retry_takes_the_paid_job_up_again(emulator: Emulator, tmp_path: Path) -> None:
    """What failed was bringing the file home; the job is done and paid."""
    emulator.add_fault(Fault("answer", on="media", status=410))
    ran = run(SHORT, retries=1, output_path=tmp_path.as_uri())
    assert (ran.state, ran.tries["draw"]) == ("success", 2)
    request_id = next(iter(emulator.jobs))
    assert len(emulator.posts()) == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{request_id}-1.png"]


@remembers
@pytest.mark.parametrize("defer_after", [0, 5])
def test_a_retry_after_a_timeout_does_not_pay_again(defer_after: float, emulator: Emulator) -> None:
    ran = run(SLOW, retries=1, timeout=0.3, defer_after=defer_after)
    assert (ran.state, ran.tries["draw"]) == ("failed", 2)
    assert isinstance(ran.errors["draw"], exceptions.FalInvokeTimeoutError)
    assert len(emulator.posts()) == 1


@remembers
def test_a_retry_after_a_failed_job_submits_a_new_one(emulator: Emulator) -> None:
    emulator.add_fault(Fault("fail"))
    ran = run(SHORT, retries=1)
    assert (ran.state, ran.tries["draw"]) == ("success", 2)
    assert len(emulator.jobs) == 2


@remembers
def test_durable_false_pays_again(emulator: Emulator, tmp_path: Path) -> None:
    emulator.add_fault(Fault("answer", on="media", status=410))
    ran = run(FAST, retries=1, output_path=tmp_path.as_uri(), durable=False)
    assert ran.state == "success"
    assert len(emulator.posts()) == 2


@pytest.mark.parametrize("where", ["operator", "connection"])
def test_an_ambiguous_submit_is_repeated_only_where_the_user_says_so(
    where: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"on_ambiguous_submit": "retry"} if where == "operator" else {}
    if where == "connection":
        connection = {**emulator.connection, "extra": {"on_ambiguous_submit": "retry"}}
        monkeypatch.setenv("AIRFLOW_CONN_FALINVOKE_DEFAULT", json.dumps(connection))
    emulator.add_fault(Fault("drop", on="post", accepted=True))
    ran = run(FAST, retries=1, **changes)
    assert (ran.state, ran.tries["draw"]) == ("success", 2), ran.errors
    assert len(emulator.posts()) == 2


def test_a_job_that_may_cost_too_much_is_not_sent(emulator: Emulator) -> None:
    prices = {FAST: {"per_image": 0.5}}
    ran = run(input={"prompt": "x", "num_images": "4"}, prices=prices, max_cost="{{ 1.5 }}", retries=1)
    assert isinstance(ran.errors["draw"], AirflowFailException)
    assert emulator.requests == []
    ran = run(prices=prices, max_cost=0.5)
    assert ran.results["draw"]["estimated_cost"] == 0.5
    assert len(emulator.posts()) == 1


def test_a_policy_of_another_name_is_refused(emulator: Emulator) -> None:
    with pytest.raises(AirflowFailException, match="must be 'fail' or 'retry', not 'perhaps'"):
        execute(operator(on_ambiguous_submit="perhaps"), Context())
    assert emulator.requests == []


def test_a_job_that_the_api_forgot_is_submitted_anew(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is one that failed; anything that is still of use is taken up."""
    monkeypatch.setattr("airflow_provider_falinvoke.api.protocol.NOT_FOUND_GRACE", 0.1)
    context = Context()
    context["task_state_store"] = Memory()
    request_ids = []
    for _ in range(2):
        request_ids.append(execute(operator(model_id=FAST, output_path=None), context)["request_id"])
    assert request_ids[0] == request_ids[1]
    emulator.reset()
    assert execute(operator(model_id=FAST), context)["request_id"] not in request_ids
    assert len(emulator.posts()) == 1
