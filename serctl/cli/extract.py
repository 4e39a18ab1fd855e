"""`serctl extract`: features of recordings."""

from __future__ import annotations

from serctl.cli._app import QuietOption, app, progress_bar
from serctl.cli._batch import (
    FilesFromOption,
    OutputOption,
    RecordingsArgument,
    StrictOption,
    SummaryJsonOption,
    check_summary_json,
    find_inputs,
    finish,
    stop_at_failure,
    to_file,
)
from serctl.cli._flags import WORKERS, Given, command, flags
from serctl.cli.predict import csv_printer
from serctl.verbs.options import ExtractOptions


@command(
    app,
    "serctl extract ./recordings -o features.csv",
    "serctl extract ./recordings --deep -o features.parquet",
    "serctl extract recording.wav --per window --window 1",
    "serctl extract ./recordings --level frames -o frames.parquet",
)
@flags(*WORKERS, "shard", "resume", "update", "overwrite", "fail_fast", "cache", Features=ExtractOptions)
def extract(
    given: Given,
    recordings: RecordingsArgument = None,
    output: OutputOption = None,
    files_from: FilesFromOption = None,
    strict: StrictOption = False,
    summary_json: SummaryJsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Extract acoustic features of recordings.

    These are pitch, energy, spectrum, MFCC, voice quality, formants, and their statistics. Recordings longer than 1.5
    windows are measured window by window; --per file then gives the mean over the windows, weighted by their active
    frames. Exit code: 0 all good, 2 wrong usage, 3 some recordings failed, 4 none succeeded.
    """
    from serctl.errors import StoppedAtFailureError
    from serctl.verbs import extract as verb

    options = given.make(ExtractOptions)
    report = to_file(output)
    check_summary_json(summary_json, report)
    found = find_inputs(recordings, files_from, strict=strict)
    try:
        with progress_bar("Extracting", quiet=quiet) as progress:
            summary = verb.extract(
                found.recordings,
                options=options,
                output=report,
                run=given.run(progress),
                on_table=csv_printer(verb.columns(options)),
            )
    except StoppedAtFailureError as error:
        stop_at_failure(error, summary_json=summary_json)
    finish(summary, verb="Extracted", output=report, summary_json=summary_json, quiet=quiet, others=found.others)
