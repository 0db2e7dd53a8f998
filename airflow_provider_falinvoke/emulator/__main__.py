"""The command line: ``python -m airflow_provider_falinvoke.emulator``."""

import argparse
import contextlib
import json
import signal
import sys
import threading
from collections.abc import Sequence

from airflow_provider_falinvoke.emulator import Emulator, Fault, RecordedRequest
from airflow_provider_falinvoke.emulator.faults import fault_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an emulator until SIGINT or SIGTERM.

    :param arguments: the command line without the program's name; that of the process when left out.
    :return: the exit status of the process.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        emulator = Emulator(
            options.port,
            options.api_key,
            host=options.host,
            media_port=options.media_port,
            time_scale=options.time_scale,
            durations=dict(options.duration),
            queue_time=options.queue_time,
            jitter=options.jitter,
            quota_per_minute=options.quota_per_minute or None,
            quota_per_hour=options.quota_per_hour or None,
            retry_after=not options.no_retry_after,
            statuses=dict(options.status),
            accept_status=options.accept_status,
            media_ttl=options.media_ttl,
            log=None if options.quiet else _log,
            tls=_tls(options),
        )
        for fault in options.fault:
            emulator.add_fault(fault)
        emulator.start()
    except (ValueError, OSError) as error:
        parser.error(str(error))
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with_quotes = emulator.connection_json.replace("'", "'\\''")
    _say(f"API:   {emulator.url}")
    _say(f"media: {emulator.media_url}")
    _say(f"AIRFLOW_CONN_FALINVOKE_DEFAULT='{with_quotes}'")
    if emulator.certificate:
        _say(f"certificate: {emulator.certificate}")
    try:
        stopping.wait()
    finally:
        emulator.stop()
    return 0


def _tls(options: argparse.Namespace) -> bool | tuple[str, str]:
    given = (options.tls_cert, options.tls_key)
    if any(given) and not all(given):
        raise ValueError("--tls-cert and --tls-key go together")
    return given if all(given) else options.tls


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_falinvoke.emulator",
        description="Serve DigitalOcean's async-invoke API for fal models on a local socket.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="a loopback address (default: %(default)s)")
    add("--port", type=int, default=0, help="port of the API, 0 for a free one (default)")
    add("--media-port", type=int, default=0, help="port that serves the files, 0 for a free one (default)")
    add("--api-key", default="emulator-key", metavar="KEY", help="the only key it takes (default: %(default)s)")
    add("--time-scale", type=float, default=1.0, metavar="X", help="how many times faster its time runs (default: 1)")
    add(
        "--duration",
        type=_duration,
        action="append",
        default=[],
        metavar="MODEL=SECONDS",
        help="how long the jobs of a model take; may be repeated",
    )
    add("--queue-time", type=float, metavar="SECONDS", help="how long each job waits before it runs (default: drawn)")
    add("--jitter", type=float, default=0.0, metavar="SHARE", help="by which share durations differ, 0 to 1")
    add("--quota-per-minute", type=int, default=250, metavar="N", help="requests a minute, 0 for no limit (250)")
    add("--quota-per-hour", type=int, default=5000, metavar="N", help="requests an hour, 0 for no limit (5000)")
    add("--no-retry-after", action="store_true", help="answer 429 without a Retry-After header")
    add(
        "--status",
        type=_pair,
        action="append",
        default=[],
        metavar="NAME=WORD",
        help="another spelling of a status, as COMPLETED=COMPLETE; may be repeated",
    )
    add("--accept-status", type=int, choices=(200, 202), default=202, help="status of an accepted POST (202)")
    add("--media-ttl", type=float, metavar="SECONDS", help="when files expire after their job's end (default: never)")
    add("--fault", type=_fault, action="append", default=[], metavar="JSON", help="a fault to set; may be repeated")
    add("--tls", action="store_true", help="speak HTTPS, with a certificate that is made for it")
    add("--tls-cert", metavar="PEM", help="speak HTTPS with this certificate of yours, and the key of --tls-key")
    add("--tls-key", metavar="PEM", help="the key of --tls-cert")
    add("--quiet", action="store_true", help="print no line for each request")
    return parser


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _duration(text: str) -> tuple[str, float]:
    model_id, seconds = _pair(text)
    try:
        return model_id, float(seconds)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{seconds!r} is no number of seconds") from error


def _fault(text: str) -> Fault:
    try:
        return fault_of(json.loads(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _log(record: RecordedRequest) -> None:
    # Whoever read the log may have gone; that must not turn the reply into an error.
    with contextlib.suppress(OSError):
        _say(record.line())


def _say(line: str) -> None:
    # A terminal or a pipe of another encoding shows the escapes of what it has no characters for.
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
