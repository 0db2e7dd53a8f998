"""Asset events for a task's outlets: each carries the manifest of what the job made."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_falinvoke.api.portable import for_airflow

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


def announce(
    context: Context,
    outlets: Iterable[Any],
    result: Mapping[str, Any],
    files: Iterable[Mapping[str, Any]] | None = None,
) -> None:
    """Put the manifest into the asset events that Airflow records when the task succeeds.

    The event of an Asset (or of a reference to one) carries :func:`manifest`. An AssetAlias, whose assets are known at
    run time only, gets each saved file as an Asset of its URI, with the file's own entry. What else stands in
    ``outlets`` is left alone.

    :param context: the task's context.
    :param outlets: the task's outlets.
    :param result: see :func:`~airflow_provider_falinvoke.completion.bring_home`.
    :param files: what an alias gets, each with its ``path``; the result's ``files`` by default.
    """
    from airflow.sdk.definitions.asset import Asset, AssetAlias, AssetRef

    result = for_airflow(dict(result))
    saved = for_airflow(list(result.get("files", ()) if files is None else files))
    for outlet in outlets:
        if isinstance(outlet, (Asset, AssetRef)):
            context["outlet_events"][outlet].extra.update(manifest(result))
        elif isinstance(outlet, AssetAlias):
            if not saved:
                log.warning("The asset alias %s gets no asset: no file was saved; is output_path set?", outlet.name)
            for file in saved:
                context["outlet_events"][outlet].add(Asset(uri=uri_of(file["path"])), extra=dict(file))


def manifest(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job's result without the model's own ``output``, which may be long and whose URLs expire."""
    return {key: value for key, value in result.items() if key != "output"}


def uri_of(path: str) -> str:
    """Return the URI by which others know a file, whatever connection it was written through.

    :param path: a file's ``path``, such as ``s3://aws_default@bucket/key.png``.
    :return: ``s3://bucket/key.png``; a plain path becomes a ``file:`` URI.
    """
    scheme, host, name = location(path)
    # Airflow drops what it takes for a fragment, and sorts what it takes for a query.
    return f"{scheme}://{host}{name}".replace("#", "%23").replace("?", "%3F")


def location(path: str) -> tuple[str, str, str]:
    """Return a file's scheme, its host or bucket without the connection, and its name from the slash on.

    A path of this machine may be relative, as ObjectStoragePath takes it; others cannot know to what.
    """
    scheme, found, rest = path.partition("://")
    if not found:
        return "file", "", str(Path(path).absolute())
    host = rest.partition("/")[0]
    return scheme, host.rpartition("@")[2], rest[len(host) :]
