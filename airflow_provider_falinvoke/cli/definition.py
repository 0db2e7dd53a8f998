"""What ``airflow falinvoke`` is made of. Airflow loads this at each of its commands, so it is data alone."""

from __future__ import annotations

import argparse

from airflow.cli.cli_config import (
    ARG_OUTPUT,
    ARG_VERBOSE,
    ARG_YES,
    ActionCommand,
    Arg,
    GroupCommand,
    lazy_load_command,
)

EXIT_CODES = (
    "exit codes: 0 done, 1 failed, 2 wrong usage or request, 3 the job failed, 4 the time is up, 130 interrupted"
)

#: The emulator's own options: flag, what its value is (None for a switch), whether it may be repeated, help.
EMULATOR_OPTIONS: tuple[tuple[str, str | None, bool, str], ...] = (
    ("--host", "ADDRESS", False, "a loopback address (default: 127.0.0.1)"),
    ("--port", "PORT", False, "port of the API, 0 for a free one (default)"),
    ("--media-port", "PORT", False, "port that serves the files, 0 for a free one (default)"),
    ("--api-key", "KEY", False, "the only key it takes (default: emulator-key)"),
    ("--time-scale", "X", False, "how many times faster its time runs (default: 1)"),
    ("--duration", "MODEL=SECONDS", True, "how long the jobs of a model take; may be repeated"),
    ("--queue-time", "SECONDS", False, "how long each job waits before it runs (default: drawn)"),
    ("--jitter", "SHARE", False, "by which share durations differ, 0 to 1"),
    ("--quota-per-minute", "N", False, "requests a minute, 0 for no limit (250)"),
    ("--quota-per-hour", "N", False, "requests an hour, 0 for no limit (5000)"),
    ("--no-retry-after", None, False, "answer 429 without a Retry-After header"),
    ("--status", "NAME=WORD", True, "another spelling of a status, as COMPLETED=COMPLETE; may be repeated"),
    ("--accept-status", "CODE", False, "status of an accepted POST, 200 or 202 (202)"),
    ("--media-ttl", "SECONDS", False, "when files expire after their job's end (default: never)"),
    ("--fault", "JSON", True, "a fault to set; may be repeated"),
    ("--tls", None, False, "speak HTTPS, with a certificate that is made for it"),
    ("--tls-cert", "PEM", False, "speak HTTPS with this certificate of yours, and the key of --tls-key"),
    ("--tls-key", "PEM", False, "the key of --tls-cert"),
    ("--quiet", None, False, "print no line for each request"),
)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return seconds


def _emulator_arg(flag: str, metavar: str | None, repeated: bool, text: str) -> Arg:
    if metavar is None:
        return Arg((flag,), action="store_true", help=text)
    return Arg((flag,), metavar=metavar, action="append" if repeated else "store", help=text)


ARG_CONN = Arg(("--conn-id",), default="falinvoke_default", help="the connection (default: %(default)s)")
ARG_DOCUMENT_OUTPUT = Arg(
    ("-o", "--output"),
    choices=("json", "yaml", "table", "plain"),
    default="json",
    help="how to print the API's reply (default: %(default)s)",
)
ARG_TIMEOUT = Arg(
    ("--timeout",), type=_seconds, metavar="SECONDS", help="how long to wait for what is still running (default: 3600)"
)
ARG_REQUEST_ID = Arg(("request_id",), metavar="REQUEST_ID", help="the job's id")
ARG_REQUEST_IDS = Arg(("request_id",), metavar="REQUEST_ID", nargs="+", help="the jobs' ids")
ARG_TO = Arg(
    ("--to",), metavar="FOLDER", required=True, help="where the files go: a path, or a URL such as s3://conn@bucket/key"
)

ARG_MODEL_ID = Arg(("model_id",), metavar="MODEL_ID", nargs="?", help="the fal model, such as fal-ai/flux/schnell")
ARG_FILE = Arg(
    ("-f", "--file"), metavar="FILE", help='the whole request as JSON: {"model_id": …, "input": {…}, "tags": […]}'
)
ARG_INPUT = Arg(("-i", "--input"), metavar="JSON", help="the model's fields, such as '{\"num_images\": 2}'")
ARG_PROMPT = Arg(("--prompt",), metavar="TEXT", help="input.prompt, for image and audio models")
ARG_TEXT = Arg(("--text",), metavar="TEXT", help="input.text, for speech models")
ARG_TAG = Arg(("--tag",), metavar="KEY=VALUE", action="append", default=[], help="a tag; may be repeated")
ARG_SAVE_TO = Arg(
    ("--save-to",), metavar="FOLDER", help="save the files there: a path, or a URL such as s3://conn@bucket/key"
)

COMMANDS = (
    ActionCommand(
        name="models",
        help="List the models that the host names (free)",
        func=lazy_load_command("airflow_provider_falinvoke.cli.commands.models"),
        args=(ARG_CONN, ARG_OUTPUT, ARG_VERBOSE),
        epilog=EXIT_CODES,
    ),
    ActionCommand(
        name="test-request",
        help="Send one request, wait for its job, print the API's reply (paid)",
        description=(
            "Send one request as typed: show what will be sent and what it is estimated to cost, ask, submit, follow "
            "the job, print the API's reply and save the files."
        ),
        func=lazy_load_command("airflow_provider_falinvoke.cli.test_request.test_request"),
        args=(
            ARG_MODEL_ID,
            ARG_FILE,
            ARG_INPUT,
            ARG_PROMPT,
            ARG_TEXT,
            ARG_TAG,
            ARG_SAVE_TO,
            ARG_TIMEOUT,
            ARG_YES,
            ARG_CONN,
            ARG_DOCUMENT_OUTPUT,
            ARG_VERBOSE,
        ),
        epilog=EXIT_CODES,
    ),
    ActionCommand(
        name="get",
        help="Print an invocation as the API tells it (free)",
        func=lazy_load_command("airflow_provider_falinvoke.cli.commands.get"),
        args=(ARG_REQUEST_ID, ARG_CONN, ARG_DOCUMENT_OUTPUT, ARG_VERBOSE),
        epilog=EXIT_CODES,
    ),
    ActionCommand(
        name="collect",
        help="Wait for jobs that were submitted before, and save their files (free)",
        description="Wait for jobs, whoever submitted them, and save their files. One that fails stops no other.",
        func=lazy_load_command("airflow_provider_falinvoke.cli.commands.collect"),
        args=(ARG_REQUEST_IDS, ARG_TO, ARG_TIMEOUT, ARG_CONN, ARG_OUTPUT, ARG_VERBOSE),
        epilog=f"{EXIT_CODES}; of several jobs, the code of the first that is not home",
    ),
    ActionCommand(
        name="emulator",
        help="Serve the API on a local socket, for tests and trials (free)",
        func=lazy_load_command("airflow_provider_falinvoke.cli.commands.emulator"),
        args=tuple(_emulator_arg(*option) for option in EMULATOR_OPTIONS),
    ),
)


def get_commands() -> list[GroupCommand]:
    """Return the commands, as Airflow asks for them."""
    return [
        GroupCommand(
            name="falinvoke", help="Try fal models through DigitalOcean's async-invoke API", subcommands=COMMANDS
        )
    ]
