"""What the benchmarks share: their options, a table with targets and peers, the facts of the machine, saved results.

It stays thin on purpose: the peak memory that the kernel reports for a child includes what the child inherited from its
parent before it became another program, so a benchmark that measures small processes must be small itself.
"""

from __future__ import annotations

import argparse
import csv
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
SAMPLES = HERE.parent / "sample_audio"

DATA_HELP = "folder that holds ravdess/"
NOT_MEASURED = "not measured"
_SUFFIXES = {".wav", ".flac"}
_MB = 1e6
_PACKAGES = (
    "serctl",
    "ai-edge-litert",
    "joblib",
    "keras",
    "librosa",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "soundfile",
    "soxr",
    "tensorflow",
)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_PATH_OPTIONS = {
    "--cache": "FOLDER",
    "--data": "DIR",
    "--model": "MODEL",
    "--output": "FOLDER",
    "--peer-python": "PYTHON",
    "--before": "SERCTL",
    "--work": "FOLDER",
}


@dataclass(frozen=True)
class Row:
    """One figure of ours, the target it has to meet (if it has one), and a peer's figure in the same unit.

    at_least: whether the target is the least that will do, instead of the most. figure, peer_figure: None if not
    measured.
    """

    measure: str
    figure: float | None
    unit: str
    target: float | None = None
    at_least: bool = False
    peer: str = ""
    peer_figure: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the target is met; empty without one, or without a figure."""
        if self.target is None or self.figure is None:
            return ""
        met = self.figure >= self.target if self.at_least else self.figure < self.target
        return "met" if met else "missed"

    def cells(self) -> tuple[str, str, str, str]:
        """The figure, target and peer as text: measure, ours, target, peer."""
        bound = "at least" if self.at_least else "under"
        verdict = f": {self.verdict}" if self.verdict else ""
        target = "" if self.target is None else f"{bound} {self.target:g} {self.unit}{verdict}"
        peer = f"{self.peer}: {self._with_unit(self.peer_figure)}" if self.peer else ""
        return self.measure, self._with_unit(self.figure), target, peer

    def _with_unit(self, figure: float | None) -> str:
        return NOT_MEASURED if figure is None else f"{number(figure)} {self.unit}"


ROW_TITLES = ("measure", "serctl", "target", "peer")


@dataclass(frozen=True)
class Comparison:
    """A further table of a result, such as published figures with their sources."""

    caption: str
    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Finished:
    """A process that has ended well: seconds from start to end, and its peak resident memory in MB (10^6 bytes)."""

    wall_s: float
    peak_mb: float
    stdout: str


def number(value: float) -> str:
    """Three digits or so, with thousands set apart."""
    magnitude = abs(value)
    return f"{value:,.0f}" if magnitude >= 100 else f"{value:.1f}" if magnitude >= 10 else f"{value:.2f}"


def make_parser(
    doc: str, *, data: bool = False, peer: bool = False, model: bool = False, quick: bool = True
) -> argparse.ArgumentParser:
    """The options of a benchmark: --save, and those it asks for."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if data:
        parser.add_argument("--data", type=Path, required=True, metavar="DIR", help=DATA_HELP)
    if peer:
        parser.add_argument(
            "--peer-python",
            metavar="PYTHON",
            help="interpreter of an environment with opensmile, soundfile and soxr; without it the peer is left out",
        )
    if model:
        parser.add_argument("--model", help="name or folder of the model; default: the bundled one")
    if quick:
        parser.add_argument("--quick", action="store_true", help="try it on little data; such figures cannot be saved")
    parser.add_argument("--save", action="store_true", help="write the figures to benchmarks/results/")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options given on the command line; ends with a message if they do not go together."""
    args = parser.parse_args()
    if args.save and getattr(args, "quick", False):
        parser.error("--save keeps real figures only: leave out --quick")
    return args


def finish(
    name: str,
    rows: Sequence[Row],
    *,
    figures: Mapping[str, Any],
    save: bool,
) -> None:
    """Print the table, and write the figures to results/NAME.json if asked to."""
    print_table(ROW_TITLES, [row.cells() for row in rows])
    if save:
        save_result(name, rows, figures=figures)


def save_result(
    name: str,
    rows: Sequence[Row],
    *,
    figures: Mapping[str, Any],
    comparison: Comparison | None = None,
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Write the figures to results/NAME.json.

    origin: commit, date and package versions of figures that were not measured just now.
    """
    result = {
        "name": name,
        "rows": [asdict(row) for row in rows],
        "comparison": asdict(comparison) if comparison else None,
        "figures": figures,
        "machine": machine(),
        "packages": packages(),
        "date": datetime.now(UTC).date().isoformat(),
        **commit(),
        "command": command_line(),
        **(origin or {}),
    }
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    say(f"saved {path.name}")


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns of text under their titles."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for cells in (titles, ["-" * width for width in widths], *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def say(message: str) -> None:
    """Tell on stderr what is being done."""
    print(message, file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """CPU model, cores, memory, system and Python of this machine."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def packages() -> dict[str, str]:
    """Versions of serctl and of what it stands on, as installed here."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def commit() -> dict[str, Any]:
    """The commit that was measured, and whether the package had been changed since."""
    try:
        changes = _git("status", "--porcelain", "--", "serctl")
        return {"commit": _git("rev-parse", "HEAD"), "modified": bool(changes)}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "modified": None}


