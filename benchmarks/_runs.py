"""Runs of `serctl evaluate` and `serctl train` that claims rest on: long, resumable, each done once.

They work in runs/ (ignored by git), where data/ links to the folder of the corpora, so that the commands they record
hold no path of this machine. What is kept of each is benchmarks/results/NAME/metrics.json.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from _common import HERE, RESULTS, say, serctl

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

WORK = HERE.parent / "runs"
METRICS = "metrics.json"
DATA = "data"
_BUNDLE = "bundle.json"
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Run:
    """A call of serctl; the folder it writes has its name.

    corpora: folders below that of --data. model: the training whose model an evaluation scores. base: the training
    whose model the options name to go on from.
    """

    name: str
    corpora: tuple[str, ...]
    options: tuple[str, ...]
    verb: str = "evaluate"
    model: Run | None = None
    base: Run | None = None

    def arguments(self) -> list[str]:
        """What comes after `serctl`."""
        model = ["--model", self.model.name] if self.model else ["--resume"]
        corpora = [f"{DATA}/{corpus}" for corpus in self.corpora]
        return [self.verb, *corpora, *self.options, "-o", self.name, *model]

    def commands(self) -> list[str]:
        """The command lines, the training first."""
        before = [command for training in (self.model, self.base) if training for command in training.commands()]
        return [*before, shlex.join(["serctl", *self.arguments()])]

    @property
    def is_done(self) -> bool:
        """Whether its output is there, in benchmarks/results/ or in runs/."""
        if self.verb == "train":
            return (WORK / self.name / _BUNDLE).exists()
        return read_metrics(self.name) is not None


def evaluation(arch: str, corpus: str, protocol: str, *flags: str, suffix: str = "") -> Run:
    """A cross-validation of an architecture on one corpus, named after them."""
    options = ("--arch", arch, "--protocol", protocol, *flags)
    return Run(f"{corpus}-{arch}{suffix}", (corpus,), options)


def read_metrics(name: str, *, kept_only: bool = False) -> dict[str, Any] | None:
    """The metrics of a run: those that are kept, or else those in runs/; None if there are none."""
    for folder in (RESULTS,) if kept_only else (RESULTS, WORK):
        path = folder / name / METRICS
        if path.exists():
            metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return metrics
    return None


def perform_all(runs: Iterable[Run], data: Path, *, threads: int | None, save: bool) -> list[str]:
    """Do what is not done yet, and return the names of those that failed; a failure does not stop the others."""
    WORK.mkdir(exist_ok=True)
    link_data(data)
    failed = []
    for run in runs:
        if not _perform(run, threads):
            failed.append(run.name)
        elif save:
            keep(run.name)
    return failed


def link_data(data: Path) -> None:
    """Make runs/data lead to the corpora."""
    if not data.is_dir():
        sys.exit(f"expected the folder of the corpora, but there is no folder {data}")
    link = WORK / DATA
    if link.is_symlink() and link.resolve() != data.resolve():
        link.unlink()
    with suppress(FileExistsError):
        link.symlink_to(data.resolve(), target_is_directory=True)


def keep(name: str) -> None:
    """Copy the metrics of a finished run to benchmarks/results/."""
    source, target = WORK / name / METRICS, RESULTS / name / METRICS
    if source.exists() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        say(f"kept {target.relative_to(HERE.parent)}")


def check_same(run: Run) -> None:
    """End with a message if what is kept under the run's name was made by another command."""
    made_by = (read_metrics(run.name) or {}).get("command")
    if made_by and shlex.split(made_by)[1:] != run.arguments():
        sys.exit(f"{run.name} was made by another command; remove its folder to run it anew:\n  {made_by}")


def _perform(run: Run, threads: int | None) -> bool:
    trainings = [training for training in (run.model, run.base) if training]
    if not run.is_done and not all(_perform(training, threads) for training in trainings):
        return False
    with _alone(run.name):
        if run.is_done:
            check_same(run)
            say(f"{run.name}: done before")
            return True
        say(f"{run.name}: serctl {shlex.join(run.arguments())}")
        limits = dict.fromkeys(THREADS, str(threads)) if threads else {}
        ended = subprocess.run([serctl(), *run.arguments()], cwd=WORK, env={**os.environ, **limits}, check=False)
        return ended.returncode == 0


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Wait until no other script does this run: two claims may rest on it, and two processes would mix its folds up."""
    with (WORK / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
