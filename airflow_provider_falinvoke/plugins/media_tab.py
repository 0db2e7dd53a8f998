"""The plugin: the tab *Media* on a task instance's page, and a listener. Each process loads it, so it is small."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_provider_falinvoke.media_tab import URL_PREFIX, URL_ROUTE
from airflow_provider_falinvoke.plugins import success


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[Any], Awaitable[None]],
) -> None:
    """Answer a request, as ASGI has it; the api-server alone pays for what that imports."""
    from airflow_provider_falinvoke.media_tab.app import application

    await application()(scope, receive, send)


class FalInvokePlugin(AirflowPlugin):
    """The tab, the app that fills it, and who tells a task that its success is stored."""

    name = "falinvoke"
    fastapi_apps: list[Any] = [  # noqa: RUF012 - the base class declares them so
        {"app": app, "url_prefix": URL_PREFIX, "name": "fal on DigitalOcean: media"}
    ]
    listeners: list[Any] = [success]  # noqa: RUF012 - as above
    external_views: list[Any] = [  # noqa: RUF012 - as above
        {
            "name": "Media",
            "destination": "task_instance",
            "url_route": URL_ROUTE,
            # Relative to the page's <base>, so that it works where [api] base_url has a path.
            "href": f"{URL_PREFIX.lstrip('/')}/media/{{DAG_ID}}/{{RUN_ID}}/{{TASK_ID}}/{{MAP_INDEX}}/",
        }
    ]
