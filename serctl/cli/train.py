"""`serctl train`: corpora in, a model bundle out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli._app import CorpusArgument, QuietOption, app, console, progress_bar
from serctl.cli._flags import WORKERS, Given, command, flags
from serctl.cli._learning import (
    command_line,
    epoch_printer,
    keeping,
    make_recipe,
    next_use,
    print_problems,
    tell_of_failures,
)
from serctl.extras import require_extra
from serctl.learning.options import Augmentation, FitOptions, LabelOptions, NetworkOptions, RecordOptions

if TYPE_CHECKING:
    from serctl.metrics import NumberScores, Scores
    from serctl.verbs.train import TrainResult


@command(
    app,
    "serctl train ./corpus -o ./my-model",
    "serctl train ./corpus -o ./small --arch separable --epochs 60",
    "serctl train ./corpus -o ./adapted --from ./my-model",
    "serctl train ./corpus -o ./live-model --arch lstm --causal",
    "serctl train ./corpus -o ./student --arch mfcc --teacher ./my-model",
    "serctl train ./corpus -o ./two-emotions --classes happy,sad",
    "serctl train ./corpus -o ./measured --arch mfcc --learning-curve",
)
@flags(
    *WORKERS,
    "resume",
    "overwrite",
    "cache",
    Network=NetworkOptions,
    Labels=LabelOptions,
    Fit=FitOptions,
    Augmentation=Augmentation,
    Record=RecordOptions,
)
def train(
    given: Given,
    corpora: CorpusArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the bundle to write.")],
    quiet: QuietOption = False,
) -> None:
    """Train a model on labelled corpora.

    The model is a bundle, a folder that `serctl predict --model` runs. The architecture is speech-attention unless
    --arch or --from says otherwise. Some speakers are held out to choose the epoch and to calibrate the confidences. An
    interrupted run leaves its checkpoints in OUTPUT.partial, and --resume continues from there. Exit code: 0 all good,
    2 wrong usage, 3 some recordings could not be read and are left out.
    """
    require_extra("train", "training")
    from serctl import api
    from serctl.models import find_architecture
    from serctl.verbs.train import TrainOptions

    options = make_recipe(given, TrainOptions, command=command_line())
    if options.base and options.language and find_architecture(options.architecture).adapters:
        options = replace(options, adapter_only=True)
    with keeping(output, "the finished epochs"), progress_bar("Extracting", quiet=quiet) as progress:
        result = api.train(
            corpora, output=output, options=options, run=given.run(progress), on_epoch=epoch_printer(quiet=quiet)
        )
    print_problems(result.dataset.problems, quiet=quiet)
    if not quiet:
        _print_result(result, causal=options.causal)
    tell_of_failures(result.dataset.failed, quiet=quiet)


def _print_result(result: TrainResult, *, causal: bool) -> None:
    from serctl.metrics import NumberScores

    out = console()
    scores, facts = result.scores, result.facts
    left_out = {"marked test": result.dataset.marked_test, "of other classes": result.dataset.other_classes}
    lines = [
        f"Trained {facts.architecture} ({facts.parameters:,} parameters) on {len(result.split.train)} utterances, "
        + (
            f"best epoch {result.best_epoch}"
            if result.best_epoch
            else "and no epoch was better than the base by more than chance: kept it"
        ),
        f"held out: {len(result.split.held_out)} utterances{_counts(scores)}; {result.split.reason}",
        *(f"left out: {count} utterances {which}" for which, count in left_out.items() if count),
        f"{_told(scores)}; optimistic: this part selected the epoch; `serctl evaluate --protocol` gives honest scores",
        *_compare_with_base(result),
        *_curve_in_words(result),
        f"model: {result.folder}",
        f"next: serctl {next_use(result.folder, causal=causal)}",
    ]
    for line in lines:
        out.print(line, markup=False)
    if only := None if isinstance(scores, NumberScores) else only_answer(scores):
        out.print(
            f"it answers {only} to every held-out utterance, so it has learned next to nothing: train for more "
            "--epochs or on more recordings",
            style="yellow",
            markup=False,
        )


def _counts(scores: Scores | NumberScores) -> str:
    """How many utterances of each emotion there are; nothing of numbers."""
    from serctl.metrics import NumberScores

    if isinstance(scores, NumberScores):
        return ""
    counts = (f"{label} {sum(scores.confusion[index])}" for index, label in enumerate(scores.classes))
    return f" ({', '.join(counts)})"


def _told(scores: Scores | NumberScores) -> str:
    """The scores on the held-out part."""
    from serctl.metrics import NumberScores

    if isinstance(scores, NumberScores):
        interval = scores.intervals["mae"]
        return (
            f"MAE on the held-out part {scores.mae:.3f} (95 % interval {interval.low:.3f} to {interval.high:.3f}, over "
            f"{interval.unit}s), CCC {scores.ccc:.3f}, r {scores.pearson:.3f}"
        )
    interval = scores.intervals["uar"]
    return (
        f"UAR on the held-out part {100 * scores.uar:.1f} % (95 % interval {100 * interval.low:.1f} to "
        f"{100 * interval.high:.1f}, over {interval.unit}s), WA {100 * scores.wa:.1f} %, ECE {scores.ece:.3f}"
    )


def _compare_with_base(result: TrainResult) -> list[str]:
    """The score of the model that training started from, where there is one."""
    metrics = result.facts.metrics.get("validation")
    if metrics is None or metrics.base_uar is None:
        return []
    seen = metrics.leakage.identical_audio if metrics.leakage else 0
    heard = f", {seen} utterances of which it was trained on" if seen else ""
    return [f"UAR of the base on the held-out part {100 * metrics.base_uar:.1f} %{heard}"]


def _curve_in_words(result: TrainResult) -> list[str]:
    """The UAR by the amount of training data, where it was asked for."""
    if not result.curve:
        return []
    points = ", ".join(f"{100 * each.uar:.1f} % of {each.utterances}" for each in result.curve)
    return [f"UAR by training utterances: {points}; {result.folder / 'learning-curve.png'}"]


def only_answer(scores: Scores) -> str | None:
    """The emotion that a model answers whatever it hears, None if it tells some apart."""
    answered = [label for label, count in zip(scores.classes, scores.confusion.sum(axis=0), strict=True) if count]
    return answered[0] if len(answered) == 1 else None
