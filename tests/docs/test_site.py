"""The browsable site: strict, whole, and readable without a network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "mkdocs.yml",
    "docs",
    "dags_examples",
    "airflow_provider_falinvoke",
)
#: Attributes that make a browser load something by itself.
LOADS = {("script", "src"), ("link", "href"), ("img", "src"), ("source", "src"), ("iframe", "src"), ("video", "src")}


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=folder,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Page(HTMLParser):
    """What a page refers to, and what can be referred to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.text = path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif (tag, name) in LOADS and value and ("rel", "canonical") not in attrs:
                self.loaded.append(value)
            elif (tag, name) == ("a", "href") and value:
                self.links.append(value)


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_nothing_is_loaded_from_another_host(site: Path, pages: dict[Path, Page]) -> None:
    assert len(pages) > 15
    for path, page in pages.items():
        assert page.loaded, f"{path} loads neither style nor script: this test reads it wrongly"
        for url in page.loaded:
            assert not urlsplit(url).netloc, f"{path} loads {url}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//|@import", style.read_text()), style


def test_each_link_within_the_site_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    """mkdocs checks the links of the pages' Markdown; this one checks those that docstrings and templates make too."""
    for path, page in pages.items():
        here = path.as_uri()
        for link in page.links:
            target = urlsplit(urljoin(here, link))
            if target.scheme != "file" or path.name == "404.html":  # 404.html is for a site at a server's root
                continue
            file = Path(unquote(target.path))
            assert file.is_file(), f"{path.relative_to(site)}: {link}"
            if target.fragment and file in pages:
                assert unquote(target.fragment) in pages[file].ids | {"__top"}, f"{path.relative_to(site)}: {link}"


def public_classes() -> Iterator[str]:
    for part in ("operators", "sensors", "decorators", "hooks", "triggers", "exceptions"):
        for path in sorted(ROOT.glob(f"airflow_provider_falinvoke/{part}*/[!_]*.py")) + sorted(
            ROOT.glob(f"airflow_provider_falinvoke/{part}.py")
        ):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield from (f"{module}.{name}" for name in re.findall(r"^class ([A-Z]\w+)", path.read_text(), re.M))


@pytest.mark.parametrize("name", list(public_classes()))
def test_the_reference_describes_each_public_class(name: str, pages: dict[Path, Page]) -> None:
    assert [path for path, page in pages.items() if name in page.ids]


def test_the_docstrings_roles_and_fields_are_rendered(site: Path, pages: dict[Path, Page]) -> None:
    reference = {path.stem: page.text for path, page in pages.items() if path.parent.name == "reference"}
    assert 'href="completion.html#airflow_provider_falinvoke.completion.bring_home"' in reference["operators.falinvoke"]
    assert 'href="../docs/connection.html">falinvoke connection' in reference["operators.falinvoke"]
    for name, text in reference.items():
        body = re.sub(r"<pre>.*?</pre>", "", text[text.index("<article") : text.index("</article")], flags=re.S)
        left_over = re.search(r":(param|return|raises|class|func|meth|mod|ref|attr|var)\b[^<>]{0,30}[:`]", body)
        assert left_over is None, f"{name}: {left_over}"


def test_a_broken_link_and_a_page_that_is_not_in_the_navigation_fail_the_build(tmp_path: Path) -> None:
    for source in SOURCES:
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, tmp_path / source)
    (tmp_path / "docs" / "lost.md").write_text("# Lost\n\n[nowhere](operators.md#nowhere), [gone](gone.md)\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    for complaint in ("docs/lost.md", "'#nowhere'", "'gone.md'"):
        assert complaint in done.stdout + done.stderr
