"""Reads from Airflow's metadata database what its UI would show."""

from __future__ import annotations

from typing import Any


def asset_events(*, asset: Any = None, alias: Any = None) -> list[tuple[str, dict[str, Any]]]:
    """Return the events that Airflow recorded, each with its asset's URI and its extra."""
    from airflow.models.asset import AssetAliasModel, AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    wanted = (
        select(AssetEvent, AssetModel.uri)
        .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        .order_by(AssetEvent.id)
    )
    if asset is not None:
        wanted = wanted.where(AssetModel.uri == asset.uri)
    if alias is not None:
        wanted = wanted.where(AssetEvent.source_aliases.any(AssetAliasModel.name == alias.name))
    with create_session() as session:
        return [(uri, event.extra) for event, uri in session.execute(wanted)]


def rendered_fields(task_id: str) -> dict[str, Any]:
    """Return what the view of rendered templates shows of the only run of a task.

    :param task_id: one that no other test has.
    """
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.utils.session import create_session
    from sqlalchemy import select

    wanted = select(RenderedTaskInstanceFields).where(RenderedTaskInstanceFields.task_id == task_id)
    with create_session() as session:
        (shown,) = session.scalars(wanted)
        return dict(shown.rendered_fields)
