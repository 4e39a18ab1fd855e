"""`serctl evaluate`: scores of a model, or of an architecture by cross-validation."""

from __future__ import annotations

import math
import time
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
    duration,
    epoch_printer,
    keeping,
    label_options,
    print_problems,
)
from serctl.cli.train import command_line, fit_options, load_model, load_models
from serctl.errors import ConfigError
from serctl.extras import require_extra
from serctl.models import ARCHITECTURES

if TYPE_CHECKING:
    from serctl.corpora import Fold
    from serctl.verbs.evaluate import Evaluation, FoldCallback


@command(
    app,
    "serctl evaluate ./corpus -o ./evaluation",
    "serctl evaluate ./corpus --model ./my-model -o ./of-my-model",
    "serctl evaluate ./corpus --arch hybrid --protocol loso -o ./cross-validation",
    "serctl evaluate ./corpus --arch mfcc --protocol speaker-kfold:2 -o ./in-two-folds",
)
@flags("jobs", "resume", "overwrite", "cache")
def evaluate(
    given: Given,
    corpora: CorpusArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write scores, plots and predictions to.")],
    model: Annotated[
        Optional[str],  # noqa: UP045 - typer reads this at run time on Python 3.10
        typer.Option(
            "--model",
            "-m",
            help="Score this model: a bundled one's name or a bundle's folder. Default: the bundled one.",
        ),
    ] = None,
    arch: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--arch",
            help="Score this architecture instead, trained anew for every fold of --protocol: "
            f"{', '.join(ARCHITECTURES)}.",
            metavar="NAME",
        ),
    ] = None,
    protocol: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="loso, speaker-kfold:K, emobox-ravdess-6, leave-one-language-out, random-kfold:K (speaker-dependent) "
            "or split (a manifest's).",
            metavar="NAME",
        ),
    ] = None,
    normalise_speakers: Annotated[
        bool,
        typer.Option(
            "--normalise-speakers",
            help="Features relative to the speaker's other recordings, in test as well (transductive; stamped so).",
        ),
    ] = False,
    base: BaseOption = None,
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
    seed: SeedOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Score a model, or an architecture by cross-validation.

    Writes metrics.json, predictions.parquet, confusion.csv, plots and report.md to the folder, stamped with what
    training and test share. A cross-validation saves every fold as it ends, and --resume continues from there. The
    options of training apply to --arch only.
    """
    if (arch is None) != (protocol is None) or (model is not None and arch is not None):
        raise ConfigError("expected either --model MODEL, or --arch NAME together with --protocol NAME")
    require_extra("train", "evaluation")
    from serctl import api
    from serctl.verbs import evaluate as verb

    labels = label_options(classes, mapping)
    with progress_bar("Extracting", quiet=quiet) as progress:
        run = given.run(progress)
        if arch is None:
            evaluation = api.evaluate(
                corpora,
                model=model,
                output=output,
                labels=labels,
                run=run,
                seed=seed,
            )
        else:
            options = verb.CrossValidation(
                architecture=arch,
                protocol=protocol or "",
                labels=labels,
                augmentation=augmentation_options(copies, noisy_copies, speed, seed),
                fit=fit_options(arch, epochs, patience, batch_size, lr, mixup, specaugment=specaugment, seed=seed),
                validation_share=validation_share,
                normalise_speakers=normalise_speakers,
                base=load_model(base),
                teachers=load_models(teachers),
                causal=causal,
            )
            with keeping(output, "what is finished"):
                evaluation = api.cross_validate(
                    corpora,
                    output=output,
                    options=options,
                    run=run,
                    command=command_line(),
                    on_fold=_fold_printer(quiet=quiet),
                    on_epoch=epoch_printer(quiet=quiet),
                )
    print_problems(evaluation.problems, quiet=quiet)
    if not quiet:
        _print_result(evaluation)


def _fold_printer(*, quiet: bool) -> FoldCallback:
    last = time.perf_counter()
    longest = 0.0

    def show(fold: Fold, number: int, total: int) -> None:
        nonlocal last, longest
        now = time.perf_counter()
        if number > 1:  # those of an interrupted run pass at once, so the longest is the one to go by
            longest = max(longest, now - last)
        last = now
        left = f"; {duration(longest * (total - number + 1))} left" if longest > 1 else ""
        if not quiet:
            console().print(
                f"fold {number} of {total} ({fold.name}): {len(fold.train)} to train, {len(fold.test)} to test{left}",
                markup=False,
            )

    return show


def _print_result(evaluation: Evaluation) -> None:
    from serctl.reports.markdown import stamp

    out = console()
    scores = evaluation.scores
    for title, name, value in (
        ("UAR", "uar", scores.uar),
        ("WA", "wa", scores.wa),
        ("macro-F1", "macro_f1", scores.macro_f1),
    ):
        interval = scores.intervals[name]
        span = f"95 % interval {100 * interval.low:.1f} to {100 * interval.high:.1f}, over {interval.unit}s"
        out.print(f"{title:9}{100 * value:5.1f} %  ({span})", markup=False)
    out.print(f"{'ECE':9}{scores.ece:7.3f}", markup=False)
    recalls = ", ".join(
        f"{emotion} {'not tested' if math.isnan(recall) else f'{100 * recall:.0f} %'}"
        for emotion, recall in zip(scores.classes, scores.recall, strict=True)
    )
    out.print(f"recall: {recalls}", markup=False)
    if silent := int(scores.no_speech.sum()):
        out.print(f"no speech was found in {silent} of {scores.n} utterances: they count as wrong", style="yellow")
    out.print(stamp(evaluation.metrics), style="yellow" if "independent" not in stamp(evaluation.metrics) else None)
    out.print(f"evaluation: {evaluation.folder}/report.md", markup=False)
