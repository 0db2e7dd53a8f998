"""What mkdocs calls while it builds the site: gives the site the repository's tree, and adds the reference.

A link between README, docs and examples then means the same in the site as on the repository's page.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "airflow_provider_falinvoke"
#: What users import; of a folder, each module.
PUBLIC = (
    "operators",
    "sensors",
    "decorators",
    "hooks",
    "triggers",
    "exceptions.py",
    "completion.py",
    "media/__init__.py",
    "api/models.py",
    "api/inputs.py",
    "api/pricing.py",
    "api/endpoint.py",
    "emulator/__init__.py",
)
#: A page of the reference; in a search it stands behind the pages that explain.
REFERENCE = """---
search:
  boost: 0.3
---
# {name}

`{module}`

::: {module}
    options:
      show_root_heading: false
"""


def public_modules() -> list[str]:
    """Return the dotted names, below the package's, of the modules that the reference describes."""
    paths = [
        path
        for part in PUBLIC
        for path in (sorted((PACKAGE / part).glob("[!_]*.py")) if (PACKAGE / part).is_dir() else [PACKAGE / part])
    ]
    return [
        path.relative_to(PACKAGE).as_posix().removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in paths
        if path.exists()
    ]


def on_config(config: MkDocsConfig) -> None:
    """Put the reference into the navigation, before the last entry."""
    pages: list[dict[str, Any]] = [{name: f"reference/{name}.md"} for name in public_modules()]
    assert config.nav is not None, "mkdocs.yml has a nav"
    config.nav.insert(-1, {"Reference": pages})


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put each page where it lies in the repository, and add the pages that lie elsewhere or are made here."""

    def page(uri: str, text: str) -> None:
        files.append(File.generated(config, uri, content=text))

    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
            if not file.src_uri.startswith("_site/"):
                files.append(File.generated(config, f"docs/{file.src_uri}", abs_src_path=str(file.abs_src_path)))
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    for path in sorted((ROOT / "dags_examples").glob("[!_]*.py")):
        code = path.read_text()
        page(
            f"dags_examples/{path.name}.md",
            f"# {path.name}\n\n{ast.get_docstring(ast.parse(code))}\n\n```python\n{code}```\n",
        )
    for name in public_modules():
        page(f"reference/{name}.md", REFERENCE.format(name=name, module=f"{PACKAGE.name}.{name}"))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let a link to an example's file lead to the page that shows it."""
    return re.sub(r"(\]\([^)\s]*dags_examples/\w+\.py)\)", r"\1.md)", markdown)
