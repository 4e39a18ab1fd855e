"""`serctl adapt`: a profile of recordings, for predictions that stay the same every night."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serctl.cli._app import QuietOption, app, console, progress_bar
from serctl.cli._batch import FilesFromOption, RecordingsArgument, find_inputs
from serctl.cli._flags import Given, command, flags
from serctl.cli.predict import ModelOption


@command(
    app,
    "serctl adapt ./recordings -o line.profile",
    "serctl adapt ./recordings --even -o line.profile",
)
@flags("jobs", "overwrite", "cache")
def adapt(
    given: Given,
    recordings: RecordingsArgument = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Profile to write.")] = ...,  # type: ignore[assignment]
    model: ModelOption = None,
    even: Annotated[
        bool,
        typer.Option(
            "--even", help="All emotions are about equally frequent in the recordings: count each recording once."
        ),
    ] = False,
    files_from: FilesFromOption = None,
    quiet: QuietOption = False,
) -> None:
    """Measure recordings of one line, room or language as a profile.

    `serctl predict --adapt PROFILE` then normalises features by it, so that a recording gets the same answer
    regardless of the other recordings in the run. No labels are needed. About 50 recordings are enough.
    """
    from serctl.bundle.store import DEFAULT_MODEL, load_bundle
    from serctl.verbs.adapt import save_profile

    found = find_inputs(recordings, files_from, strict=False)
    bundle = load_bundle(model or DEFAULT_MODEL)
    with progress_bar("Measuring", quiet=quiet) as progress:
        profile = save_profile(found.recordings, output, model=bundle, run=given.run(progress), balanced=not even)
    if not quiet:
        console().print(
            f"{output}: {profile.recordings} of {len(found.recordings)} recordings with speech, for {bundle.identity}",
            markup=False,
            highlight=False,
        )
