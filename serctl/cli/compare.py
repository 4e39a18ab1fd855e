"""`serctl compare`: whether one evaluation, or one model, is better than another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli._app import QuietOption, SeedOption, app, console, progress_bar
from serctl.cli._flags import Given, command, flags
from serctl.extras import require_extra

if TYPE_CHECKING:
    from serctl.metrics import Comparison


@command(
    app,
    "serctl compare ./evaluation ./cross-validation",
    "serctl compare serctl-base ./my-model --on ./other-corpus",
)
@flags("jobs", "cache")
def compare(
    given: Given,
    evaluations: Annotated[
        list[str],
        typer.Argument(
            help="Folders that `serctl evaluate` wrote, or with --on models; the first is compared with each other."
        ),
    ],
    on: Annotated[
        list[Path] | None,
        typer.Option("--on", metavar="CORPUS", help="Corpus folder or manifest to evaluate the models on. Repeatable."),
    ] = None,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Compare evaluations, or models on a corpus, on the same utterances.

    Shows the paired differences of UAR, WA and ECE, or of MAE, CCC and Pearson's r for numbers, with intervals by
    resampling speakers and a permutation test, and where they disagree, by emotion and by speaker, as Markdown on
    stdout. Warns of each side that was trained on recordings or speakers of the test.
    """
    from serctl.reports.markdown import comparison_page, is_warning
    from serctl.verbs import compare as verb

    found = (
        _compare_models(evaluations, on, given, seed, quiet=quiet)
        if on
        else verb.compare([Path(each) for each in evaluations], seed=seed)
    )
    print("\n".join(map(comparison_page, found)), end="")  # noqa: T201 - data
    stamps = {name: text for each in found for name, text in zip((each.first, each.second), each.stamps, strict=True)}
    for name, text in stamps.items():
        if is_warning(text):
            console().print(f"{name}: {text}", style="yellow", markup=False, highlight=False)


def _compare_models(
    models: list[str], corpora: list[Path], given: Given, seed: int, *, quiet: bool
) -> list[Comparison]:
    require_extra("train", "evaluation")
    from serctl.bundle.store import load_bundle
    from serctl.verbs import compare as verb

    loaded = [load_bundle(each) for each in models]
    with progress_bar("Extracting", quiet=quiet) as progress:
        return verb.compare_models(loaded, corpora, run=given.run(progress), seed=seed)
