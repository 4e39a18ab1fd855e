"""`serctl train`: corpora in, a model bundle out."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from serctl.cli._app import (
    CorpusArgument,
    QuietOption,
    SeedOption,
    app,
    console,
    progress_bar,
)
from serctl.cli._flags import Given, command, flags
from serctl.cli._learning import (
    ArchitectureOption,
    BaseOption,
    BatchSizeOption,
    CausalOption,
    ClassesOption,
    CopiesOption,
    EpochsOption,
    LearningRateOption,
    MapOption,
    MixupOption,
    NoisyCopiesOption,
    PatienceOption,
    SpecAugmentOption,
    SpeedOption,
    TeacherOption,
    ValidationOption,
    augmentation_options,
    epoch_printer,
    keeping,
    label_options,
    print_problems,
)
from serctl.extras import require_extra
from serctl.models import DEFAULT_ARCHITECTURE, find_architecture

if TYPE_CHECKING:
    from serctl.bundle.store import Bundle
    from serctl.learning.options import FitOptions
    from serctl.metrics import Scores
    from serctl.verbs.train import TrainResult


@command(
    app,
    "serctl train ./corpus -o ./my-model",
    "serctl train ./corpus -o ./small --arch separable --epochs 60",
    "serctl train ./corpus -o ./adapted --from ./my-model",
    "serctl train ./corpus -o ./live-model --arch lstm --causal",
    "serctl train ./corpus -o ./student --arch mfcc --teacher ./my-model",
    "serctl train ./corpus -o ./two-emotions --classes happy,sad",
)
@flags("jobs", "resume", "overwrite", "cache")
def train(
    given: Given,
    corpora: CorpusArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the bundle to write.")],
    arch: ArchitectureOption = None,
    base: BaseOption = None,
    language: Annotated[
        Optional[str],  # noqa: UP045 - typer reads this at run time on Python 3.10
        typer.Option(
            help="Code of the language spoken (xx). With --from a shared_private model: fit its adapter alone.",
            metavar="CODE",
        ),
    ] = None,
    teachers: TeacherOption = None,
    causal: CausalOption = False,
    classes: ClassesOption = None,
    mapping: MapOption = None,
    validation_share: ValidationOption = 0.1,
    epochs: EpochsOption = None,
    patience: PatienceOption = None,
    batch_size: BatchSizeOption = 32,
    lr: LearningRateOption = 1.5e-3,
    copies: CopiesOption = 3,
    noisy_copies: NoisyCopiesOption = 0,
    speed: SpeedOption = "0.85:1.17",
    specaugment: SpecAugmentOption = True,
    mixup: MixupOption = 0.0,
    name: Annotated[str, typer.Option(help="Name of the model. Default: the name of the folder.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the weights, for the model card.")] = "",
    evaluation: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads this at run time on Python 3.10
        typer.Option(help="Folder of a cross-validation (serctl evaluate --arch) to quote in the model card."),
    ] = None,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Train a model on labelled corpora.

    The model is a bundle, a folder that `serctl predict --model` runs.
    The architecture is hybrid unless --arch or --from says otherwise. Some speakers are held out to choose the epoch
    and to calibrate the confidences. An interrupted run leaves its checkpoints in OUTPUT.partial, and --resume goes on
    from there.
    """
    require_extra("train", "training")
    from serctl import api
    from serctl.verbs import train as verb

    augmentation = augmentation_options(copies, noisy_copies, speed, seed)
    base_model = load_model(base)
    architecture = arch or (base_model.facts.architecture if base_model else DEFAULT_ARCHITECTURE)
    fit = fit_options(architecture, epochs, patience, batch_size, lr, mixup, specaugment=specaugment, seed=seed)
    options = verb.TrainOptions(
        architecture=architecture,
        base=base_model,
        adapter_only=bool(base and language) and find_architecture(architecture).adapters,
        teachers=load_models(teachers),
        causal=causal,
        language=language,
        labels=label_options(classes, mapping),
        augmentation=augmentation,
        fit=fit,
        validation_share=validation_share,
        name=name,
        licence=licence or verb.UNSTATED_LICENCE,
        command=command_line(),
        evaluation=evaluation,
    )
    with keeping(output, "the finished epochs"), progress_bar("Extracting", quiet=quiet) as progress:
        result = api.train(
            corpora,
            output=output,
            options=options,
            run=given.run(progress),
            on_epoch=epoch_printer(quiet=quiet),
        )
    print_problems(result.dataset.problems, quiet=quiet)
    if not quiet:
        _print_result(result, causal=causal)


def load_model(reference: str | None) -> Bundle | None:
    """Load a model by its name or folder; None without one. Raises BundleError if there is no such model."""
    from serctl.bundle.store import load_bundle

    return load_bundle(reference) if reference else None


def load_models(references: list[str] | None) -> tuple[Bundle, ...]:
    """Load models by their names or folders. Raises BundleError if there is no such model."""
    from serctl.bundle.store import load_bundle

    return tuple(map(load_bundle, references or []))


def fit_options(
    architecture: str,
    epochs: int | None,
    patience: int | None,
    batch_size: int,
    lr: float,
    mixup: float,
    *,
    specaugment: bool,
    seed: int,
) -> FitOptions:
    """The options of a fit, from the flags; those not given suit the architecture."""
    from serctl.learning.options import FitOptions

    given = {name: value for name, value in (("epochs", epochs), ("patience", patience)) if value is not None}
    options = replace(FitOptions.defaults(architecture), **given, batch_size=batch_size, lr=lr, mixup=mixup, seed=seed)
    return options if specaugment else replace(options, time_mask=0.0, band_mask=0.0)


def command_line() -> str:
    """The command as typed, to be run again."""
    return shlex.join(["serctl", *sys.argv[1:]])


def _print_result(result: TrainResult, *, causal: bool) -> None:
    out = console()
    scores, facts = result.scores, result.facts
    interval = scores.intervals["uar"]
    counts = ", ".join(f"{label} {sum(scores.confusion[index])}" for index, label in enumerate(scores.classes))
    lines = [
        f"Trained {facts.architecture} ({facts.parameters:,} parameters) on {len(result.split.train)} utterances, "
        f"best epoch {result.best_epoch}",
        f"held out: {len(result.split.held_out)} utterances ({counts}); {result.split.reason}",
        *([f"left out: {result.dataset.marked_test} utterances marked test"] if result.dataset.marked_test else []),
        f"UAR on the held-out part {100 * scores.uar:.1f} % (95 % interval {100 * interval.low:.1f} to "
        f"{100 * interval.high:.1f}, over {interval.unit}s), WA {100 * scores.wa:.1f} %, ECE {scores.ece:.3f}; "
        "it chose the epoch, so it flatters: `serctl evaluate --protocol` gives honest scores",
        f"model: {result.folder}",
        f"next: serctl {'stream FILE' if causal else 'predict RECORDINGS'} --model {shlex.quote(str(result.folder))}",
    ]
    for line in lines:
        out.print(line, markup=False)
    if only := only_answer(scores):
        out.print(
            f"it answers {only} to every held-out utterance, so it has learned next to nothing: train for more "
            "--epochs or on more recordings",
            style="yellow",
            markup=False,
        )


def only_answer(scores: Scores) -> str | None:
    """The emotion that a model answers whatever it hears, None if it tells some apart."""
    answered = [label for label, count in zip(scores.classes, scores.confusion.sum(axis=0), strict=True) if count]
    return answered[0] if len(answered) == 1 else None
