"""The command line: ``python -m benchmarks`` runs all benchmarks, ``python -m benchmarks NAME …`` some of them."""

from __future__ import annotations

import argparse
import ast
import pkgutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import benchmarks
from benchmarks.support import page


def names() -> list[str]:
    """Return the names of all benchmarks, in the order of the page."""
    found = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.ispkg]
    return sorted((name for name in found if not name.startswith("_")), key=page.place)


def title(name: str) -> str:
    """Return the first line of a benchmark's docstring, without importing it."""
    source = (Path(__file__).parent / f"{name}.py").read_text()
    return (ast.get_docstring(ast.parse(source)) or name).splitlines()[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """List or run benchmarks, each in a process of its own, one after the other.

    :return: 0 where all ran and met their targets.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which to run; all when left out")
    parser.add_argument("--list", action="store_true", help="list them and stop")
    parser.add_argument("--render", action="store_true", help="write the page from the stored results and stop")
    options = parser.parse_args(arguments)
    known = names()
    if unknown := set(options.names) - set(known):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if options.render:
        print(f"wrote {page.render()}")
        return 0
    for name in known:
        print(f"{name}: {title(name)}")
    if options.list:
        return 0
    ends = {name: run(name) for name in known if not options.names or name in options.names}
    print("\n" + "\n".join(f"{name}: {said} ({seconds / 60:.1f} min)" for name, (said, seconds) in ends.items()))
    return 0 if all(said == MET for said, _ in ends.values()) else 1


MET = "targets met"
#: No benchmark takes so many seconds; one that hangs keeps the others from running no longer.
LONGEST = 2700.0


def run(name: str) -> tuple[str, float]:
    """Run one benchmark; return how it ended, and its seconds."""
    print(f"\n=== {name}", flush=True)
    since = time.monotonic()
    # A crash (a traceback, status 1) and a missed target (status 2) are told apart.
    code = f"import sys; from benchmarks.{name} import main; sys.exit(2 if main([]) else 0)"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        status = process.wait(LONGEST)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # so that it ends what it started
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return f"BROKEN: not over after {LONGEST / 60:.0f} min", time.monotonic() - since
    return {0: MET, 2: "a target is NOT met"}.get(status, "BROKEN"), time.monotonic() - since


if __name__ == "__main__":
    sys.exit(main())
