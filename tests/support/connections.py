"""A connection where users have it: in Airflow's database, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stored(fields: dict[str, Any], conn_id: str = "falinvoke_default") -> Iterator[None]:
    """Keep a connection in the database of the fixture ``airflow_db`` for a while."""
    from airflow.models import Connection
    from airflow.utils.session import create_session

    with create_session() as session:
        session.add(Connection(conn_id=conn_id, **fields))
    try:
        yield
    finally:
        with create_session() as session:
            session.query(Connection).filter_by(conn_id=conn_id).delete()
