"""A hundred thousand recordings: Dask next to processes of one machine, with workers that are killed meanwhile.

python benchmarks/scale.py --work FOLDER [--files 100000] [--save]

Each step runs `serctl predict` and keeps its figures in FOLDER, so that a run that was interrupted goes on from there.
The files are 0.12 s long and have 1,000 different contents, whose features are in the cache: a recording takes 1 ms, so
that what the back ends add shows. `uncached` measures them with the features computed.

Needs serctl[dask] and psutil.
"""

from __future__ import annotations

import csv
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from _common import SAMPLES, Row, finish, make_parser, parse, say, serctl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CONTENTS = 1_000
LENGTH_S = 0.12
STEP_SAMPLES = 20
WORKERS = 4
KILLED = 2
EXIT_SOME_FAILED = 3
SIZES = (1_000, 10_000, 90_000)
UNCACHED = (1_000, 5_000)
PROGRESS = re.compile(r"(\d+)/(\d+) files")

POISON = "poison.wav"
TRAP = f"""
import os, signal, sys
def watch(event, arguments):
    if event == "open" and str(arguments[0]).endswith("{POISON}"):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
"""
"""A sitecustomize.py: whoever opens that recording is killed, as by a crash in native code."""


@dataclass
class Watch:
    """CPU seconds and memory of processes and all that they start, sampled while they run."""

    roots: dict[str, psutil.Process]
    cpu_s: dict[int, float] = field(default_factory=dict)
    memory_mb: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[Watch]:
        """Sample during the block."""
        thread = threading.Thread(target=self._sample)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    def _sample(self) -> None:
        start = time.monotonic()
        while not self._ended.wait(0.2):
            for name, root in self.roots.items():
                with suppress(psutil.Error):
                    memory = root.memory_info().rss / 1e6
                    self.memory_mb.setdefault(name, []).append((time.monotonic() - start, memory))
                    for process in (root, *root.children(recursive=True)):
                        with suppress(psutil.Error):
                            times = process.cpu_times()
                            self.cpu_s[process.pid] = times.user + times.system

    def memory_at(self, name: str, share: float) -> float:
        """Resident memory of a process in MB when that share of the time had passed."""
        samples = self.memory_mb[name]
        end = samples[-1][0]
        return next(memory for moment, memory in samples if moment >= share * end)


def make_files(folder: Path, count: int) -> None:
    """Make the recordings, hard links to the different contents, 1,000 in a folder; the middle one kills its worker."""
    import soundfile

    contents = folder.parent / "contents"
    contents.mkdir(parents=True, exist_ok=True)
    samples, rate = soundfile.read(SAMPLES / "emma-angry.wav", dtype="float32")
    for number in range(CONTENTS):
        first = STEP_SAMPLES * number
        soundfile.write(contents / f"{number}.wav", samples[first : first + round(LENGTH_S * rate)], rate)
    for number in range(count):
        place = folder / f"{number // 1000:03d}"
        place.mkdir(parents=True, exist_ok=True)
        name = POISON if number == count // 2 else f"{number:06d}.wav"
        (place / name).unlink(missing_ok=True)
        (place / name).hardlink_to(contents / f"{number % CONTENTS}.wav")


class Steps:
    """The figures of finished steps, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.figures: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def do(self, name: str, step: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the figures of a step, which is run unless it was before."""
        if name not in self.figures:
            say(f"{name} ...")
            self.figures[name] = step()
            say(f"{name}: {self.figures[name]}")
            self._path.write_text(json.dumps(self.figures, indent=1))
        return self.figures[name]


