"""What Airflow's database holds of a task instance."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from airflow_provider_falinvoke.media_tab.results import Result, read_result

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement


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
    from sqlalchemy import select

    def of(model: type[TaskInstance] | type[XComModel]) -> list[ColumnElement[bool]]:
        return [getattr(model, name) == value for name, value in asdict(key).items()]

    with create_session() as session:
        row = session.execute(select(TaskInstance.state).where(*of(TaskInstance))).first()
        if row is None:
            return None
        wanted = select(XComModel.key, XComModel.value).where(
            *of(XComModel), XComModel.key.in_(("return_value", "summary"))
        )
        values = {row.key: row.value for row in session.execute(wanted)}
    results = (read_result(values.get(name)) for name in ("return_value", "summary"))
    return Found(state=row[0] and str(row[0]), result=next((one for one in results if one), None))
