"""The batch operator against the emulator: what is submitted, what comes home, and what a retry does."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import logging
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import BaseOperator

from airflow_provider_falinvoke._compat import (
    AirflowFailException,
    TaskDeferralError,
    TaskDeferralTimeout,
    TaskDeferred,
)
from airflow_provider_falinvoke.api.account import forget_accounts
from airflow_provider_falinvoke.batch import plan
from airflow_provider_falinvoke.batch.storage import Folder
from airflow_provider_falinvoke.emulator import Emulator, Fault
from airflow_provider_falinvoke.exceptions import (
    FalInvokeBatchError,
    FalInvokeError,
    FalInvokeMediaError,
    FalInvokeRateLimitError,
    FalInvokeTimeoutError,
    FalInvokeUnreachableError,
)
from tests.support.batches import IMAGE, INSTANT, SLOW, Runner, call, fire, items_of, posts_by_prompt

pytestmark = pytest.mark.usefixtures("quick_deferral", "impatient_storage")


def prompts(count: int) -> list[str]:
    return [f"p{number}" for number in range(count)]


#: An output whose one picture, of one pixel, the safety checker flagged.
FLAGGED = {
    "images": [
        {
            "url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
            "awAAAABJRU5ErkJggg=="
        }
    ],
    "has_nsfw_concepts": [True],
}


class Said:
    """What was logged since it was asked last; to the terminal once Airflow has set up its logging, else to pytest."""

    def __init__(self, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
        self._capsys, self._caplog = capsys, caplog
        caplog.set_level(logging.INFO)

    def __call__(self) -> str:
        text = "".join(self._capsys.readouterr()) + self._caplog.text
        self._caplog.clear()
        return text


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Said:
    return Said(capsys, caplog)


def once_each(count: int) -> Counter[str]:
    return Counter(prompts(count))


def test_a_batch_goes_home_in_waves_with_two_requests_a_job(emulator: Emulator, tmp_path: Path) -> None:
    done_before_the_first_look = {"emulator-duration": "0.01"}
    run = Runner(tmp_path, inputs=prompts(23), max_in_flight=8, tags=done_before_the_first_look)
    summary = run.try_()
    assert posts_by_prompt(emulator) == once_each(23)
    assert (len(emulator.posts()), len(emulator.gets())) == (23, 23)
    assert max(len(deferral["jobs"]) for deferral in run.deferrals) == 8
    assert (summary["items"], summary["done"], summary["failed"], summary["files_saved"]) == (23, 23, 0, 23)
    assert summary["failed_items"] == summary["ambiguous_items"] == []
    assert summary["manifest"] == f"{run.output}/shop/manual__1/pictures/manifest.jsonl"
    assert len(json.dumps(summary)) < 2000
    rows = run.manifest()
    assert [row["index"] for row in rows] == list(range(23))
    assert [row["output"]["prompt"] for row in rows] == prompts(23), "in the order of the inputs"
    for row in rows:
        assert (row["state"], row["error"], row["model_id"]) == ("done", None, IMAGE)
        (file,) = row["files"]
        path = Path(file["path"].removeprefix("file://"))
        assert path.is_relative_to(run.home)
        assert path.stat().st_size == file["size"]
    assert summary["bytes_saved"] == sum(row["files"][0]["size"] for row in rows)
    assert emulator.leaks == []


def test_jobs_that_end_at_once_need_no_deferral(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=prompts(20), model_id=INSTANT, max_in_flight=4)
    assert run.try_()["done"] == 20
    assert (run.deferrals, emulator.gets()) == ([], [])


def test_a_batch_of_nothing_is_done(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=[])
    assert run.try_()["items"] == 0
    assert run.manifest() == []
    assert emulator.requests == []


def test_a_batch_can_be_awaited_on_the_worker(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=prompts(9), max_in_flight=4, deferrable=False)
    assert run.try_()["done"] == 9
    assert run.deferrals == []
    assert posts_by_prompt(emulator) == once_each(9)


def test_items_may_be_of_several_models(emulator: Emulator, tmp_path: Path) -> None:
    audio = {"model_id": "fal-ai/stable-audio-25/text-to-audio", "input": {"prompt": "rain", "seconds_total": 1}}
    run = Runner(tmp_path, inputs=["a fox", audio], input=None)
    run.try_()
    assert [row["model_id"] for row in run.manifest()] == [IMAGE, audio["model_id"]]
    assert [Path(row["files"][0]["path"]).suffix for row in run.manifest()] == [".png", ".wav"]


def test_a_wrong_item_is_found_before_anything_is_paid(emulator: Emulator, tmp_path: Path) -> None:
    path = tmp_path / "inputs.jsonl"
    path.write_text('"a"\n' * 300 + "{}\n" + '"b"\n' * 300)
    with pytest.raises(AirflowFailException, match=r"line 301: input\.prompt"):
        Runner(tmp_path, inputs=path.as_uri()).try_()
    assert emulator.requests == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_in_flight": 0},
        {"max_in_flight": 401},
        {"max_in_flight": "many"},
        {"max_in_flight": 2.5},
        {"max_in_flight": True},
        {"max_in_flight": None},
        {"output_path": None},
        {"output_path": ""},
        {"on_item_failure": "shrug"},
        {"on_ambiguous_submit": "hope"},
        {"timeout": 0},
        {"prices": {IMAGE: {"per_dream": 1}}},
        {"inputs": 7},
    ],
)
def test_a_wrong_parameter_is_found_before_anything_is_paid(
    wrong: dict[str, Any], emulator: Emulator, tmp_path: Path
) -> None:
    with pytest.raises(AirflowFailException):
        Runner(tmp_path, inputs=["a"]).try_(**wrong)
    assert emulator.requests == []


def test_a_template_that_names_the_files_of_all_jobs_alike_is_found_before_anything_is_paid(
    emulator: Emulator, tmp_path: Path
) -> None:
    with pytest.raises(AirflowFailException, match=r"without \{request_id\}"):
        Runner(tmp_path, inputs=prompts(2), file_name="{task_id}-{number}{extension}").try_()
    assert emulator.posts() == []


def test_a_storage_that_is_not_there_is_found_before_anything_is_paid(emulator: Emulator) -> None:
    with pytest.raises(FalInvokeMediaError, match="cannot be used"):
        Runner("nothing://at/all", inputs=["a"]).try_()
    with pytest.raises(FalInvokeError, match=r"cannot be written to.*Nothing was submitted"):
        Runner("file:///proc/none", inputs=["a"]).try_()
    assert emulator.requests == []


def test_a_batch_that_is_too_dear_is_refused_as_a_whole(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=prompts(10), prices={IMAGE: {"per_image": 0.01}})
    with pytest.raises(AirflowFailException, match=r"would cost some 0\.1, more than max_cost \(0\.09\)"):
        run.try_(max_cost="0.09")
    with pytest.raises(AirflowFailException, match=r"what 1 of the items cost is not known \(item 10 is the first"):
        run.try_(max_cost=5, inputs=[*prompts(10), {"model_id": SLOW, "input": {"prompt": "x"}}])
    assert emulator.requests == []
    summary = run.try_(max_cost=0.11)
    assert summary["estimated_cost"] == pytest.approx(0.1)
    assert [row["estimated_cost"] for row in run.manifest()] == [0.01] * 10


def test_the_others_come_home_and_the_task_fails_and_names_those_that_failed(
    emulator: Emulator, tmp_path: Path
) -> None:
    run = Runner(tmp_path, inputs=prompts(12), max_in_flight=5)
    for prompt in ("p3", "p7"):
        emulator.add_fault(Fault("fail", on="post", match_prompt=prompt, value="string"))
    with pytest.raises(FalInvokeBatchError, match=r"2 of 12 items are not home: 2 failed.*failed: 3, 7;") as caught:
        run.try_()
    assert caught.value.may_pass
    assert run.ti.pushed["summary"]["done"] == 10
    states = [row["state"] for row in run.manifest()]
    assert [index for index, state in enumerate(states) if state != "done"] == [3, 7]
    assert "failed" in run.manifest()[3]["error"]


def test_a_retry_does_only_what_is_missing(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=prompts(12), max_in_flight=5)
    for prompt in ("p3", "p7"):
        emulator.add_fault(Fault("fail", on="post", match_prompt=prompt))
    with pytest.raises(FalInvokeBatchError):
        run.try_()
    before = {row["index"]: row["request_id"] for row in run.manifest()}
    assert run.retry()["done"] == 12
    assert posts_by_prompt(emulator) == once_each(12) + Counter(["p3", "p7"])
    after = {row["index"]: row["request_id"] for row in run.manifest()}
    assert {index for index in after if after[index] != before[index]} == {3, 7}
    requests = len(emulator.requests)
    assert run.retry()["done"] == 12
    assert len(emulator.requests) == requests, "a batch that is done asks for nothing"


def test_what_no_retry_can_mend_is_not_retried_and_a_clear_asks_for_it_anew(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=prompts(4))
    refused = {
        "detail": [
            {"loc": ["body", "prompt"], "msg": "flagged by a content checker", "type": "content_policy_violation"}
        ]
    }
    emulator.add_fault(Fault("fail", on="post", match_prompt="p2", body=refused))
    for _ in range(2):
        with pytest.raises(AirflowFailException, match="1 of 4 items are not home: 1 refused"):
            run.try_()
    assert posts_by_prompt(emulator) == once_each(4)
    run.clear()
    assert run.try_()["done"] == 4
    assert posts_by_prompt(emulator) == once_each(4) + Counter(["p2"])


def test_ignored_failures_are_counted_and_the_task_succeeds(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=prompts(6), on_item_failure="ignore")
    emulator.add_fault(Fault("fail", on="post", match_prompt="p1"))
    emulator.add_fault(Fault("drop", on="post", match_prompt="p4", accepted=True))
    summary = run.try_()
    assert (summary["done"], summary["failed"], summary["ambiguous"]) == (4, 2, 1)
    assert (summary["failed_items"], summary["ambiguous_items"]) == ([1, 4], [4])


def test_stop_submits_nothing_more_and_brings_home_what_is_paid(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=prompts(40), max_in_flight=10, on_item_failure="stop")
    emulator.add_fault(Fault("fail", on="post", match_prompt="p2"))
    with pytest.raises(FalInvokeBatchError, match=r"item 2 is failed, and on_item_failure is 'stop'") as caught:
        run.try_()
    paid = len(emulator.jobs)
    assert 10 <= paid < 40
    assert run.phases().count("done") == paid - 1
    assert run.phases().count("waiting") == 40 - paid
    assert f"{40 - paid} waiting" in str(caught.value)
    assert run.retry()["done"] == 40
    assert posts_by_prompt(emulator) == once_each(40) + Counter(["p2"])


def test_a_reply_that_is_cut_off_behind_its_request_id_is_a_job(emulator: Emulator, tmp_path: Path) -> None:
    emulator.add_fault(Fault("cut", on="post", match_prompt="p2"))
    assert Runner(tmp_path, inputs=prompts(6)).try_()["done"] == 6
    assert posts_by_prompt(emulator) == once_each(6)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("drop", on="post", match_prompt="p2", accepted=True),
        Fault("answer", on="post", status=502, match_prompt="p2", accepted=True),
        Fault("omit", on="post", value="request_id", match_prompt="p2"),
    ],
    ids=["dropped", "502", "no request_id"],
)
def test_an_ambiguous_submit_is_reported_and_never_repeated_by_itself(
    fault: Fault, emulator: Emulator, tmp_path: Path
) -> None:
    run = Runner(tmp_path, inputs=prompts(6))
    emulator.add_fault(fault)
    for _ in range(2):
        with pytest.raises(AirflowFailException, match=r"1 of 6 items are not home: 1 ambiguous.*failed: 2;"):
            run.try_()
        assert run.ti.pushed["summary"]["ambiguous_items"] == [2]
        assert posts_by_prompt(emulator) == once_each(6)
    assert "may be running and paid" in run.manifest()[2]["error"]
    run.clear()
    assert run.try_()["done"] == 6
    assert posts_by_prompt(emulator) == once_each(6) + Counter(["p2"]), "a user who clears it knows"


def test_an_ambiguous_submit_is_repeated_by_a_retry_where_the_user_said_so(
    emulator: Emulator, tmp_path: Path, said: Said
) -> None:
    run = Runner(tmp_path, inputs=prompts(6), on_ambiguous_submit="retry")
    emulator.add_fault(Fault("drop", on="post", match_prompt="p2", accepted=True))
    with pytest.raises(FalInvokeBatchError):
        run.try_()
    assert posts_by_prompt(emulator) == once_each(6), "not within the same try"
    said()
    assert run.retry()["done"] == 6
    assert posts_by_prompt(emulator) == once_each(6) + Counter(["p2"])
    assert "Submitted again, though an earlier submit of theirs may have been paid: items 2" in said()


def test_a_wrong_key_ends_the_try_at_once(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=prompts(50))
    emulator.add_fault(Fault("answer", on="post", status=401, times=None))
    with pytest.raises(AirflowFailException, match="model access key"):
        run.try_()
    assert len(emulator.posts()) <= 4, "those that were in the air"
    assert set(run.phases()) == {"waiting"}
    emulator.clear_faults()
    assert run.retry()["done"] == 50


def test_a_key_that_is_revoked_while_jobs_run_loses_none_of_them(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=prompts(8), max_in_flight=4)
    emulator.add_fault(Fault("answer", on="get", status=401, times=None))
    with pytest.raises(AirflowFailException, match="model access key"):
        run.try_()
    assert Counter(run.phases()) == {"submitted": 4, "waiting": 4}
    emulator.clear_faults()
    assert run.retry()["done"] == 8
    assert posts_by_prompt(emulator) == once_each(8)


def test_ten_refused_submits_in_a_row_are_enough(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=prompts(200), model_id="fal-ai/no-such-model")
    with pytest.raises(FalInvokeBatchError, match="10 submits in a row were refused"):
        run.try_()
    assert 10 <= len(emulator.posts()) <= 14
    assert emulator.jobs == {}


def test_single_refused_submits_keep_nobody_else_back(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=prompts(30))
    for number in range(0, 30, 2):
        emulator.add_fault(Fault("answer", on="post", status=422, match_prompt=f"p{number}", times=1))
    with pytest.raises(AirflowFailException, match=r"\d+ refused"):
        run.try_()
    assert run.phases().count("done") == 15


def test_a_quota_that_is_used_up_is_waited_for(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "QUOTA_PAUSE", 0.2)
    connection = {**emulator.connection, "extra": {"submit_patience": 0}}
    monkeypatch.setenv("AIRFLOW_CONN_FALINVOKE_DEFAULT", json.dumps(connection))
    run = Runner(tmp_path, inputs=prompts(12), max_in_flight=3)
    emulator.add_fault(Fault("answer", on="post", status=429, times=9, after=5, seconds=0.2))
    assert run.try_()["done"] == 12
    assert posts_by_prompt(emulator) == once_each(12)


def test_a_batch_does_not_wait_for_a_quota_for_ever(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "QUOTA_PAUSE", 0.05)
    monkeypatch.setattr(plan, "QUOTA_PATIENCE", 0.3)
    connection = {**emulator.connection, "extra": {"submit_patience": 0}}
    monkeypatch.setenv("AIRFLOW_CONN_FALINVOKE_DEFAULT", json.dumps(connection))
    run = Runner(tmp_path, inputs=prompts(12))
    emulator.add_fault(Fault("answer", on="post", status=429, times=None, after=5))
    with pytest.raises(FalInvokeRateLimitError):
        run.try_()
    assert Counter(run.phases()) == {"done": 5, "waiting": 7}
    assert len(run.manifest()) == 12
    emulator.clear_faults()
    forget_accounts()  # a retry is another process, and none the wiser
    assert run.retry()["done"] == 12


def test_an_api_that_is_out_of_reach_ends_the_try_once_nothing_is_in_flight(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {**emulator.connection, "extra": {"submit_patience": 0}}
    monkeypatch.setenv("AIRFLOW_CONN_FALINVOKE_DEFAULT", json.dumps(connection))
    emulator.stop()
    run = Runner(tmp_path, inputs=prompts(5))
    with pytest.raises(FalInvokeUnreachableError):
        run.try_()
    assert set(run.phases()) == {"waiting"}
    emulator.start()
    assert run.retry()["done"] == 5


def test_a_download_that_fails_loses_no_job(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Runner(tmp_path, inputs=prompts(5))
    emulator.add_fault(Fault("answer", on="media", status=410, times=2))
    with pytest.raises(FalInvokeBatchError, match="2 gone") as caught:
        run.try_()
    assert caught.value.may_pass
    assert run.retry()["done"] == 5
    assert posts_by_prompt(emulator) == once_each(5)


def test_a_result_whose_files_are_gone_is_asked_for_anew_by_a_clear(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=prompts(3))
    emulator.add_fault(Fault("answer", on="media", status=410, times=4))
    for _ in range(2):
        with pytest.raises(FalInvokeBatchError, match="gone"):
            run.try_()
    emulator.clear_faults()
    gone = run.phases().count("gone")
    assert gone >= 1
    run.clear()
    assert run.try_()["done"] == 3
    assert len(emulator.jobs) == 3 + gone


@pytest.mark.parametrize(("policy", "states"), [("keep", "done"), ("fail", "refused"), ("skip", "done")])
def test_flagged_pictures_are_treated_as_the_user_says(
    policy: Any, states: str, emulator: Emulator, tmp_path: Path
) -> None:
    emulator.add_fault(Fault("merge", on="get", match_prompt="p1", value={"output": FLAGGED}, times=None))
    run = Runner(tmp_path, inputs=prompts(3), on_flagged=policy, on_item_failure="ignore")
    run.try_()
    rows = run.manifest()
    assert [row["state"] for row in rows] == ["done", states, "done"]
    assert len(rows[1]["files"]) == (policy == "keep")
    assert policy == "keep" or "flagged" in rows[1]["error"]


def test_what_is_left_out_is_in_the_row_of_its_item(emulator: Emulator, tmp_path: Path) -> None:
    output = {"images": FLAGGED["images"], "preview": "https://media.invalid/a.png"}
    emulator.add_fault(Fault("merge", on="get", match_prompt="p1", value={"output": output}, times=None))
    run = Runner(tmp_path, inputs=prompts(2), max_files=1)
    run.try_()
    assert [row["left_out"] for row in run.manifest()] == [[], ["preview (a URL, and not in the shape of a file)"]]


@pytest.mark.parametrize("at_once", [12, 3])
def test_nothing_more_is_submitted_where_no_file_can_be_saved(
    at_once: int, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a full disk would make a batch pay for thousands of pictures that nobody gets."""
    from airflow_provider_falinvoke.batch import wave

    def full(*_: Any, **__: Any) -> Any:
        raise FalInvokeMediaError("No space left on device")

    run = Runner(tmp_path, inputs=prompts(40), max_in_flight=at_once)
    with monkeypatch.context() as patch:
        patch.setattr(wave, "bring_home", full)
        with pytest.raises(FalInvokeBatchError, match="10 jobs in a row could not be saved") as caught:
            run.try_()
    assert caught.value.may_pass
    paid = len(emulator.jobs)
    assert paid < 32
    assert Counter(run.phases()) == {"unsaved": paid, "waiting": 40 - paid}
    assert run.retry()["done"] == 40
    assert posts_by_prompt(emulator) == once_each(40)


