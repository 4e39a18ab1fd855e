"""What train and evaluate share: the options of a fit, and what is shown while it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from serctl.cli._app import console
from serctl.errors import ConfigError, Remedy, RunInterrupted
from serctl.models import ARCHITECTURES

if TYPE_CHECKING:
    from serctl.learning.dataset import Augmentation, LabelOptions
    from serctl.learning.fit import EpochCallback, EpochScores

ArchitectureOption = Annotated[
    Optional[str],  # noqa: UP045 - typer reads this at run time on Python 3.10
    typer.Option("--arch", help=f"Architecture of the network: {', '.join(ARCHITECTURES)}.", metavar="NAME"),
]
BaseOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--from", help="Go on from this model: a bundled one's name or a bundle's folder.", metavar="MODEL"),
]
CausalOption = Annotated[
    bool, typer.Option("--causal", help="Answers rest only on what came before them (lstm): for `serctl stream`.")
]
TeacherOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--teacher", help="Learn this model's opinions as well (distillation). Repeatable.", metavar="MODEL"),
]
ClassesOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Emotions that take part, separated by commas. Default: all that occur.", metavar="A,B,..."),
]
MapOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--map", help="Rename an emotion before training, e.g. calm=neutral. Repeatable.", metavar="FROM=TO"),
]
EpochsOption = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(min=1, help="Most epochs to train. Default: 40; hybrid, which trains quickly, 100."),
]
PatienceOption = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        min=1,
        help="Epochs without a better validation UAR, in the second half, before it stops. Default: 15; hybrid 40.",
    ),
]
BatchSizeOption = Annotated[int, typer.Option(min=1, help="Windows in a batch.")]
LearningRateOption = Annotated[float, typer.Option("--lr", help="Highest learning rate of the schedule, above 0.")]
CopiesOption = Annotated[
    int, typer.Option(min=0, help="Augmented copies of each training utterance, at another speed; 0 for none.")
]
NoisyCopiesOption = Annotated[
    int, typer.Option(min=0, help="Further copies at another speed and with Gaussian noise of 10 to 20 dB SNR.")
]
SpeedOption = Annotated[
    str, typer.Option(help="Range of the speed factors of the copies, 0.1 to 10.", metavar="LOW:HIGH")
]
MixupOption = Annotated[float, typer.Option(min=0, help="Mixup: alpha of the Beta distribution, 0 for none.")]
SpecAugmentOption = Annotated[
    bool,
    typer.Option(
        "--specaugment/--no-specaugment",
        help="Mask parts of the spectrogram, for networks that take it (not hybrid, mfcc).",
    ),
]
ValidationOption = Annotated[
    float,
    typer.Option(
        "--validation-share",
        min=0.02,
        max=0.5,
        help="Share held out to choose the epoch, whole speakers unless test speakers are in training too.",
    ),
]


def label_options(classes: str | None, mapping: list[str] | None) -> LabelOptions:
    """Which emotions take part. Raises ConfigError for an unknown emotion or a mapping that is not FROM=TO."""
    from serctl.learning.dataset import LabelOptions

    pairs = [tuple(pair.split("=")) for pair in mapping or []]
    for pair in pairs:
        if len(pair) != 2:
            raise ConfigError(f"--map: expected FROM=TO, e.g. calm=neutral, came {'='.join(pair)}")
    names = tuple(name.strip() for name in classes.split(",")) if classes else ()
    return LabelOptions(names, tuple((pair[0], pair[1]) for pair in pairs))


def augmentation_options(copies: int, noisy_copies: int, speed: str, seed: int) -> Augmentation:
    """The augmented copies of each utterance. Raises ConfigError for a range that is not LOW:HIGH."""
    from serctl.cli.augment import parse_range
    from serctl.learning.dataset import Augmentation
    from serctl.transforms.speed import Speed

    return Augmentation(copies, noisy_copies, speed=Speed(*parse_range(speed, "--speed")), seed=seed)


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
    """Shows a line for every epoch: rewritten in place on a terminal, one in ten elsewhere."""
    out = console()
    last = time.perf_counter()

    def show(scores: EpochScores) -> None:
        nonlocal last
        now = time.perf_counter()
        # The first epoch of a network takes its building as well.
        left = f"; {duration((now - last) * (scores.epochs - scores.epoch))} left" if scores.epoch > 1 else ""
        last = now
        line = (
            f"  epoch {scores.epoch:3d}/{scores.epochs}  loss {scores.loss:.3f}  validation loss {scores.val_loss:.3f} "
            f"UAR {100 * scores.val_uar:.1f} %; best epoch {scores.best_epoch}{left}  "
        )
        if out.is_terminal:
            out.print(line, end="\r", markup=False)
        elif scores.epoch % 10 == 0 or scores.epoch in (1, scores.epochs):
            out.print(line, markup=False)

    def ignore(scores: EpochScores) -> None:
        """Show nothing."""

    return ignore if quiet else show


def duration(seconds: float) -> str:
    """Roughly, for a person: 40 s, 3 min, 1 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def print_problems(problems: tuple[str, ...], *, quiet: bool, most: int = 5) -> None:
    """Say which recordings were left out, and why."""
    if quiet or not problems:
        return
    out = console()
    out.print(f"{len(problems)} problems in the corpora:", style="yellow")
    for problem in problems[:most]:
        out.print(f"  {problem}", markup=False)
    if len(problems) > most:
        out.print(f"  and {len(problems) - most} more: `serctl corpus scan` lists them", markup=False)
