"""What is written may have lost its reader (``| head``). It is for nobody then, and a job that is paid goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from airflow_provider_falinvoke.api.printable import visible


def say(text: str, *, start: str = "", end: str = "\n") -> None:
    """Write to the user; stdout is for the result alone. Nothing foreign in the text acts on the terminal."""
    with writing_to(sys.stderr):
        sys.stderr.write(start + visible(text) + end)


@contextmanager
def writing_to(stream: TextIO) -> Iterator[None]:
    """Have all that is written here on its way at the end, or dropped where nobody reads it."""
    try:
        yield
        stream.flush()
    except (BrokenPipeError, SystemExit):  # Airflow's console makes the second of the first
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
