"""The control interface under ``/_emulator``, for an emulator in another process. Asks for no key, leaves no record."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from airflow_provider_falinvoke.emulator.api import Api
from airflow_provider_falinvoke.emulator.contract import PATH, contract
from airflow_provider_falinvoke.emulator.faults import fault_of
from airflow_provider_falinvoke.emulator.records import report
from airflow_provider_falinvoke.emulator.replies import Reply, Request, error_reply, json_reply
from airflow_provider_falinvoke.emulator.state import State
from airflow_provider_falinvoke.emulator.views import job_views

PREFIX = "/_emulator/"


class Controlled(Api):
    """The API with its control interface beside it, on the same origin."""

    def answer(self, request: Request) -> Reply:
        """Answer a control request, and one for the contract; leave any other to the API."""
        if (request.method, request.path) == ("GET", PATH):
            return json_reply(200, contract(self._state.durations, self._state.statuses))
        if request.path.startswith(PREFIX):
            return control(self._state, request)
        return super().answer(request)


def control(state: State, request: Request) -> Reply:
    """Answer a control request."""
    name = f"{request.method} {request.path.removeprefix(PREFIX)}"
    if name not in _ANSWERS:
        return error_reply(404, "not_found", f"The emulator has {', '.join(_ANSWERS)}; not {name}.")
    with state.lock:
        return _ANSWERS[name](state, request.body)


def _clear_faults(state: State, _body: bytes) -> Reply:
    state.faults.clear()
    return json_reply(200, [])


def _reset(state: State, _body: bytes) -> Reply:
    state.reset()
    return json_reply(200, {})


def _add_faults(state: State, body: bytes) -> Reply:
    try:
        document: Any = json.loads(body)
        faults = [fault_of(one) for one in (document if isinstance(document, list) else [document])]
    except ValueError as error:
        return error_reply(422, "unprocessable_entity", str(error))
    for fault in faults:
        state.add_fault(fault)
    return json_reply(201, state.faults.report())


_ANSWERS: Mapping[str, Callable[[State, bytes], Reply]] = {
    "GET requests": lambda state, _body: json_reply(200, report(state.requests)),
    "GET jobs": lambda state, _body: json_reply(200, {name: asdict(view) for name, view in job_views(state).items()}),
    "GET leaks": lambda state, _body: json_reply(200, state.leaks),
    "GET faults": lambda state, _body: json_reply(200, state.faults.report()),
    "POST faults": _add_faults,
    "DELETE faults": _clear_faults,
    "POST reset": _reset,
}
