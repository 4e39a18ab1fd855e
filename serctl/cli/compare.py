"""`serctl compare`: whether one evaluation is better than another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serctl.cli._app import SeedOption, app
from serctl.cli._flags import command


@command(app, "serctl compare ./evaluation ./cross-validation")
def compare(
    evaluations: Annotated[
        list[Path], typer.Argument(help="Folders that `serctl evaluate` wrote; the first is compared with each other.")
    ],
    seed: SeedOption = 0,
) -> None:
    """Compare evaluations on the same utterances.

    Shows the paired differences of UAR, WA and ECE with intervals by resampling speakers and a permutation test, and
    where the evaluations disagree, by emotion and by speaker, as Markdown on stdout.
    """
    from serctl.reports.markdown import comparison_page
    from serctl.verbs import compare as verb

    print("\n".join(map(comparison_page, verb.compare(evaluations, seed=seed))), end="")  # noqa: T201 - data