def test_a_journal_that_cannot_be_written_stops_the_batch_before_the_next_post(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Runner(tmp_path, inputs=prompts(30))
    write = Folder.write

    def full_after_some(self: Folder, name: str, data: bytes, content_type: str) -> None:
        if name.startswith("items") and len(emulator.posts()) >= 5:
            raise OSError("No space left on device")
        write(self, name, data, content_type)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", full_after_some)
        with pytest.raises(FalInvokeError, match="nothing more is submitted") as caught:
            run.try_()
    in_flight = len(emulator.posts())
    assert 5 <= in_flight <= 8
    unwritten = set(emulator.jobs) - {item.get("request_id") for item in items_of(run.home / "_batch")}
    assert unwritten
    assert all(request_id in str(caught.value) for request_id in unwritten)


def test_changed_inputs_are_new_jobs_and_the_old_ones_are_named(emulator: Emulator, tmp_path: Path, said: Said) -> None:
    run = Runner(tmp_path, inputs=prompts(4), model_id=SLOW)
    with pytest.raises(TaskDeferred):
        call(run.operator(), "execute", run.ti)
    abandoned = [id for id, job in emulator.jobs.items() if job.input["prompt"] in ("p1", "p3")]
    said()
    with pytest.raises(TaskDeferred):
        call(run.operator(inputs=["p0", "other", "p2"]), "execute", run.ti)
    assert posts_by_prompt(emulator) == once_each(4) + Counter(["other"])
    text = said()
    assert "go on and are paid" in text
    assert all(request_id in text for request_id in abandoned)


def test_a_file_that_is_cut_off_while_the_batch_runs_ends_it(emulator: Emulator, tmp_path: Path) -> None:
    source = tmp_path / "inputs.jsonl"
    source.write_text("".join(f"{json.dumps(prompt)}\n" for prompt in prompts(6)))
    run = Runner(tmp_path / "out", inputs=source.as_uri(), max_in_flight=2)
    with pytest.raises(TaskDeferred) as deferred:
        call(run.operator(), "execute", run.ti)
    source.write_text('"p0"\n"p1"\n"p2"\n')
    with pytest.raises(AirflowFailException, match="3 refused"):
        run.resume(deferred.value)
    assert posts_by_prompt(emulator) == once_each(3)
    assert [row["state"] for row in run.manifest()] == ["done"] * 3 + ["refused"] * 3
    assert "have no item 3 any more" in run.manifest()[3]["error"]


def test_a_retry_takes_up_the_jobs_in_flight(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=prompts(10), max_in_flight=4)
    with pytest.raises(TaskDeferred):
        call(run.operator(), "execute", run.ti)
    assert len(emulator.posts()) == 4
    assert run.retry()["done"] == 10
    assert posts_by_prompt(emulator) == once_each(10)


@pytest.mark.parametrize("event", [None, {}, {"status": "unheard of"}])
def test_an_event_that_cannot_be_read_loses_nothing(event: Any, emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=prompts(6), max_in_flight=3)
    with pytest.raises(TaskDeferred) as first:
        call(run.operator(), "execute", run.ti)
    with pytest.raises(TaskDeferred) as second:
        call(run.operator(), first.value.method_name, run.ti, event=event)
    assert run.resume(second.value)["done"] == 6
    assert posts_by_prompt(emulator) == once_each(6)


def test_a_resume_that_runs_twice_submits_and_saves_once(emulator: Emulator, tmp_path: Path) -> None:
    """A queue may deliver a task twice, and a worker may die over its resume."""
    run = Runner(tmp_path, inputs=prompts(9), max_in_flight=3)
    with pytest.raises(TaskDeferred) as first:
        call(run.operator(), "execute", run.ti)
    event = fire(first.value)
    for _ in range(2):
        with pytest.raises(TaskDeferred) as again:
            call(run.operator(), "next_wave", run.ti, event=event)
    assert run.resume(again.value)["done"] == 9
    assert posts_by_prompt(emulator) == once_each(9)


@pytest.mark.parametrize("renders_to", [{"output_path": "  "}, {"max_in_flight": "many"}, {"timeout": None}])
def test_parameters_that_cannot_be_read_after_a_deferral_leave_the_jobs_to_a_retry(
    renders_to: dict[str, Any], emulator: Emulator, tmp_path: Path
) -> None:
    run = Runner(tmp_path, inputs=prompts(3))
    with pytest.raises(TaskDeferred) as deferred:
        call(run.operator(), "execute", run.ti)
    with pytest.raises(FalInvokeError, match=r"jobs go on and are paid.*a retry or a clear") as failed:
        call(run.operator(**renders_to), "next_wave", run.ti, event=fire(deferred.value))
    assert failed.value.may_pass
    assert run.retry()["done"] == 3
    assert posts_by_prompt(emulator) == once_each(3)


def test_a_journal_that_vanished_is_not_an_empty_one(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=prompts(3))
    with pytest.raises(TaskDeferred) as deferred:
        call(run.operator(), "execute", run.ti)
    shutil.rmtree(run.home / "_batch")
    with pytest.raises(FalInvokeError, match="nobody knows which jobs are paid"):
        call(run.operator(), "next_wave", run.ti, event=fire(deferred.value))
    assert len(emulator.posts()) == 3


def rows_file(run: Runner) -> Path:
    (path,) = (run.home / "_batch").glob("rows-0000.*.jsonl")
    return path


@pytest.mark.parametrize("damage", [b'{"index": 0, "n"', b"[]", b"{}", b"null", b"\xff\xfe"])
def test_damaged_rows_are_named_and_keep_nobody_from_going_on(
    damage: bytes, emulator: Emulator, tmp_path: Path, said: Said
) -> None:
    run = Runner(tmp_path, inputs=prompts(2))
    run.try_()
    rows_file(run).write_bytes(damage)
    said()
    assert run.retry()["done"] == 2
    assert f"{rows_file(run).name} of the batch's journal" in said()
    assert all("result is lost" in row["error"] and row["request_id"] for row in run.manifest())
    assert len(emulator.posts()) == 2


def test_lost_rows_are_no_results_without_files(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=prompts(2))
    run.try_()
    rows_file(run).unlink()
    assert run.retry()["done"] == 2
    assert all("result is lost" in row["error"] and row["request_id"] for row in run.manifest())
    assert len(emulator.posts()) == 2


def test_a_late_job_is_named_and_a_retry_takes_it_up(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=["fast", {"model_id": SLOW, "input": {"prompt": "slow"}}], timeout=0.6)
    with pytest.raises(FalInvokeBatchError, match="1 late") as caught:
        run.try_()
    assert caught.value.may_pass
    row = run.manifest()[1]
    assert (row["state"], row["request_id"] in row["error"]) == ("late", True)
    with pytest.raises(FalInvokeBatchError, match="1 late"):
        run.retry()
    assert len(emulator.posts()) == 2
    assert len(emulator.gets(row["request_id"])) >= 2


@pytest.mark.parametrize("error", [TaskDeferralTimeout("Trigger timeout"), TaskDeferralError("Trigger failure")])
def test_where_airflow_ends_the_wait_the_jobs_are_looked_at_once_more(
    error: Exception, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Runner(tmp_path, inputs=prompts(6), max_in_flight=3)
    with pytest.raises(TaskDeferred):
        call(run.operator(), "execute", run.ti)
    time.sleep(0.4)
    operator = run.operator()

    def fails(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(BaseOperator, "resume_execution", fails)
    with pytest.raises(TaskDeferred) as deferred:
        operator.resume_execution("next_wave", None, {"ti": run.ti})  # type: ignore[typeddict-item]  # no more of a context is used
    assert run.phases()[:3] == ["done"] * 3
    assert len(emulator.gets()) == 3
    assert run.resume(deferred.value)["done"] == 6


def test_where_airflow_ends_the_wait_and_nothing_ended_the_task_fails_and_the_jobs_go_on(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Runner(tmp_path, inputs=prompts(3), model_id=SLOW)
    with pytest.raises(TaskDeferred):
        call(run.operator(), "execute", run.ti)
    operator = run.operator()

    def fails(*_: Any, **__: Any) -> Any:
        raise TaskDeferralError("Trigger failure")

    monkeypatch.setattr(BaseOperator, "resume_execution", fails)
    with pytest.raises(FalInvokeTimeoutError, match=r"3 jobs.*they are paid; a retry takes them up"):
        operator.resume_execution("next_wave", None, {"ti": run.ti})  # type: ignore[typeddict-item]  # no more of a context is used
    assert run.phases() == ["submitted"] * 3
    assert len(emulator.gets()) == 3


def test_a_kill_keeps_the_ids_of_what_was_in_the_air(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow interrupts a task that is cleared or marked; the POSTs in the air are paid."""
    from airflow_provider_falinvoke.batch import wave

    emulator.add_fault(Fault("slow", on="post", seconds=0.4, times=None))
    run = Runner(tmp_path, inputs=prompts(20), model_id=SLOW)
    interruptions = iter([KeyboardInterrupt])

    def interrupted(futures: Any, **options: Any) -> Any:
        if error := next(interruptions, None):
            while len(emulator.posts()) < 4:
                time.sleep(0.01)
            raise error
        return concurrent.futures.wait(futures, **options)

    monkeypatch.setattr(wave, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.try_()
    assert Counter(run.phases()) == {"submitted": 4, "waiting": 16}
    assert len(emulator.posts()) == 4


def test_on_kill_submits_nothing_more_and_says_what_goes_on(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    run = Runner(tmp_path, inputs=prompts(30), model_id=SLOW)
    operator = run.operator()
    operator.on_kill()
    submit = operator.hook.submit_request
    made: list[Any] = []

    def kills_after_five(request: Any, **options: Any) -> Any:
        made.append(submit(request, **options))
        if len(made) == 5:
            operator.on_kill()
        return made[-1]

    monkeypatch.setattr(operator.hook, "submit_request", kills_after_five)
    with pytest.raises(TaskDeferred):
        call(operator, "execute", run.ti)
    assert 5 <= len(emulator.posts()) <= 9
    assert run.phases().count("submitted") == len(emulator.posts())
    assert "jobs go on and are paid" in said()


def test_mapped_tasks_and_runs_have_folders_of_their_own(emulator: Emulator, tmp_path: Path) -> None:
    run = Runner(tmp_path, inputs=prompts(2), model_id=INSTANT)
    folders = set()
    for map_index, run_id in ((-1, "r1"), (0, "r1"), (1, "r1"), (-1, "r2")):
        run.ti.map_index, run.ti.run_id = map_index, run_id
        folders.add(run.try_()["folder"])
    assert len(folders) == 4
    assert len(emulator.posts()) == 8


def test_the_iterations_of_a_loop_have_folders_of_their_own(emulator: Emulator, tmp_path: Path) -> None:
    """Airflow 3.4 tells them apart by their region; the map index is -1 in each."""
    run = Runner(tmp_path, inputs=prompts(2), model_id=INSTANT)
    folders = set()
    for index in range(2):
        run.ti.region_id, run.ti.region_index = "draw.loop", index
        folders.add(run.try_()["folder"])
    assert len(folders) == 2
    assert posts_by_prompt(emulator) == once_each(2) + once_each(2)


def test_progress_is_logged_after_each_wave(emulator: Emulator, tmp_path: Path, said: Said) -> None:
    Runner(tmp_path, inputs=prompts(6), max_in_flight=3).try_()
    text = said()
    assert "Batch: 0 of 6 done, 0 failed, 3 in flight, 3 waiting; 0 an hour, time left: unknown" in text
    assert "Batch: 6 of 6 done, 0 failed, 0 in flight, 0 waiting" in text


def test_a_result_that_came_without_an_id_is_brought_home(emulator: Emulator, tmp_path: Path) -> None:
    emulator.add_fault(Fault("no_envelope", on="post", match_prompt="p1"))
    run = Runner(tmp_path, inputs=prompts(3), model_id=INSTANT)
    assert run.try_()["done"] == 3
    row = run.manifest()[1]
    assert (row["state"], row["request_id"], len(row["files"])) == ("done", None, 1)


def test_results_that_came_without_an_id_have_files_of_their_own(emulator: Emulator, tmp_path: Path) -> None:
    emulator.add_fault(Fault("no_envelope", on="post", times=None))
    run = Runner(tmp_path, inputs=prompts(6), model_id=INSTANT)
    assert run.try_()["done"] == 6
    files = [file for row in run.manifest() for file in row["files"]]
    assert len({file["path"] for file in files}) == 6
    for file in files:
        content = Path(file["path"].removeprefix("file://")).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"]


def test_a_result_that_came_without_an_id_and_cannot_be_saved_is_not_paid_again(
    emulator: Emulator, tmp_path: Path
) -> None:
    emulator.add_fault(Fault("no_envelope", on="post", match_prompt="p1"))
    emulator.add_fault(Fault("answer", on="media", status=410, match_prompt="p1"))
    run = Runner(tmp_path, inputs=prompts(3), model_id=INSTANT)
    for _ in range(2):
        with pytest.raises(AirflowFailException, match="1 ambiguous"):
            run.try_()
    assert posts_by_prompt(emulator) == once_each(3)
    assert run.phases()[1] == "ambiguous"
