"""``python -m airflow_provider_falinvoke``: what ``airflow falinvoke`` does, for Airflow 3.1 too."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from airflow_provider_falinvoke.cli.definition import COMMANDS


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; it ends with its exit code in a SystemExit.

    :param arguments: the command line without the program's name; that of the process when left out.
    """
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_falinvoke")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for action in COMMANDS:
        about = action.description or action.help
        subparser = subparsers.add_parser(action.name, help=action.help, description=about, epilog=action.epilog)
        for arg in action.args:
            arg.add_to_parser(subparser)
        subparser.set_defaults(func=action.func)
    args = parser.parse_args(arguments)
    args.func(args)


if __name__ == "__main__":
    main()
