"""Run the benchmarks one after the other, on a quiet machine: under 10 minutes on 2 cores.

    python benchmarks/run_all.py --data DIR --peer-python PYTHON --save

The claims about networks (accuracy, fusion, attention, ...), live and early take an hour or more, text needs corpora of
text: they are run by name only: --only accuracy.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from _claims import CLAIMS
from _common import DATA_HELP, HERE, make_parser, parse, say

if TYPE_CHECKING:
    import argparse

TAKES = {
    "startup": {"model", "quick"},
    "extraction": {"data", "peer_python", "quick"},
    "throughput": {"data", "peer_python", "model", "quick"},
    "memory": {"model", "quick"},
    "export": {"data", "quick"},
    "streams": {"data", "quick"},
    "live": {"data", "model", "quick"},
    "early": {"data", "quick"},
    "text": {"data"},
    **{name: {"data"} for name in CLAIMS},
}
TAKE_HOURS = {"live", "early", "text", *CLAIMS}


def command(name: str, args: argparse.Namespace) -> list[str]:
    """A benchmark's command line, with those of the options it takes."""
    built = [sys.executable, str(HERE / f"{name}.py")]
    for option in sorted({*TAKES[name], "save"}):
        value = getattr(args, option)
        if value is not None and value is not False:
            built.append(f"--{option.replace('_', '-')}")
            built += [] if value is True else [str(value)]
    return built


def options() -> argparse.ArgumentParser:
    """The options of all benchmarks."""
    parser = make_parser(__doc__, peer=True, model=True)
    parser.add_argument("--data", type=Path, metavar="DIR", help=DATA_HELP)
    parser.add_argument("--only", action="append", choices=TAKES, metavar="NAME", help="run this one; may be repeated")
    return parser


def main() -> None:
    """Run those asked for, or all that take minutes; exit 1 if one of them failed."""
    parser = options()
    args = parse(parser)
    names = args.only or [name for name in TAKES if name not in TAKE_HOURS]
    if args.data is None and any("data" in TAKES[name] for name in names):
        parser.error(f"{', '.join(name for name in names if 'data' in TAKES[name])}: expected --data DIR, {DATA_HELP}")
    if args.quick and not all("quick" in TAKES[name] for name in names):
        parser.error("the claims about networks have no --quick form")
    failed = []
    start = time.perf_counter()
    for name in names:
        print(f"\n## {name}\n", flush=True)
        if subprocess.run(command(name, args), check=False).returncode:
            failed.append(name)
    say(f"\ntook {(time.perf_counter() - start) / 60:.1f} minutes")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