@dataclass(frozen=True)
class Bench:
    """Where the files lie, and how serctl is run on them."""

    work: Path
    model: Sequence[str] = ()

    def folders(self, count: int) -> list[str]:
        """The folders of the first so many recordings, without the one that kills its worker."""
        found = sorted(each for each in (self.work / "files").iterdir() if not (each / POISON).exists())
        return [str(each) for each in found[: count // 1000]]

    def command(self, inputs: Sequence[str], output: str, *options: str) -> list[str]:
        """The command line of a prediction."""
        where = ["-o", str(self.work / output), "--overwrite", "--cache-dir", str(self.work / "cache")]
        return [serctl(), "predict", *inputs, *self.model, *where, *options]

    def predict(self, count: int, *options: str) -> dict[str, Any]:
        """Predict so many recordings on two workers and measure it."""
        command = self.command(self.folders(count), "out.csv", "--jobs", "2", "-q", *options)
        start = time.monotonic()
        process = subprocess.Popen(command, cwd=self.work)
        with Watch({"client": psutil.Process(process.pid)}).running() as watch:
            code = process.wait()
        if code:
            sys.exit(f"{' '.join(command[:3])} ... ended with {code}")
        wall_s = time.monotonic() - start
        cpu_s = sum(watch.cpu_s.values())
        return {
            "files": count,
            "wall_s": round(wall_s, 2),
            "cpu_s": round(cpu_s, 2),
            "client_mb": round(watch.memory_at("client", 0.98)),
        }

    def one_machine(self) -> dict[str, Any]:
        """Predict all of the files, the one that kills its worker among them, with processes of this machine."""
        start = time.monotonic()
        command = self.command([str(self.work / "files")], "one-machine.csv", "--jobs", "2", "-q")
        code = subprocess.run(command, cwd=self.work, env=trapped(self.work), check=False).returncode
        return {"code": code, "wall_s": round(time.monotonic() - start, 1), **count_rows(self.work / "one-machine.csv")}

    def killed(self, seed: int = 1) -> dict[str, Any]:
        """Predict all of the files on four workers, of which some are killed at random moments."""
        rng = random.Random(seed)
        moments = sorted(rng.uniform(0.05, 0.9) for _ in range(KILLED))
        with ExitStack() as stack:
            scheduler, workers, address = stack.enter_context(cluster(self.work))
            command = self.command(
                [str(self.work / "files")], "killed.csv", "--backend", "dask", "--scheduler", address
            )
            start = time.monotonic()
            client = subprocess.Popen(command, cwd=self.work, stderr=subprocess.PIPE, text=True)
            watch = Watch({"client": psutil.Process(client.pid), "scheduler": psutil.Process(scheduler.pid)})
            with watch.running():
                kills = kill_at(moments, client, workers, rng)
                code = client.wait()
        memory = {
            f"{name}_mb_at_{round(100 * share)}": round(watch.memory_at(name, share))
            for name in ("client", "scheduler")
            for share in (0.2, 0.5, 0.98)
        }
        same = (self.work / "killed.csv").read_bytes() == (self.work / "one-machine.csv").read_bytes()
        return {
            "code": code,
            "wall_s": round(time.monotonic() - start, 1),
            "killed_at": kills,
            "same_bytes": same,
            **count_rows(self.work / "killed.csv"),
            **memory,
        }


def trapped(work: Path) -> dict[str, str]:
    """An environment in which opening the poisonous recording kills a process."""
    folder = work / "trap"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(TRAP)
    return {**os.environ, "PYTHONPATH": str(folder)}


@contextmanager
def cluster(work: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process], str]]:
    """A scheduler and workers, each with a nanny, on loopback."""

    def start(command: Sequence[str], env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, text=True)

    dask = [sys.executable, "-m", "dask"]
    file = work / "scheduler.json"
    file.unlink(missing_ok=True)
    place = ["--host", "127.0.0.1", "--no-dashboard"]
    started = [start([*dask, "scheduler", *place, "--port", "0", "--scheduler-file", str(file)])]
    try:
        while not file.exists() or not file.read_text():
            time.sleep(0.2)
        time.sleep(1.0)
        address = json.loads(file.read_text())["address"]
        options = ["--nthreads", "1", "--memory-limit", "0", "--local-directory", str(work / "dask")]
        for _ in range(WORKERS):
            worker = [*dask, "worker", address, *place, *options]
            started.append(start(worker, env=trapped(work)))
        yield started[0], [psutil.Process(each.pid) for each in started[1:]], address
    finally:
        for each in reversed(started):
            for child in psutil.Process(each.pid).children(recursive=True):
                child.kill()
            each.kill()
            each.wait()


