"""`serctl predict`: emotions of recordings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from click.core import ParameterSource

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
    to_file,
)
from serctl.cli._flags import WORKERS, Given, command, flags
from serctl.errors import ConfigError
from serctl.verbs.options import PredictOptions

if TYPE_CHECKING:
    from serctl.bundle.store import Bundle
    from serctl.reports.schema import Columns
    from serctl.reports.tables import Writer

Table = dict[str, Any]

ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A bundled model's name or a bundle's folder. Default: the bundled model."),
]


PredictionOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Report to write: .csv, .parquet, .jsonl, or a page to look at: .html. Default, or with -: CSV on stdout.",
    ),
]
EmbedAudioOption = Annotated[
    bool,
    typer.Option("--embed-audio", help="Put the recordings into the page, as MP3 at 16 kHz; else it links to them."),
]


@command(
    app,
    "serctl predict recording.wav",
    "serctl predict ./recordings -o emotions.csv",
    "serctl predict ./recordings -o report.html",
    "serctl predict ./recordings --per window --window 5 -o timeline.jsonl",
    "serctl predict ./recordings --per segment -o segments.csv",
    "serctl predict ./recordings --moments -o moments.csv",
    "serctl predict ./recordings --channels each -o channels.csv",
    "serctl predict ./recordings --min-confidence 0.6 -o emotions.parquet",
    "find ./recordings -name '*.wav' | serctl predict --files-from - -o emotions.csv",
)
@flags(*WORKERS, "resume", "update", "overwrite", "fail_fast", "cache", Answers=PredictOptions)
def predict(
    given: Given,
    recordings: RecordingsArgument = None,
    output: PredictionOption = None,
    embed_audio: EmbedAudioOption = False,
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

    report = to_file(output)
    options = _options(given, report)
    writer = _page_writer(report, embed_audio=embed_audio)
    bundle = load_bundle(model or DEFAULT_MODEL)
    if not quiet:
        _say_unknown_language(bundle, options.language)
    check_summary_json(summary_json, report)
    found = find_inputs(recordings, files_from, strict=strict)
    try:
        with (
            _printer(verb.columns(bundle, options), output) as on_table,
            progress_bar("Predicting", quiet=quiet) as progress,
        ):
            summary = verb.predict(
                found.recordings,
                model=bundle,
                options=options,
                output=report,
                run=given.run(progress),
                on_table=on_table,
                writer=writer,
            )
    except StoppedAtFailureError as error:
        stop_at_failure(error, summary_json=summary_json)
    finish(summary, verb="Predicted", output=report, summary_json=summary_json, quiet=quiet, others=found.others)


def _options(given: Given, report: Path | None) -> PredictOptions:
    """The options; a page shows segments unless something else was asked for."""
    source = click.get_current_context().get_parameter_source("per")
    if _is_page(report) and source is ParameterSource.DEFAULT and not given["moments"]:
        return given.make(PredictOptions, per="segment")
    return given.make(PredictOptions)


def _is_page(report: Path | None) -> bool:
    return report is not None and report.suffix.lower() == ".html"


def _page_writer(report: Path | None, *, embed_audio: bool) -> Writer | None:
    if report is None or not _is_page(report):
        if embed_audio:
            raise ConfigError("--embed-audio puts recordings into a page: expected -o NAME.html with it")
        return None
    from serctl.verbs.report import write_prediction

    return partial(write_prediction, output=report, embed_audio=embed_audio)


def _say_unknown_language(bundle: Bundle, language: str | None) -> None:
    if language and language not in bundle.facts.languages:
        known = ", ".join(bundle.facts.languages)
        console().print(
            f"{bundle.identity} has no adapter for {language} ({known or 'it tells no languages apart'}): "
            "using the language-independent path",
            markup=False,
        )


@contextmanager
def _printer(columns: Columns, output: Path | None) -> Iterator[Callable[[Table], None]]:
    """What to do with each table when there is no report file: a table for a person, CSV for a pipe."""
    if output is None and sys.stdout.isatty():
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
