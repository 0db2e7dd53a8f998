"""Every code block of every page does what the page says, or says itself why nobody can try it here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_falinvoke.emulator import Emulator
from tests.docs.blocks import PAGES, ROOT, Block, blocks_of
from tests.docs.session import Session, commands_of
from tests.support.connections import stored

WITH_BLOCKS = [page for page in PAGES if any(not block.reason for block in blocks_of(page))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def session(airflow_db: Path, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setenv("AIRFLOW_VAR_FALINVOKE_OUTPUT", (tmp_path / "output").as_uri())
    monkeypatch.delenv("AIRFLOW_CONN_FALINVOKE_DEFAULT")
    with stored(emulator.connection):
        reader = Session(tmp_path, airflow_db)
        yield reader
        reader.close()


@pytest.mark.usefixtures("quick_deferral")
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=name_of)
def test_the_blocks_of_a_page_run_in_order(page: Path, session: Session) -> None:
    for block in blocks_of(page):
        if block.reason is None:
            session.perform(block)
    session.finish()


def test_a_block_is_found_with_its_language_its_file_and_the_reason_not_to_run_it() -> None:
    text = (
        '# Page\n\n```python title="dags/one.py"\nx = 1\n```\n\n'
        "<!-- not executed: it is what a program prints -->\n\n```\nhello\n```\n"
        "1. list\n\n    ```sh\n    make test\n    ```\n"
    )
    one, two, three = blocks_of(ROOT / "docs" / "page.md", text)
    assert (one.language, one.title, one.code, one.reason, one.line) == ("python", "dags/one.py", "x = 1\n", None, 3)
    assert (two.language, two.reason) == ("", "it is what a program prints")
    assert (three.language, three.code) == ("sh", "make test\n")


def test_the_number_of_fences_is_even_and_all_are_read() -> None:
    for page in PAGES:
        assert len(re.findall(r"^ *```", page.read_text(), re.M)) == 2 * len(blocks_of(page)), page


def test_commands_are_split_where_a_shell_would() -> None:
    assert commands_of("# first\nmake test\n\nexport A='{\n}'\nairflow dags \\\n  list\n") == [
        "make test",
        "export A='{\n}'",
        "airflow dags \\\n  list",
    ]


def block(language: str, code: str) -> Block:
    return Block(ROOT / "docs" / "page.md", 1, language, code)


@pytest.mark.parametrize(
    "wrong",
    [
        block("", "hello"),
        block("python", "raise AssertionError"),
        block("python", "def test_nothing():\n    assert False\n"),
        block("json", "{"),
        block("toml", "="),
        block("ini", "[core]\nno_such_option = 1\n"),
        block("sh", "make no-such-target"),
        block("sh", "pip install airflow-provider-falinvoke[no-such-extra]"),
        block("sh", "airflow no-such-command"),
        block("sh", "airflow scheduler --no-such-option"),
        block("sh", "rm -rf everything"),
    ],
    ids=lambda wrong: wrong.code.split("\n")[0],
)
def test_a_block_that_cannot_be_right_fails(wrong: Block, session: Session) -> None:
    with pytest.raises((AssertionError, ValueError, SystemExit)):
        session.perform(wrong)


@pytest.mark.usefixtures("quick_deferral")
def test_tasks_of_a_block_are_run_even_outside_a_dag(session: Session, emulator: Emulator) -> None:
    code = (
        "from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator\n"
        "FalInvokeOperator(task_id='draw', model_id='fal-ai/flux/schnell', input={'prompt': 'x'})\n"
    )
    session.perform(block("python", code))
    assert len(emulator.posts()) == 1