def kill_at(
    moments: Sequence[float], client: subprocess.Popen[str], nannies: Sequence[psutil.Process], rng: random.Random
) -> list[float]:
    """Read the progress of the client to its end, and kill a worker at each of the moments, shares of the files."""
    left, done = list(moments), []
    for line in client.stderr or ():
        found = PROGRESS.search(line)
        share = int(found[1]) / int(found[2]) if found else 0.0
        if left and share >= left[0]:
            left.pop(0)
            workers = [
                each for nanny in nannies for each in nanny.children() if "spawn_main" in " ".join(each.cmdline())
            ]
            rng.choice(workers).kill()
            done.append(round(share, 3))
        if not found:
            say(line.rstrip())
    return done


def count_rows(report: Path) -> dict[str, Any]:
    """Count the rows of a report, and name the recordings that failed."""
    with report.open(newline="", encoding="utf-8") as stream:
        rows = [(row["path"], row["error"]) for row in csv.DictReader(stream)]
    return {"rows": len(rows), "errors": [f"{Path(path).name}: {error}" for path, error in rows if error]}


def cost(figures: dict[str, Any], count: int, features: str = "") -> Row:
    """CPU milliseconds of a recording, the start of the run among them."""
    loky, dask = (1000 * figures[f"{features}{backend} {count}"]["cpu_s"] / count for backend in ("loky", "dask"))
    measure = f"CPU of one of {count:,} recordings, features {'computed' if features else 'cached'}: Dask"
    return Row(measure, dask, "ms", peer="loky", peer_figure=loky)


def overhead(figures: dict[str, Any], count: int) -> float:
    """How much more CPU time than loky Dask needs where features are cached, start included, in percent."""
    return 100 * float(figures[f"dask {count}"]["cpu_s"] / figures[f"loky {count}"]["cpu_s"] - 1)


def main() -> None:
    """Run the steps that are missing and print the figures."""
    parser = make_parser(__doc__ or "", model=True, quick=False)
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="for the files and the figures")
    parser.add_argument("--files", type=int, default=100_000, help="recordings of the largest run")
    args = parse(parser)
    work = args.work.resolve()
    bench = Bench(work, ["--model", args.model] if args.model else [])
    work.mkdir(parents=True, exist_ok=True)
    steps = Steps(work / "figures.json")
    steps.do("files", lambda: make_files(work / "files", args.files) or {"files": args.files})
    steps.do("warm", lambda: bench.predict(1_000))
    steps.do("one machine", bench.one_machine)
    killed = steps.do("killed", bench.killed)
    backends = {"loky": [], "dask": ["--backend", "dask"]}
    sizes = [count for count in SIZES if count < args.files]
    for count in sizes:
        for backend, options in backends.items():
            steps.do(f"{backend} {count}", lambda: bench.predict(count, *options))  # noqa: B023 - called at once
    for count in UNCACHED:
        for backend, options in backends.items():
            steps.do(f"uncached {backend} {count}", lambda: bench.predict(count, "--no-cache", *options))  # noqa: B023
    figures = steps.figures
    rows = [
        Row("rows, of four workers two killed", killed["rows"], "rows"),
        Row("error rows, of one recording that kills its worker", len(killed["errors"]), "rows"),
        Row("same bytes as on one machine", float(killed["same_bytes"]), "(1 = yes)", 1, at_least=True),
        *(Row(f"overhead of Dask, {count:,} recordings", overhead(figures, count), "%", 10) for count in sizes[-1:]),
        *(cost(figures, count) for count in sizes),
        *(cost(figures, count, "uncached ") for count in UNCACHED),
        Row("scheduler, growth from 20 % to the end", growth(killed, "scheduler"), "MB"),
        Row("client, growth from 20 % to the end", growth(killed, "client"), "MB"),
    ]
    finish("scale", rows, figures=figures, save=args.save)


def growth(killed: dict[str, Any], name: str) -> float:
    """Megabytes that a process gained between a fifth of the run and its end."""
    return float(killed[f"{name}_mb_at_98"] - killed[f"{name}_mb_at_20"])


if __name__ == "__main__":
    main()
