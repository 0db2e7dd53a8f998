"""Property: what passed ``carried`` comes through Airflow's own encoders, and both databases, as it went in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from airflow.models.asset import AssetEvent
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.models.xcom import XComModel
from airflow.sdk.execution_time.comms import _RequestFrame
from airflow.sdk.execution_time.xcom import XCom
from airflow.serialization.serialized_objects import BaseSerialization
from airflow.triggers.base import TriggerEvent
from hypothesis import HealthCheck, given, settings
from pydantic import JsonValue, TypeAdapter

from airflow_provider_falinvoke.api.models import Invocation, InvocationStatus
from airflow_provider_falinvoke.api.portable import carried, for_airflow
from airflow_provider_falinvoke.batch.waiting import Ended, Job, Waited
from airflow_provider_falinvoke.exceptions import FalInvokeError
from airflow_provider_falinvoke.triggers.batch import FalInvokeBatchTrigger, to_event
from airflow_provider_falinvoke.triggers.falinvoke import FalInvokeTrigger, completed_event, failed_event, read_event
from tests.airflow.lab import POSTGRES, require_postgres
from tests.support.hostile import hostile_json

try:
    from airflow.sdk.serde import deserialize, serialize
except ImportError:  # until Airflow 3.1
    from airflow.serialization.serde import deserialize, serialize  # type: ignore[no-redef,import-not-found]  # until Airflow 3.1

PLAIN: TypeAdapter[Any] = TypeAdapter(JsonValue)
#: What the rows of tasks, XComs and asset events are kept in.
COLUMNS = {
    "value": XComModel.__table__.c.value.type,
    "next_kwargs": TaskInstance.__table__.c.next_kwargs.type,
    "extra": AssetEvent.__table__.c.extra.type,
}
Stored = Callable[[str, Any], Any]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stored(request: pytest.FixtureRequest) -> Iterator[Stored]:
    """Return what writes a value to a column of Airflow's and reads it again."""
    url = "sqlite://"
    if request.param == "postgresql":
        require_postgres()
        url = f"postgresql+psycopg2://postgres@{POSTGRES}:5432/postgres"
    table = sa.Table(
        "carried",
        sa.MetaData(),
        *(sa.Column(name, kind, nullable=True) for name, kind in COLUMNS.items()),
        prefixes=["TEMPORARY"],
    )
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        table.create(connection)

        def written_and_read(column: str, value: Any) -> Any:
            connection.execute(table.delete())
            connection.execute(table.insert().values({column: value}))
            return connection.execute(sa.select(table.c[column])).scalar_one()

        yield written_and_read
    engine.dispose()


def framed(value: Any) -> Any:
    """Return a value as the process at the other end of a task's or triggerer's socket reads it."""
    return msgspec.msgpack.decode(bytes(_RequestFrame(id=1, body={"value": value}).as_bytes()[4:]))[1]["value"]


def over_http(value: Any) -> Any:
    """Return a value as the api-server, or a worker, reads it."""
    read = json.loads(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())
    return PLAIN.validate_python(read)


def through_xcom(value: Any, stored: Stored) -> Any:
    """Return what a task pulls that another pushed."""
    pushed = XCom.serialize_value(value)
    kept = stored("value", over_http(framed(pushed)))
    return deserialize(framed(over_http(kept)))


def through_a_deferral(value: Any, stored: Stored) -> Any:
    """Return what a task is resumed with, of what it deferred with or what a trigger reported."""
    kept = stored("next_kwargs", over_http(framed(serialize({"value": framed(value)}))))
    resumed: Any = deserialize(framed(over_http(kept)))
    return resumed["value"]


def through_an_asset(value: Any, stored: Stored) -> Any:
    """Return the extra of an asset's event that another task reads."""
    return framed(over_http(stored("extra", over_http(framed({"value": value})))))["value"]


def through_trigger_arguments(value: Any, stored: Stored) -> Any:
    """Return what a triggerer makes a trigger of."""
    del stored
    return Trigger("a.Trigger", over_http(framed(serialize({"value": value})))).kwargs["value"]


def through_the_dag_serialisation(value: Any, stored: Stored) -> Any:
    """Return what came of it by the older way, which Airflow falls back to, and 3.1 knows alone."""
    del stored
    return BaseSerialization.deserialize(over_http(BaseSerialization.serialize(value)))


WAYS = [
    through_xcom,
    through_a_deferral,
    through_an_asset,
    through_trigger_arguments,
    through_the_dag_serialisation,
]
#: The database is the same for all examples, and empty at the begin of each.
for_all = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def assert_arrived(came_out: Any, went_in: Any) -> None:
    """Say that a value is plain and the same, but that JSONB may give a large float back as a whole number."""
    waiting = [(came_out, went_in)]
    while waiting:
        found, wanted = waiting.pop()
        if isinstance(wanted, float):
            assert type(found) in (int, float)
            assert float(found) == wanted
            continue
        assert type(found) is type(wanted)
        if isinstance(wanted, dict):
            assert found.keys() == wanted.keys()
            waiting += [(found[key], item) for key, item in wanted.items()]
        elif isinstance(wanted, list):
            waiting += zip(found, wanted, strict=True)
        else:
            assert type(found) in (str, int, bool, type(None))
            assert found == wanted


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@for_all
@given(value=hostile_json())
def test_any_json_that_is_carried_arrives_as_plain_data_and_equal(
    way: Callable[[Any, Stored], Any], stored: Stored, value: Any
) -> None:
    went_in = carried(value)
    assert_arrived(way(went_in, stored), went_in)


@for_all
@given(value=hostile_json())
def test_an_event_always_arrives(stored: Stored, value: Any) -> None:
    """Also one whose parts did not come from a reply: an error's text, what the trigger was given."""
    text = json.dumps(value, ensure_ascii=False)[:500] if not isinstance(value, str) else value
    invocation = Invocation(
        request_id="r1", status=InvocationStatus.COMPLETED, raw_status="\ud800", model_id="\0", output=carried(value)
    )
    error = FalInvokeError(f"It went wrong: {text}", request_id="r\udc00")
    waited = Waited(ended=[Ended("r1", invocation), Ended("r2", error=error)], looks={"r3\ud800": 1.0}, error=error)
    for event in (completed_event("r1", invocation), failed_event("r1", error), to_event(waited)):
        payload = TriggerEvent(for_airflow(event)).payload
        assert_arrived(through_a_deferral(payload, stored), payload)
    event = through_a_deferral(for_airflow(completed_event("r1", invocation)), stored)
    output = read_event(event, hook=None).output  # type: ignore[arg-type]  # no hook is asked
    assert_arrived(output, carried(value))


def test_a_triggers_arguments_always_encode() -> None:
    odd = "a\0\ud800"
    one = FalInvokeTrigger(fal_conn_id=odd, request_id=odd, submitted_at=1e300, deadline=float("inf"), model_id=odd)
    many = FalInvokeBatchTrigger(fal_conn_id=odd, jobs=[Job(odd, 1.0, float("inf"), 0.0)], folder=odd, model_id=odd)
    for trigger in (one, many):
        _, arguments = trigger.serialize()
        assert Trigger("a.Trigger", over_http(framed(serialize(arguments)))).kwargs == arguments
