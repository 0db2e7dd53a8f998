"""Airflow tells a task of ours that it stored its success: without that a result that it could not store is lost."""

from __future__ import annotations

import pytest

from airflow_provider_falinvoke._compat import hears_of_success
from airflow_provider_falinvoke.durable import Ledger
from airflow_provider_falinvoke.emulator import Emulator
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator
from tests.support.dags import run_tasks

pytest.importorskip("airflow.sdk.listener", reason="Airflow 3.1 tells it in another way, and has no task state store")


@pytest.mark.usefixtures("airflow_db", "quick_deferral")
@pytest.mark.parametrize("model_id", ["fal-ai/flux/schnell", "fal-ai/fast-sdxl"])
def test_a_success_that_airflow_stored_is_acknowledged(
    model_id: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the worker, and after a deferral, by the plugin's entry point alone."""
    heard: list[bool] = []
    acknowledged: list[Ledger] = []
    done = Ledger.done

    def done_and_heard(self: Ledger, request_id: str | None) -> None:
        heard.append(hears_of_success())
        done(self, request_id)

    def acknowledge(self: Ledger) -> None:
        acknowledged.append(self)

    monkeypatch.setattr(Ledger, "done", done_and_heard)
    monkeypatch.setattr(Ledger, "acknowledge", acknowledge)
    ran = run_tasks(lambda: FalInvokeOperator(task_id="draw", model_id=model_id, input={"prompt": "x"}, defer_after=0))
    assert ran.state == "success"
    assert (heard, len(acknowledged)) == ([True], 1)
