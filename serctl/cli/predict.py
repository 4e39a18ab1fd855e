"""`serctl predict`: emotions of recordings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serctl.cli._answers import EmbedAudioOption, ExcelOption, FormatOption, PredictionOption, Target
from serctl.cli._app import QuietOption, app, console, progress_bar
from serctl.cli._batch import (
    FilesFromOption,
    RecordingsArgument,
    StrictOption,
    SummaryJsonOption,
    check_summary_json,
    find_inputs,
    finish,
    stop_at_failure,
)
from serctl.cli._flags import WORKERS, Given, command, flags
from serctl.verbs.options import PredictOptions

if TYPE_CHECKING:
    from serctl.bundle.store import Bundle
    from serctl.reports.schema import Columns

Table = dict[str, Any]

ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A bundled model's name or a bundle's folder. Default: the bundled model."),
]


@command(
    app,
    "serctl predict recording.wav",
    "serctl predict ./recordings -o emotions.csv",
    "serctl predict ./recordings -o report.html",
    "serctl predict recording.wav -o recording.srt",
    "serctl predict ./recordings -o labels --format textgrid",
    "serctl predict ./recordings -o excel.csv --excel",
    "serctl predict ./recordings --per window --window 5 -o timeline.jsonl",
    "serctl predict ./recordings --per segment -o segments.csv",
    "serctl predict ./recordings --moments -o moments.csv",
    "serctl predict ./recordings --channels each -o channels.csv",
    "serctl predict ./recordings --min-confidence 0.6 -o emotions.parquet",
    "serctl predict ./recordings --shard 1/2 -o part-1.csv",
    "serctl predict ./recordings --shard 2/2 -o part-2.csv",
    "serctl predict ./recordings --transcripts ./recordings/manifest.csv -o with-words.csv",
    "find ./recordings -name '*.wav' | serctl predict --files-from - -o emotions.csv",
)
@flags(*WORKERS, "shard", "resume", "update", "overwrite", "fail_fast", "cache", Answers=PredictOptions)
def predict(
    given: Given,
    recordings: RecordingsArgument = None,
    output: PredictionOption = None,
    form: FormatOption = None,
    embed_audio: EmbedAudioOption = False,
    excel: ExcelOption = False,
    model: ModelOption = None,
    files_from: FilesFromOption = None,
    strict: StrictOption = False,
    summary_json: SummaryJsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Recognise the emotion of recordings.

    The report has one row for each recording, or for each window or segment of it. Exit code: 0 all good, 2 wrong
    usage, 3 some recordings failed, 4 none succeeded.
    """
    from serctl.bundle.store import DEFAULT_MODEL, load_bundle
    from serctl.errors import StoppedAtFailureError
    from serctl.verbs import predict as verb

    target = Target(given, output, form=form, excel=excel, embed_audio=embed_audio)
    options, report = target.options, target.report
    bundle = load_bundle(model or DEFAULT_MODEL)
    if not quiet:
        _say_unknown_language(bundle, options.language)
    check_summary_json(summary_json, report)
    found = find_inputs(recordings, files_from, strict=strict)
    try:
        with (
            _shower(target.folder(found.recordings), verb.columns(bundle, options), output) as on_table,
            progress_bar("Predicting", quiet=quiet) as progress,
        ):
            summary = verb.predict(
                found.recordings,
                model=bundle,
                options=options,
                output=report,
                run=given.run(progress),
                on_table=on_table,
                writer=target.writer(found.recordings),
            )
    except StoppedAtFailureError as error:
        stop_at_failure(error, summary_json=summary_json)
    written = output if form else report
    finish(summary, verb="Predicted", output=written, summary_json=summary_json, quiet=quiet, others=found.others)


def _say_unknown_language(bundle: Bundle, language: str | None) -> None:
    if language and language not in bundle.facts.languages:
        known = ", ".join(bundle.facts.languages)
        console().print(
            f"{bundle.identity} has no adapter for {language} ({known or 'it tells no languages apart'}): "
            "using the language-independent path",
            markup=False,
        )


@contextmanager
def _shower(
    folder: Callable[[Table], None] | None, columns: Columns, output: Path | None
) -> Iterator[Callable[[Table], None]]:
    """What to do with each table when there is no report file: labels, a table for a person, CSV for a pipe."""
    if folder:
        yield folder
    elif output is None and sys.stdout.isatty():
        tables: list[Table] = []
        yield tables.append
        _print_table(tables)
    else:
        yield csv_printer(columns)


def csv_printer(columns: Columns) -> Callable[[Table], None]:
    """Prints tables as CSV on stdout, under one header."""
    from serctl.reports.text import write_rows

    header_due = True

    def show(table: Table) -> None:
        nonlocal header_due
        write_rows(sys.stdout, [table], columns, "csv", header=header_due)
        header_due = False

    return show


def _print_table(tables: Iterable[Table]) -> None:
    from rich.table import Table as RichTable
    from rich.text import Text

    from serctl.cli._terminal import cell, make_console

    grid = RichTable(box=None, pad_edge=False, header_style="bold")
    for title in ("recording", "time", "emotion", "confidence", ""):
        grid.add_column(title, justify="right" if title in ("time", "confidence") else "left", overflow="fold")
    for table in tables:
        if table["status"] != "ok":
            grid.add_row(cell(table["path"]), "", Text("error", style="red"), "", cell(table["error"]))
            continue
        for start, end, emotion, confidence in zip(
            table["start"], table["end"], table["emotion"], table["confidence"], strict=True
        ):
            sure = confidence == confidence  # NaN for silence
            bar = Text("\u2588" * round(10 * confidence), style="cyan") if sure else Text("")
            shown = f"{100 * confidence:.0f} %" if sure else ""
            grid.add_row(cell(table["path"]), f"{start:.1f}-{end:.1f} s", cell(emotion), shown, bar)
    make_console().print(grid)
