"""What a user does on Airflow's pages, by the words that are written there."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

    from tests.airflow.deployment import Deployment

IMAGES = Path(__file__).parent.parent.parent / "docs" / "images"


class Pages:
    """Airflow in a browser.

    :param airflow: the deployment.
    :param page: the browser's page; all that it is answered is kept in ``answers``.
    """

    def __init__(self, airflow: Deployment, page: Page) -> None:
        self.airflow = airflow
        self.page = page
        self.answers: list[str] = []
        page.route(re.compile("/(api/v2|ui)/"), self._keep)

    def _keep(self, route: Route) -> None:
        answer = route.fetch()
        self.answers.append(f"{answer.url} {answer.headers} {answer.text()}")
        route.fulfill(response=answer)

    def open_connections(self) -> None:
        """Open the list of connections."""
        self.page.goto(f"http://127.0.0.1:{self.airflow.port}/connections")
        self.page.get_by_role("button", name="Add Connection").wait_for()

    def new_connection(self, conn_id: str) -> Locator:
        """Open the form for a new connection of our type, and return it."""
        self.open_connections()
        self.page.get_by_role("button", name="Add Connection").click()
        form = self.page.get_by_role("dialog")
        form.locator("[name=connection_id]").fill(conn_id)
        form.get_by_role("combobox").fill("fal")
        self.page.get_by_role("option", name="fal on DigitalOcean").click()
        form.locator("[name=password]").wait_for()
        return form

    def edit_connection(self, conn_id: str) -> Locator:
        """Open the form of a connection that exists, and return it."""
        self.open_connections()
        self._row(conn_id).get_by_role("button", name="Edit Connection").click()
        form = self.page.get_by_role("dialog")
        form.locator("[name=password]").wait_for()
        return form

    def unfold(self, form: Locator, section: str) -> None:
        """Open a section of the form."""
        form.get_by_role("button", name=section, exact=True).click()

    def fill(self, form: Locator, fields: Mapping[str, Any]) -> None:
        """Type into fields of the open section; they are told by the name that Airflow gives them."""
        for name, value in fields.items():
            form.locator(f"[name={name}]").fill(str(value))

    def save(self, form: Locator) -> None:
        """Press Save and wait until it is done."""
        form.get_by_role("button", name="Save").click()
        form.wait_for(state="hidden")

    def press_test(self, conn_id: str) -> tuple[bool, str]:
        """Press the Test button of a connection in the list.

        :return: whether Airflow says that it works, and the sentence below.
        """
        self._row(conn_id).get_by_role("button", name="Test Connection").click()
        title, _, sentence = self.note.inner_text().strip().partition("\n")
        return title.endswith("Successful"), sentence.strip()

    @property
    def note(self) -> Locator:
        """What Airflow says of a test: shown for some seconds at the bottom right."""
        said = re.compile("Test Connection (Failed|Successful)")
        return self.page.get_by_role("status").filter(has_text=said)

    def picture(self, name: str, of: Locator | None = None) -> None:
        """Take a picture for the documentation, where FALINVOKE_SCREENSHOTS is set.

        :param of: what to show; the page by default.
        """
        if os.environ.get("FALINVOKE_SCREENSHOTS"):
            IMAGES.mkdir(exist_ok=True)
            (of or self.page).screenshot(path=IMAGES / f"{name}.png", animations="disabled")

    def _row(self, conn_id: str) -> Locator:
        return self.page.get_by_role("row").filter(has=self.page.get_by_text(conn_id, exact=True))
