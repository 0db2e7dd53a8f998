"""Foreign text that is shown: one line, bounded, and nothing in it acts."""

from __future__ import annotations

import logging
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_falinvoke.api.outcomes import Say, by_hand, invocation_path
from airflow_provider_falinvoke.api.printable import printable, visible
from airflow_provider_falinvoke.exceptions import FalInvokeTimeoutError

ACTS = {
    "an escape sequence": "\x1b[2J",
    "a C1 control": "\x9b31m",
    "a bell": "\x07",
    "a backspace": "\b",
    "NUL": "\x00",
    "DEL": "\x7f",
    "right to left": "\u202e",
    "an isolate": "\u2066",
    "a mark": "\u200f",
    "a zero width space": "\u200b",
    "a zero width joiner": "\u200d",
    "a byte order mark": "\ufeff",
    "a soft hyphen": "\xad",
    "half a character": "\ud800",
    "an invisible letter": "\u3164",
    "a tag character": "\U000e0041",
    "a line separator": "\u2028",
    "a paragraph separator": "\u2029",
    "NEL": "\x85",
    "a carriage return": "\r",
    "a line feed": "\n",
}


@pytest.mark.parametrize("character", ACTS.values(), ids=ACTS.keys())
def test_what_would_act_is_shown_or_becomes_a_blank(character: str) -> None:
    shown = printable(f"a{character}b")
    assert not set(character) & set(shown) - set("[2J31m")
    assert shown.isprintable()
    assert shown.startswith("a")
    assert shown.endswith("b")
    assert len(shown) > 2, "two words do not become one"


def test_what_is_plain_stays_as_it_is() -> None:
    for text in ("r1", "6590784a-ce47-4556-9ff4-53baff2693fb", "Grüße 東京 🚀", "100 % \\ {}", ""):
        assert printable(text) == text
    assert printable("  two\n\twords ") == "two words"
    assert printable(7) == "7"


def test_a_long_text_is_cut() -> None:
    assert printable("x" * 200) == "x" * 200
    assert printable("x" * 201) == "x" * 199 + "…"
    assert printable("x" + " " * 9_000 + "y").endswith("…"), "what is left out is not hidden"
    assert len(printable("\x1b" * 500, 50)) == 50


def test_several_lines_stay_lines_where_they_are_ours() -> None:
    assert visible("a\nb\x1b[2J\u202e\n") == "a\nb\\x1b[2J\\u202e\n"


@given(st.text(st.characters(exclude_categories=())), st.integers(2, 300))
def test_any_text_becomes_one_line_that_shows_all_it_holds(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    shown.encode()
    assert printable(shown, limit) == shown


def test_megabytes_do_not_hold_up_the_event_loop() -> None:
    began = time.thread_time()
    for text in ("\x1b" * 10_000_000, " " * 10_000_000, "x" * 10_000_000):
        printable(text)
    assert time.thread_time() - began < 0.05


# ---- where it is applied --------------------------------------------------------------------------------------------

ODD = "r\x1b[2J1\u202e\n2\x9b"


def test_every_error_of_ours_is_printable_and_still_carries_the_id_as_it_is() -> None:
    error = FalInvokeTimeoutError(f"The job {ODD} was not completed. {by_hand(ODD)}", request_id=ODD)
    assert str(error).isprintable()
    assert str(FalInvokeTimeoutError("It went wrong.", request_id=ODD)).isprintable()
    assert error.message.isprintable()
    assert error.request_id == ODD
    assert eval(by_hand(ODD).split("get(")[1].split("),")[0]) == ODD, "what is shown can be copied"
    assert invocation_path(ODD).endswith("/r%1B%5B2J1%E2%80%AE%0A2%C2%9B"), "and the job can be fetched"


def test_every_line_of_the_protocol_is_printable() -> None:
    step = Say(logging.WARNING, "Invocation %s is %r after %.1f s", (ODD, ODD, 1.5))
    assert (step.message % step.arguments).isprintable()
