"""What train, evaluate and federate share: the options of a fit, and what is shown while it runs."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from serctl.cli._app import EXIT_SOME_FAILED, console
from serctl.errors import Remedy, RunInterrupted
from serctl.learning.options import Augmentation, FitOptions, LabelOptions
from serctl.models import DEFAULT_ARCHITECTURE
from serctl.texts import counted

if TYPE_CHECKING:
    from rich.console import Console

    from serctl.cli._flags import Given
    from serctl.learning.fit import EpochCallback, EpochScores
    from serctl.learning.recipe import Recipe

R = TypeVar("R", bound="Recipe")


def make_recipe(given: Given, kind: type[R], **others: Any) -> R:
    """Make the recipe of a network; what was not typed suits the architecture, which may be that of the base."""
    chosen = given.of(kind)
    base = chosen.get("base")
    architecture = chosen.setdefault("architecture", base.facts.architecture if base else DEFAULT_ARCHITECTURE)
    fit = replace(FitOptions.defaults(architecture, continued=base is not None), **given.of(FitOptions))
    augmentation = replace(Augmentation.defaults(architecture), **given.of(Augmentation))
    return kind(**chosen, labels=given.make(LabelOptions), augmentation=augmentation, fit=fit, **others)


def command_line() -> str:
    """The command as typed, to be run again."""
    return shlex.join(["serctl", *sys.argv[1:]])


@contextmanager
def keeping(output: Path, kept: str) -> Iterator[None]:
    """Tell of a run that Ctrl-C or a full disk ends what it leaves, and how to go on from there."""
    checkpoints = output.with_name(f"{output.name}.partial")
    left = f"{checkpoints} keeps {kept}"
    try:
        yield
    except KeyboardInterrupt:
        raise RunInterrupted(left, Remedy.RESUME) from None
    except OSError as error:
        if not checkpoints.exists():
            raise
        raise OSError(f"{error}; {left}; the same command with --resume goes on from there") from error


def epoch_printer(*, quiet: bool) -> EpochCallback:
    """Shows a line for every epoch; see print_step."""
    from serctl.learning.backend import training_device

    out = console()
    last = time.perf_counter()

    def show(scores: EpochScores) -> None:
        nonlocal last
        now = time.perf_counter()
        # The first epoch of a network takes its building as well.
        left = f"; {duration((now - last) * (scores.epochs - scores.epoch))} left" if scores.epoch > 1 else ""
        best = f"epoch {scores.best_epoch}" if scores.best_epoch else "the base"
        if scores.epoch == 1:
            out.print(f"training on {training_device()}", markup=False)
        last = now
        line = (
            f"  epoch {scores.epoch:3d}/{scores.epochs}  loss {scores.loss:.3f}  validation loss {scores.val_loss:.3f} "
            f"{_shown(scores)}; best: {best}{left}  "
        )
        print_step(out, line, scores.epoch, scores.epochs)

    def ignore(scores: EpochScores) -> None:
        """Show nothing."""

    return ignore if quiet else show


def print_step(out: Console, line: str, number: int, total: int) -> None:
    """Show the line of an epoch or a round: rewritten in place on a terminal, one in ten elsewhere."""
    if out.is_terminal:
        out.print(line, end="\r", markup=False)
    elif number % 10 == 0 or number in (1, total):
        out.print(line, markup=False)


def _shown(scores: EpochScores) -> str:
    """The score that selects the epoch."""
    return f"UAR {100 * scores.val_score:.1f} %" if scores.score == "uar" else f"CCC {scores.val_score:.3f}"


def duration(seconds: float) -> str:
    """Roughly, for a person: 40 s, 3 min, 1 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def next_use(folder: Path, *, causal: bool) -> str:
    """The command that runs a new model: a causal one follows speech while it goes on."""
    return f"{'stream FILE' if causal else 'predict RECORDINGS'} --model {shlex.quote(str(folder))}"


def tell_of_failures(failed: int, *, quiet: bool) -> None:
    """End with the exit code of recordings that failed, after the results are written; do nothing without any."""
    if not failed:
        return
    if quiet:
        console().print(f"error: {counted(failed, 'recording')} could not be read", markup=False)
    raise typer.Exit(EXIT_SOME_FAILED)


def print_problems(problems: tuple[str, ...], *, quiet: bool, most: int = 5) -> None:
    """Say which recordings were left out, and why."""
    if quiet or not problems:
        return
    out = console()
    out.print(f"{counted(len(problems), 'problem')} in the corpora:", style="yellow")
    for problem in problems[:most]:
        out.print(f"  {problem}", markup=False)
    if len(problems) > most:
        out.print(f"  and {len(problems) - most} more: `serctl corpus scan` lists them", markup=False)
