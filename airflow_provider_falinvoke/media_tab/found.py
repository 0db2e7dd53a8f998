"""What Airflow's database holds of a task instance."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_provider_falinvoke.media_tab.results import Result, plain, read_result

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

log = logging.getLogger(__name__)

#: A larger result, in characters of its JSON, is not read.
LARGEST = 4 << 20
#: So long may the reference be that an XCom backend leaves in the database.
_LONGEST_REFERENCE = 4096


@dataclass(frozen=True)
class TaskInstanceKey:
    """Which task instance. Airflow's own key has a try number too; there are no XComs but the last try's."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int


@dataclass(frozen=True)
class Found:
    """What there is of a task instance.

    :param state: its state; None before it is queued.
    :param result: what it returned, where that is ours.
    """

    state: str | None
    result: Result | None


def find(key: TaskInstanceKey) -> Found | None:
    """Return what there is; None where there is no such task instance.

    A batch that failed has its summary under a key of its own.
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import Text, cast, func, select

    place = asdict(key)

    def of(model: type[TaskInstance] | type[XComModel], names: Iterable[str] = place) -> list[ColumnElement[bool]]:
        return [getattr(model, name) == place[name] for name in names]

    with create_session() as session:
        instances = select(TaskInstance.id, TaskInstance.state)
        row = session.execute(instances.where(*of(TaskInstance))).first()
        if row is None and key.map_index < 0 and hasattr(TaskInstance, "region_id"):
            # From Airflow 3.4 on a task may be in a loop. The tab's address has no iteration: the last one is shown.
            of_the_task = instances.where(*of(TaskInstance, ("dag_id", "run_id", "task_id")))
            row = session.execute(of_the_task.order_by(TaskInstance.id.desc()).limit(1)).first()
        if row is None:
            return None
        # From 3.4 on each try, and each iteration, has XComs of its own.
        its_own = getattr(XComModel, "task_instance_id", None)
        wanted = select(XComModel.key, XComModel.value).where(
            *(of(XComModel) if its_own is None else [its_own == row.id]),
            XComModel.key.in_(("return_value", "summary")),
            func.length(cast(XComModel.value, Text)) <= LARGEST,
        )
        values = {found.key: found.value for found in session.execute(wanted)}
    # Not before the session is closed: a backend's storage may hang, and the database's connections are few.
    results = (_result_of(key, name, values.get(name)) for name in ("return_value", "summary"))
    return Found(state=row.state and str(row.state), result=next((one for one in results if one), None))


def _result_of(key: TaskInstanceKey, name: str, value: Any) -> Result | None:
    """Return the result of an XCom; one that Airflow's XCom backend keeps elsewhere is read through it."""
    from airflow.configuration import conf
    from airflow.sdk.bases.xcom import BaseXCom

    if (result := read_result(value)) is not None:
        return result
    reference = plain(value) or value
    backend = conf.getimport("core", "xcom_backend")
    if backend in (None, BaseXCom) or not isinstance(reference, str) or len(reference) > _LONGEST_REFERENCE:
        return None
    try:
        return read_result(backend.deserialize_value(SimpleNamespace(key=name, value=reference, **asdict(key))))
    except Exception:  # each storage has errors of its own
        log.exception("The XCom backend does not give the result %r of %s", name, key)
        return None
