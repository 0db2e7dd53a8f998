"""Asset events for a task's outlets: each carries the manifest of what the job made."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_falinvoke.api.portable import for_airflow
from airflow_provider_falinvoke.side_effects import not_stopping_the_task

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

#: Characters of an asset's URI. Airflow takes 1,500, but PostgreSQL indexes a name with a URI, which are the same here,
#: in at most 2,704 bytes, and refuses the end of the task beyond that.
LONGEST_URI = 1300
#: What RFC 3986 lets stand in a path as it is, next to letters, digits and ``-._~``.
_PLAIN = "/:@!$&'()*+,;="


def announce(
    context: Context,
    outlets: Iterable[Any],
    result: Mapping[str, Any],
    files: Iterable[Mapping[str, Any]] | None = None,
) -> None:
    """Put the manifest into the asset events that Airflow records when the task succeeds.

    The event of an Asset (or of a reference to one) carries :func:`manifest`. An AssetAlias, whose assets are known at
    run time only, gets each saved file as an Asset of its URI, with the file's own entry. What else stands in
    ``outlets`` is left alone. The job is paid and its files are saved: an event that cannot be is a WARNING.

    :param context: the task's context.
    :param outlets: the task's outlets.
    :param result: see :func:`~airflow_provider_falinvoke.completion.bring_home`.
    :param files: what an alias gets, each with its ``path``; the result's ``files`` by default.
    """
    from airflow.sdk.definitions.asset import Asset, AssetAlias, AssetRef

    result = for_airflow(dict(result))
    saved = for_airflow(list(result.get("files", ()) if files is None else files))
    request_id = result.get("request_id")
    for outlet in outlets:
        if isinstance(outlet, (Asset, AssetRef)):
            with not_stopping_the_task(f"The event of {outlet} cannot tell what was made", request_id):
                context["outlet_events"][outlet].extra.update(manifest(result))
        elif isinstance(outlet, AssetAlias):
            if not saved:
                log.warning("The asset alias %s gets no asset: no file was saved; is output_path set?", outlet.name)
            for path, file in ((file["path"], file) for file in saved):
                with not_stopping_the_task(f"The asset alias {outlet.name} gets no asset for {path}", request_id):
                    asset = Asset(uri=asset_uri(path))
                    context["outlet_events"][outlet].add(asset, extra=dict(file))


def manifest(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job's result without the model's own ``output``, which may be long and whose URLs expire."""
    return {key: value for key, value in result.items() if key != "output"}


def asset_uri(path: str) -> str:
    """Return a file's URI, if Airflow can keep an asset of that name.

    :raises ValueError: it is too long.
    """
    uri = uri_of(path)
    if len(uri) > LONGEST_URI:
        raise ValueError(f"its URI has {len(uri)} characters, more than {LONGEST_URI}")
    return uri


def uri_of(path: str) -> str:
    """Return the URI by which others know a file, whatever connection it was written through.

    It is percent-encoded: Airflow's api-server takes ASCII only, sorts what it takes for a query, and drops what it
    takes for a fragment.

    :param path: a file's ``path``, such as ``s3://aws_default@bucket/é.png``.
    :return: ``s3://bucket/%C3%A9.png``; a plain path becomes a ``file:`` URI.
    """
    scheme, host, name = location(path)
    if not host:  # or the first folder would be taken for the host
        name = f"/{name.lstrip('/')}"
    # What is no UTF-8 on a local disk is a surrogate in Python.
    return f"{scheme.lower()}://{quote(host, ':', errors='surrogatepass')}{quote(name, _PLAIN, errors='surrogatepass')}"


def location(path: str) -> tuple[str, str, str]:
    """Return a file's scheme, its host or bucket without the connection, and its name from the slash on.

    A path of this machine may be relative, as ObjectStoragePath takes it; others cannot know to what.
    """
    scheme, found, rest = path.partition("://")
    if not found:
        return "file", "", str(Path(path).absolute())
    host = rest.partition("/")[0]
    return scheme, host.rpartition("@")[2], rest[len(host) :]
