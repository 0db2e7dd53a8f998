"""The page on error texts knows every text that the package can say, and none that it cannot."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from airflow_provider_falinvoke import exceptions
from tests.docs.blocks import ROOT
from tests.docs.messages import Message, messages

OURS, AIRFLOWS = (ROOT / "docs" / "troubleshooting.md").read_text().split("## Airflow's own words")
ROWS = [
    line.split(" | ")
    for line in OURS.splitlines()
    if line.startswith("|") and not line.startswith(("| ---", "| message"))
]
#: What never leaves the module that raises it: a reader of a file's header that asks for more than was kept.
INTERNAL = {"this part of the file was not kept", "before the start of the file"}
MESSAGES = [message for message in messages() if message.text not in INTERNAL]
#: An entry that says less than this could be a part of any sentence.
SHORTEST = 8


def entries() -> list[str]:
    """Return what the page quotes of messages: in the first column, and, of a part of a sentence, elsewhere."""
    return [span for row in ROWS for cell in (row[0], row[2]) for span in re.findall(r"`([^`]+)`", cell)]


def is_in(entry: str, text: str) -> bool:
    """Whether a text holds what the page quotes of it; ``…`` stands for anything."""
    entry = entry.strip("…: ")
    pattern = ".*".join(re.escape(piece) for piece in entry.split("…"))
    return len(entry) >= SHORTEST and re.search(pattern, text, re.IGNORECASE) is not None


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.text[:60])
def test_each_message_is_explained(message: Message) -> None:
    assert any(is_in(entry, message.text) for entry in entries()), (
        f"docs/troubleshooting.md does not explain what {message.where} says: {message.text}"
    )


def test_each_quoted_message_exists() -> None:
    quoted = [span for row in ROWS for span in re.findall(r"`([^`]+)`", row[0])]
    assert len(quoted) > 60
    stale = [entry for entry in quoted if not any(is_in(entry, message.text) for message in MESSAGES)]
    assert stale == []


def test_each_error_is_named() -> None:
    classes = {name for name, value in vars(exceptions).items() if isinstance(value, type) and name.startswith("Fal")}
    assert classes == {name for row in ROWS for name in re.findall(r"`(FalInvoke\w+Error|FalInvokeError)`", row[1])}


def test_the_collector_reads_what_is_raised_logged_and_made_elsewhere(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "PLAIN = 'a constant of the module'\n"
        "def words(x) -> str:\n    'A docstring, not a message.'\n    return f'words of a helper {x}'\n"
        "def made(x) -> SomeError:\n    return SomeError(f'made by a function {x}', advice=' left out: advice')\n"
        "def f(x):\n"
        "    log.warning('so many things %d, %s', x)\n    self.log.info('not a warning at all')\n"
        "    yield Say(logging.WARNING, 'left to a driver %.1f', (x,))\n    yield Say(logging.INFO, 'not one')\n"
        "    await in_thread(log.warning, 'written in a thread %d', x)\n"
        "    await in_thread(log.info, 'not a warning in a thread')\n"
        "    raise OtherError(words(x)) from None\n"
        "def g(x):\n    raise kind(PLAIN)\n"
        "def h(x):\n    raise made('given to the function')\n"
        "    raise AssertionError('nobody sees this text')\n"
    )
    assert sorted(message.text for message in messages([module])) == [
        "a constant of the module",
        "given to the function",
        "left to a driver …",
        "made by a function …",
        "so many things …, …",
        "words of a helper …",
        "written in a thread …",
    ]
