"""`serctl evaluate`: scores of a model, or of an architecture by cross-validation."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli._app import CorpusArgument, QuietOption, app, console, progress_bar
from serctl.cli._flags import Given, command, flags
from serctl.cli._learning import (
    command_line,
    duration,
    epoch_printer,
    keeping,
    make_recipe,
    print_problems,
    tell_of_failures,
)
from serctl.errors import ConfigError
from serctl.extras import require_extra
from serctl.learning.options import Augmentation, FitOptions, LabelOptions, NetworkOptions, ProtocolOptions
from serctl.verbs.options import ADAPT_MODES

if TYPE_CHECKING:
    from serctl.corpora import Fold
    from serctl.metrics import NumberScores, Scores
    from serctl.verbs.evaluate import Evaluation, FoldCallback


@command(
    app,
    "serctl evaluate ./other-corpus -o ./evaluation",
    "serctl evaluate ./other-corpus --model ./my-model -o ./of-my-model",
    "serctl evaluate ./other-corpus --arch speech-attention --protocol loso -o ./cross-validation",
    "serctl evaluate ./corpus --arch mfcc --protocol speaker-kfold:2 -o ./in-two-folds",
)
@flags(
    "jobs",
    "resume",
    "overwrite",
    "cache",
    Labels=LabelOptions,
    Protocol=ProtocolOptions,
    Network=NetworkOptions,
    Fit=FitOptions,
    Augmentation=Augmentation,
)
def evaluate(
    given: Given,
    corpora: CorpusArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write scores, plots and predictions to.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Score this model: a bundled one's name or a bundle's folder. Default: the bundled one.",
        ),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Score a model, or an architecture by cross-validation.

    Writes metrics.json, predictions.parquet, confusion.csv, plots and report.md to the folder; the report says
    what training and test share. A cross-validation saves every fold as it ends, and --resume continues from there. The
    options of training apply to --arch only. Exit code: 0 all good, 2 wrong usage, 3 some recordings could not be read
    and are left out.
    """
    arch = given["architecture"]
    if (arch is None) != (given["protocol"] is None) or (model is not None and arch is not None):
        raise ConfigError("expected either --model MODEL, or --arch NAME together with --protocol NAME")
    word = next((each for each in corpora if str(each) in ADAPT_MODES and not each.exists()), None)
    if given["adapt"] and word:
        raise ConfigError(f"evaluate --adapt takes no value: it adapts each corpus to its recordings. Received: {word}")
    require_extra("train", "evaluation")
    if arch is None:
        evaluation = _evaluate_model(corpora, output, given, model, quiet=quiet)
    else:
        evaluation = _cross_validate(corpora, output, given, quiet=quiet)
    print_problems(evaluation.problems, quiet=quiet)
    if not quiet:
        _print_result(evaluation)
    tell_of_failures(evaluation.facts.left_out["failed"], quiet=quiet)


def _evaluate_model(corpora: list[Path], output: Path, given: Given, model: str | None, *, quiet: bool) -> Evaluation:
    from serctl import api

    labels = given.make(LabelOptions)
    with progress_bar("Extracting", quiet=quiet) as progress:
        return api.evaluate(
            corpora,
            output=output,
            model=model,
            labels=labels,
            seed=given["seed"],
            adapt=bool(given["adapt"]),
            run=given.run(progress),
        )


def _cross_validate(corpora: list[Path], output: Path, given: Given, *, quiet: bool) -> Evaluation:
    from serctl import api
    from serctl.verbs.evaluate import CrossValidation

    options = make_recipe(given, CrossValidation)
    with keeping(output, "what is finished"), progress_bar("Extracting", quiet=quiet) as progress:
        return api.cross_validate(
            corpora,
            output=output,
            options=options,
            command=command_line(),
            run=given.run(progress),
            on_fold=_fold_printer(quiet=quiet),
            on_epoch=epoch_printer(quiet=quiet),
        )


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
    from serctl.metrics import NumberScores
    from serctl.reports.markdown import is_warning, left_out, stamp

    out = console()
    scores = evaluation.scores
    if isinstance(scores, NumberScores):
        _print_numbers(scores)
    else:
        _print_emotions(scores)
    if (count := left_out(evaluation.facts)) != "none":
        out.print(f"left out: {count}", style="yellow", markup=False)
    shared = stamp(evaluation.facts)
    out.print(shared, style="yellow" if is_warning(shared) else None)
    out.print(f"evaluation: {evaluation.folder}/report.md", markup=False)


def _print_emotions(scores: Scores) -> None:
    out = console()
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


def _print_numbers(scores: NumberScores) -> None:
    from serctl.reports.number_page import score_rows

    for title, value, span in score_rows(scores):
        console().print(f"{title:26}{value:>8}  (95 % interval {span})", markup=False)
    if scores.no_speech:
        console().print(f"no speech was found in {scores.no_speech} of {scores.n} utterances", style="yellow")
