"""What operators and sensors share: a job's end, and durations."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_falinvoke import exceptions
from airflow_provider_falinvoke._compat import AirflowFailException
from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus
from airflow_provider_falinvoke.completion import bring_home, failing_for_good, seconds_of
from airflow_provider_falinvoke.emulator import Emulator
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook

ERRORS = [
    kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, exceptions.FalInvokeError)
]


@pytest.mark.parametrize("kind", ERRORS)
def test_airflow_retries_only_what_may_pass(kind: type[exceptions.FalInvokeError]) -> None:
    with pytest.raises(kind if kind.may_pass else AirflowFailException, match="the-id") as caught, failing_for_good():
        raise kind("what happened", request_id="the-id")
    assert kind.may_pass or isinstance(caught.value.__cause__, kind)


def test_an_error_of_another_kind_is_left_alone() -> None:
    with pytest.raises(ZeroDivisionError), failing_for_good():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(5, 5.0), (0, 0.0), (0.5, 0.5), ("7", 7.0), (" 1.5 ", 1.5), ("1e3", 1000.0), (timedelta(minutes=2), 120.0)],
)
def test_a_duration_is_a_number_its_text_or_a_timedelta(value: Any, seconds: float) -> None:
    assert seconds_of("timeout", value) == seconds


@pytest.mark.parametrize(
    "value", [-1, "-0.1", "soon", "", None, float("nan"), "nan", float("inf"), "inf", [], {}, timedelta(seconds=-1)]
)
def test_any_other_duration_is_named(value: Any) -> None:
    with pytest.raises(exceptions.FalInvokeInputError, match="timeout must be a number of seconds"):
        seconds_of("timeout", value)


def test_a_result_is_plain_and_its_times_are_iso_8601() -> None:
    invocation = Invocation(
        request_id="r",
        status=InvocationStatus.COMPLETED,
        raw_status="COMPLETE",
        model_id="m",
        created_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
        completed_at=datetime(2026, 1, 1, 0, 0, 2, 500000, tzinfo=timezone.utc),
        output={"images": [{"url": "data:image/png;base64,AAAA"}]},
    )
    result = bring_home(FalInvokeHook(), invocation, None)
    assert json.loads(json.dumps(result)) == result
    assert result == {
        "request_id": "r",
        "model_id": "m",
        "status": "COMPLETED",
        "created_at": "2026-01-01T00:00:00+00:00",
        "started_at": None,
        "completed_at": "2026-01-01T00:00:02.500000+00:00",
        "seconds": 2.5,
        "output": {"images": [{"url": "<inline image/png, 26 characters>"}]},
        "files": [],
    }


def test_files_are_saved_only_where_a_folder_is_given(emulator: Emulator, tmp_path: Path) -> None:
    hook = FalInvokeHook()
    given = {"prompt": "x", "image_size": {"width": 32, "height": 32}}
    done = hook.submit("fal-ai/flux/schnell", given)
    assert bring_home(hook, done, None)["files"] == []
    assert bring_home(hook, done, "")["files"] == []
    (file,) = bring_home(hook, done, tmp_path.as_uri())["files"]
    assert set(file) == {"path", "size", "content_type"}
