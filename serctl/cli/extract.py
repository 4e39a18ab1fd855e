"""`serctl extract`: features of recordings."""

from __future__ import annotations

from typing import Annotated, Literal, Optional

import typer

from serctl.cli._app import (
    CacheDirOption,
    JobsOption,
    NoCacheOption,
    OverwriteOption,
    QuietOption,
    ResumeOption,
    app,
    open_cache,
    progress_bar,
)
from serctl.cli._batch import (
    FailFastOption,
    FilesFromOption,
    OutputOption,
    RecordingsArgument,
    StrictOption,
    SummaryJsonOption,
    UpdateOption,
    check_summary_json,
    find_inputs,
    finish,
    stop_at_failure,
    to_file,
)
from serctl.cli.predict import csv_printer


@app.command()
def extract(
    recordings: RecordingsArgument = None,
    output: OutputOption = None,
    level: Annotated[
        Literal["functionals", "frames"],
        typer.Option(help="Statistics of each recording, or its descriptors every 10 ms (Parquet only)."),
    ] = "functionals",
    per: Annotated[
        Literal["file", "window"], typer.Option(help="Functionals of each recording, or of each of its windows.")
    ] = "file",
    window: Annotated[
        Optional[float],  # noqa: UP045 - typer reads this at run time on Python 3.10
        typer.Option(help="Seconds of a window, 0.1 to 60. Default: 3.", show_default=False),
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Add the deep features of the voice encoder that hybrid and attention judge.")
    ] = False,
    files_from: FilesFromOption = None,
    jobs: JobsOption = -1,
    cache_dir: CacheDirOption = None,
    no_cache: NoCacheOption = False,
    resume: ResumeOption = False,
    update: UpdateOption = False,
    overwrite: OverwriteOption = False,
    fail_fast: FailFastOption = False,
    strict: StrictOption = False,
    summary_json: SummaryJsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Extract features of recordings: pitch, energy, spectrum, MFCC, voice quality, formants, and their statistics.

    Recordings longer than 1.5 windows are measured window by window; --per file then gives the mean over the windows,
    weighted by their active frames. Exit code: 0 all good, 2 wrong usage, 3 some recordings failed, 4 none succeeded.

    Example: serctl extract ./recordings -o features.parquet
    """
    from serctl.errors import StoppedAtFailureError
    from serctl.run import Run
    from serctl.verbs import extract as verb

    options = verb.ExtractOptions(level=level, per=per, window_s=window, deep=deep)
    report = to_file(output)
    cache = open_cache(cache_dir, no_cache=no_cache)
    check_summary_json(summary_json, report)
    found = find_inputs(recordings, files_from, strict=strict)
    try:
        with progress_bar("Extracting", quiet=quiet) as progress:
            summary = verb.extract(
                found.recordings,
                options=options,
                output=report,
                run=Run(
                    cache,
                    jobs,
                    resume=resume,
                    update=update,
                    overwrite=overwrite,
                    fail_fast=fail_fast,
                    progress=progress,
                ),
                on_table=csv_printer(verb.columns(options)),
            )
    except StoppedAtFailureError as error:
        stop_at_failure(error, summary_json=summary_json)
    finish(summary, verb="Extracted", output=report, summary_json=summary_json, quiet=quiet, others=found.others)
