"""`serctl explain`: why a recording gets its answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from serctl.cli._app import QuietOption, app, console, exit_code, progress_bar
from serctl.cli._batch import FilesFromOption, RecordingsArgument, find_inputs
from serctl.cli._flags import Given, command, flags
from serctl.cli.predict import ModelOption
from serctl.explanation.options import ExplainOptions


@command(
    app,
    "serctl explain ./recordings/emma-angry.wav -o why.html",
    "serctl explain recording.wav --emotion sad --at 1 --format json",
    "serctl explain recording.wav --channel 1 -o why.html",
)
@flags("jobs", "overwrite", "cache", Question=ExplainOptions)
def explain(
    given: Given,
    recordings: RecordingsArgument = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Page, JSON file or picture to write. Default, or with -: JSON on stdout."),
    ] = None,
    form: Annotated[
        Literal["html", "json", "png"] | None,
        typer.Option("--format", help="Format of the output. Default: what its suffix names."),
    ] = None,
    model: ModelOption = None,
    files_from: FilesFromOption = None,
    quiet: QuietOption = False,
) -> None:
    """Explain why a recording gets its answer.

    Shows which moments and frequencies matter, which features count for and against it, what would change the answer,
    and how far the explanation can be trusted. Takes about 10 s for each recording.
    """
    from serctl.bundle.store import DEFAULT_MODEL, load_bundle
    from serctl.verbs import explain as verb

    options = given.make(ExplainOptions)
    report = None if output == Path("-") else output
    found = find_inputs(recordings, files_from, strict=False)
    bundle = load_bundle(model or DEFAULT_MODEL)
    with progress_bar("Explaining", quiet=quiet) as progress:
        explained = verb.explain(
            found.recordings, model=bundle, options=options, output=report, form=form, run=given.run(progress)
        )
    if report is None:
        sys.stdout.write(verb.as_json(explained))
    for path, error in explained.failures:
        console().print(f"{path}: {error}", markup=False, highlight=False)
    done, failed = len(explained.explanations), len(explained.failures)
    if report and done and not quiet:
        console().print(f"{report}: {done} explained", markup=False, highlight=False)
    raise typer.Exit(exit_code(done=done + failed, failed=failed))
