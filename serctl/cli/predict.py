"""`serctl predict`: emotions of recordings."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
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
    from rich.text import Text

    from serctl.bundle.facts import BundleFacts
    from serctl.bundle.store import Bundle
    from serctl.reports.schema import Columns
    from serctl.verbs.batch import BatchSummary

Table = dict[str, Any]

_BAR = 6
"""Characters that stand for a confidence of 1."""

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

    bundle = load_bundle(model or DEFAULT_MODEL)
    target = Target(
        given,
        output,
        form=form,
        excel=excel,
        embed_audio=embed_audio,
        facts=bundle.facts,
    )
    options, report = target.options, target.report
    if not quiet:
        _say_unknown_language(bundle, options.language)
    check_summary_json(summary_json, report)
    found = find_inputs(recordings, files_from, strict=strict)
    try:
        with (
            _shower(target.folder(found.recordings), verb.columns(bundle, options), bundle.facts, output) as on_table,
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
    if not quiet and sys.stderr.isatty():
        _advise_adaptation(bundle, options, summary)
    written = output if form else report
    finish(summary, verb="Predicted", output=written, summary_json=summary_json, quiet=quiet, others=found.others)


def _advise_adaptation(bundle: Bundle, options: PredictOptions, summary: BatchSummary) -> None:
    """Say what adaptation gained on corpora left out of training, to whoever did not choose."""
    from serctl.verbs.adapt import FEWEST_FOR_AUTO

    plain, adapted = (_mean_over_corpora(bundle, name) for name in ("left_out", "left_out_adapted"))
    few = summary.recordings - summary.failed < FEWEST_FOR_AUTO
    if options.adapt != "none" or few or adapted <= plain:
        return
    console().print(
        f"Not adapted to these recordings. On corpora that {bundle.facts.name} had not heard, --adapt auto raised its "
        f"UAR from {100 * plain:.0f} to {100 * adapted:.0f} %.",
        markup=False,
    )


def _mean_over_corpora(bundle: Bundle, part: str) -> float:
    """The UAR of a part of the scores, each corpus counted alike; 0 where the model has no such part."""
    scored = bundle.facts.metrics.get(part)
    values = [each.uar for each in scored.per_corpus.values()] if scored else []
    return sum(values) / len(values) if values else 0.0


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
    folder: Callable[[Table], None] | None, columns: Columns, facts: BundleFacts, output: Path | None
) -> Iterator[Callable[[Table], None]]:
    """What to do with each table when there is no report file: labels, a table for a person, CSV for a pipe."""
    if folder:
        yield folder
    elif output is None and sys.stdout.isatty():
        tables: list[Table] = []
        yield tables.append
        _print_table(tables, facts.target.scale.name if facts.target else None)
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


def _print_table(tables: Sequence[Table], target: str | None = None) -> None:
    """Show a line for each row, narrow enough for 80 columns: names within the folder that all have in common.

    target: the column of a model of numbers, which stands for emotion and confidence.
    """
    from rich.table import Table as RichTable
    from rich.text import Text

    from serctl.cli._terminal import cell, make_console

    folder = _common_folder([table["path"] for table in tables])
    grid = RichTable(box=None, pad_edge=False, header_style="bold")
    for title in ("recording", "seconds", *((target, "error") if target else ("emotion", "confidence", "", "or else"))):
        right = title in ("seconds", "confidence", target)
        grid.add_column(title, justify="right" if right else "left", overflow="fold", no_wrap=right)
    for table in tables:
        name = cell(os.path.relpath(table["path"], folder) if folder else table["path"])
        if table["status"] != "ok":
            grid.add_row(name, "", Text("error", style="red"), *([] if target else ["", ""]), cell(table["error"]))
            continue
        for index in range(len(table["start"])):
            answer = _number(table[target][index]) if target else _emotion(table, index)
            grid.add_row(name, _span(table, index), *answer)
    make_console().print(grid)


def _common_folder(paths: Sequence[str]) -> str:
    """The folder that all recordings lie in; empty for a single one, or where relative and absolute paths are mixed."""
    folders = [Path(path).parent for path in paths]
    if len(folders) < 2 or len({folder.is_absolute() for folder in folders}) > 1:
        return ""
    return os.path.commonpath(folders)


def _span(table: Table, index: int) -> str:
    """The length of a whole recording, from when to when for one of several rows."""
    start, end = table["start"][index], table["end"][index]
    return f"{end:.1f}" if len(table["start"]) == 1 else f"{start:.1f}-{end:.1f}"


def _number(value: float) -> tuple[str, str]:
    """The cells of a number, and of no error; nothing for silence."""
    return ("" if value != value else f"{value:.3f}"), ""


def _emotion(table: Table, index: int) -> tuple[Text | str, ...]:
    """The cells of an emotion and its confidence."""
    from serctl.cli._terminal import cell

    return cell(table["emotion"][index]), *_confidence(table, index)


def _confidence(table: Table, index: int) -> tuple[str, Text, Text]:
    """The confidence, a bar of it, and the emotion that is likeliest after the one shown; nothing for silence."""
    from rich.text import Text

    from serctl.cli._terminal import cell

    confidence = table["confidence"][index]
    if confidence != confidence:  # NaN
        return "", Text(""), Text("")
    by_emotion = {name[2:]: table[name][index] for name in table if name.startswith("p_")}
    others = {name: share for name, share in by_emotion.items() if name != table["emotion"][index]}
    second = max(others, key=lambda name: others[name])
    bar = Text("\u2588" * round(_BAR * confidence), style="cyan")
    return f"{100 * confidence:.0f} %", bar, cell(f"{second} {100 * others[second]:.0f} %")