def short_commit(commit: str | None) -> str:
    """Ten digits, and what may be said after them."""
    digits, _, remark = (commit or "unknown").partition(" ")
    return f"{digits[:10]} {remark}".strip()


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(HERE.parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def command_line() -> str:
    """The command as typed, with a word in the place of each path, which differs from machine to machine."""
    shown = [f"python benchmarks/{Path(sys.argv[0]).name}"]
    previous = ""
    for argument in sys.argv[1:]:
        option, equals, _ = argument.partition("=")
        if equals and option in _PATH_OPTIONS:
            shown.append(f"{option}={_PATH_OPTIONS[option]}")
        else:
            shown.append(_PATH_OPTIONS.get(previous, argument))
        previous = argument
    return " ".join(shown)


def find_files(corpus: Path) -> list[Path]:
    """The WAV and FLAC files in a corpus folder, sorted by path; ends with a message if there are none."""
    found = sorted(path for path in corpus.rglob("*") if path.suffix.lower() in _SUFFIXES)
    return found or sys.exit(f"no WAV or FLAC file in {corpus}: --data names the folder that holds ravdess/")


def serctl() -> str:
    """The console script beside this interpreter."""
    script = shutil.which("serctl", path=str(Path(sys.executable).parent))
    return script or sys.exit("there is no serctl beside this interpreter: pip install . into its environment first")


def model_options(args: argparse.Namespace) -> list[str]:
    """--model as serctl takes it, if one was asked for."""
    return ["--model", args.model] if args.model else []


def run(command: Sequence[str], *, stdin: str = "", env: Mapping[str, str] | None = None) -> Finished:
    """Run a command to its end; exits with what it said if it failed.

    peak_mb is the kernel's figure for the process itself, or for the largest of its children if that is larger.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(os.fsencode(stdin))
        given.seek(0)
        start = time.perf_counter()
        process = subprocess.Popen(command, stdin=given, stdout=out, stderr=err, env={**os.environ, **(env or {})})
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            err.seek(0)
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{err.read().decode(errors='replace')}")
        out.seek(0)
        # The kernel counts in KiB, on macOS in bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        return Finished(wall_s, usage.ru_maxrss * unit / _MB, out.read().decode())


def use_cores(count: int) -> int:
    """Keep this process, and all that it starts, to a number of cores; returns how many it may use."""
    if not hasattr(os, "sched_setaffinity"):
        say("this system cannot pin processes to cores: figures are for all of them")
        return os.cpu_count() or 1
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    return len(os.sched_getaffinity(0))


def time_extraction(command: Sequence[str], paths: Sequence[Path]) -> dict[str, Any]:
    """The figures that an extraction script (extract_serctl.py, peer_opensmile.py) prints for the paths; one thread."""
    finished = run(command, stdin="".join(f"{path}\n" for path in paths), env=dict.fromkeys(_THREADS, "1"))
    figures: dict[str, Any] = json.loads(finished.stdout)
    return figures


def read_model(report: Path) -> str:
    """Name and digest of the model that made a CSV report."""
    with report.open(newline="", encoding="utf-8") as stream:
        return next(csv.DictReader(stream))["model"]
