"""The Media tab in a real browser, on the page of tasks that a real Airflow ran."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_falinvoke.emulator import Emulator
from tests.airflow.deployment import Deployment
from tests.browser.pages import Pages

if TYPE_CHECKING:
    from playwright.sync_api import FrameLocator, Page

HERE = Path(__file__).parent
DAG_ID = "gallery"
LOADED = "image => image.complete && image.naturalWidth > 0"


class Gallery:
    """A run that has ended, and its pages.

    :param run_id: the run.
    """

    def __init__(self, airflow: Deployment, run_id: str, page: Page) -> None:
        self.airflow = airflow
        self.run_id = run_id
        self.page = page
        self.base = f"http://127.0.0.1:{airflow.port}"

    def task(self, task_id: str, map_index: int = -1) -> str:
        """Return the address of a task instance's page."""
        mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
        return f"{self.base}/dags/{DAG_ID}/runs/{self.run_id}/tasks/{task_id}{mapped}"

    def open(self, task_id: str, map_index: int = -1) -> FrameLocator:
        """Open a task instance's page, choose the tab Media, and return what is in it."""
        self.page.goto(self.task(task_id, map_index))
        self.page.get_by_role("link", name="Media", exact=True).first.click()
        return self.page.frame_locator("iframe[title=Media]")

    def is_shown(self, frame: FrameLocator, number: int) -> bool:
        """Wait for a picture of the tab and say whether the browser could read it."""
        picture = frame.locator("img").nth(number)
        picture.scroll_into_view_if_needed()
        handle = picture.element_handle()
        assert handle is not None
        frame.locator("body").evaluate("() => new Promise(done => setTimeout(done, 0))")
        for _ in range(100):
            if handle.evaluate(LOADED):
                return True
            self.page.wait_for_timeout(100)
        return False


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, str]]:
    """Yield an Airflow in which the DAG ran to its end."""
    home = tmp_path_factory.mktemp("gallery")
    shutil.copytree(HERE / "dags", home / "dags")
    settings = {
        "AIRFLOW_VAR_FALINVOKE_OUTPUT": (home / "output").as_uri(),
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "2",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
    }
    with (
        Emulator(durations=dict.fromkeys(("fal-ai/flux/schnell", "fal-ai/fast-sdxl"), 1.0)) as emulator,
        Deployment(home, home / "dags", {"falinvoke_default": emulator.connection}, settings=settings) as deployment,
    ):
        run_id = deployment.trigger(DAG_ID)
        assert deployment.wait_for_run(DAG_ID, run_id, seconds=300) == "success", deployment.tails()
        yield deployment, run_id


@pytest.fixture
def gallery(ran: tuple[Deployment, str], page: Page) -> Gallery:
    """Return the run in the browser."""
    return Gallery(*ran, page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pictures_of_a_task_are_seen_with_what_is_known_of_them(gallery: Gallery, scheme: str) -> None:
    gallery.page.goto(gallery.base)
    gallery.page.evaluate("scheme => localStorage.setItem('theme', scheme)", scheme)
    frame = gallery.open("draw")
    assert gallery.is_shown(frame, 0)
    assert gallery.is_shown(frame, 1)
    shown = frame.locator("figure").first.inner_text()
    request_id = gallery.airflow.xcom(DAG_ID, gallery.run_id, "draw", key="request_id")
    for words in ("A lighthouse in a storm, oil on canvas", "fal-ai/flux/schnell", "1024 \u00d7 768", "7", request_id):
        assert words in shown
    assert ".png" in shown
    ground = "body => getComputedStyle(body).backgroundColor"
    assert frame.locator("html").get_attribute("data-theme") == scheme
    assert frame.locator("body").evaluate(ground) == gallery.page.locator("body").first.evaluate(ground)
    Pages(gallery.airflow, gallery.page).picture(f"media-tab-{scheme}")


def test_a_speech_is_heard(gallery: Gallery) -> None:
    frame = gallery.open("say")
    player = frame.locator("audio")
    player.wait_for()
    player.evaluate("audio => { audio.preload = 'auto'; audio.load(); }")
    length = player.evaluate(
        "audio => new Promise((done, fail) => {"
        " if (audio.readyState) return done(audio.duration);"
        " audio.onloadedmetadata = () => done(audio.duration); audio.onerror = () => fail(audio.error.message) })"
    )
    assert length > 0.5
    assert "Good morning. The lighthouse is lit." in frame.locator("figure").inner_text()
    Pages(gallery.airflow, gallery.page).picture("media-tab-speech")


@pytest.mark.parametrize("map_index", [0, 1])
def test_each_mapped_task_has_its_own(gallery: Gallery, map_index: int) -> None:
    frame = gallery.open("mapped", map_index)
    assert gallery.is_shown(frame, 0)
    assert frame.locator("figure").count() == 1
    assert ("a red fox", "a grey heron")[map_index] in frame.locator("figure").inner_text()


def test_a_batch_is_paged(gallery: Gallery) -> None:
    frame = gallery.open("batch")
    assert gallery.is_shown(frame, 0)
    assert frame.locator("figure").count() == 24
    assert "40 items" in frame.locator("header").inner_text()
    assert "a harbour in spring" in frame.locator("figure").first.inner_text()
    Pages(gallery.airflow, gallery.page).picture("media-tab-batch")
    frame.get_by_role("link", name="Next").first.click()
    frame.locator("figure").nth(16).wait_for(state="detached")
    assert frame.locator("figure").count() == 16
    assert gallery.is_shown(frame, 15)
    frame.get_by_role("link", name="Previous").first.click()
    frame.locator("figure").nth(23).wait_for()


def test_no_script_in_a_prompt_runs(gallery: Gallery) -> None:
    said: list[str] = []
    gallery.page.on("console", lambda message: said.append(message.text))
    frame = gallery.open("hostile")
    assert gallery.is_shown(frame, 0)
    assert "<script>document.title='hacked'</script>" in frame.locator("figure").inner_text()
    assert frame.locator("img").count() == 1
    assert "hacked" not in gallery.page.title()
    assert frame.locator("html").evaluate("() => document.title") == "Media"
    assert not [text for text in said if "Content Security Policy" in text]


def test_a_task_of_another_kind_says_so(gallery: Gallery) -> None:
    frame = gallery.open("other")
    assert "has left no pictures or sounds" in frame.locator(".word").inner_text()


def test_the_link_on_the_task_leads_to_the_tab(gallery: Gallery) -> None:
    links = gallery.airflow.api("GET", f"/dags/{DAG_ID}/dagRuns/{gallery.run_id}/taskInstances/draw/links")
    gallery.page.goto(links["extra_links"]["Media"])
    assert gallery.is_shown(gallery.page.frame_locator("iframe[title=Media]"), 0)
