"""A real Airflow, an emulator behind it, and chromium in front of it; all tests here carry the marker ``browser``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_falinvoke.emulator import Emulator
from tests.airflow.deployment import Deployment
from tests.browser.pages import Pages

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

HERE = Path(__file__).parent
CHROMIUM = os.environ.get("FALINVOKE_CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Whatever a page asks for, nothing leaves this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
KEY = "do-not-show-this-key-5e1f"
SETTINGS = {
    "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
    # A name that does not exist is to be found out at once, also where no name server answers.
    "RES_OPTIONS": "timeout:1 attempts:1",
    "NO_PROXY": "*",
}
#: Milliseconds that a page may take on a slow and busy machine.
PATIENCE = 60_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def vendor() -> Iterator[Emulator]:
    """Yield the API that the connections lead to."""
    with Emulator(api_key=KEY, quota_per_minute=None, quota_per_hour=None) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Yield an Airflow of an api-server alone: its pages need no more."""
    home = tmp_path_factory.mktemp("airflow")
    (home / "dags").mkdir()
    with Deployment(home, home / "dags", {}, components=(), triggerers=0, settings=SETTINGS) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """Yield chromium with a new profile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=CHROMIUM,
            headless=True,
            args=FLAGS,
            viewport={"width": 1280, "height": 900},
        )
        context.set_default_timeout(PATIENCE)
        yield context
        context.close()


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    """Yield an empty page, whose answers are kept; see :class:`Pages`."""
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture
def pages(airflow: Deployment, page: Page) -> Pages:
    """Return Airflow's pages in the browser."""
    return Pages(airflow, page)
