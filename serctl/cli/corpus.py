"""`serctl corpus`: look at the corpora that training and evaluation would use."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli._app import CorpusArgument, command_group, console, progress_bar
from serctl.cli._flags import Given, command, flags
from serctl.cli._terminal import make_console, terminal_text
from serctl.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from serctl.verbs.scan import CorpusReport

_SHOWN_PROBLEMS = 10
_UNWRAPPED_WIDTH = 10_000

corpus_app = command_group("corpus", "Check corpora of emotional speech and their labels.")


@command(corpus_app, "serctl corpus suspects ./cross-validation -o suspects.csv")
@flags("overwrite")
def suspects(
    given: Given,
    evaluation: Annotated[
        Path, typer.Argument(help="Folder that `serctl evaluate --arch NAME --protocol NAME` wrote for the corpus.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Table to write: .csv, .parquet or .jsonl. Default: CSV on stdout."),
    ] = None,
) -> None:
    """List the labels that a cross-validation doubts most.

    Listen to these recordings first: the label may be wrong, or the emotion not clear. The last columns are the
    probability of the label, that of the suggested emotion, and their difference, the most doubtful first.
    """
    from serctl.reports.text import write_rows
    from serctl.verbs.suspects import COLUMNS, find_suspects

    table = find_suspects(evaluation, output=output, overwrite=bool(given["overwrite"]))
    if output is None:
        write_rows(sys.stdout, [table], COLUMNS)
    console().print(f"{len(table['path'])} doubtful labels" + (f": {output}" if output else ""), markup=False)


@command(
    corpus_app,
    "serctl corpus scan ./corpus",
    "serctl corpus scan ./corpus -o manifest.csv",
)
@flags("jobs", "overwrite")
def scan(
    given: Given,
    paths: CorpusArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write one manifest of all utterances; the suffix, .csv or .parquet, is the format."
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            help="Use this column of the manifest, e.g. path=recording. Repeatable.",
            metavar="NAME=COLUMN",
        ),
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="Name the emotion of an unknown label, e.g. froh=happy. Repeatable.",
            metavar="LABEL=EMOTION",
        ),
    ] = None,
) -> None:
    """Show what is recognised in corpora.

    That is emotions, speakers, hours, licence, and problems. Every recording is read to its end, as `serctl train` and
    `serctl predict` read it.
    """
    from serctl.corpora import ReadOptions
    from serctl.verbs.scan import scan as scan_corpora

    options = ReadOptions(_pairs("--column", column), _pairs("--map", mapping))
    with progress_bar("Reading", quiet=False) as progress:
        result = scan_corpora(paths, output=output, options=options, run=given.run(progress))
    out = make_console()
    for report in result.corpora:
        if out.is_terminal:
            out.print(_table(report, most_problems=_SHOWN_PROBLEMS))
        else:
            print(_unwrapped(_table(report, most_problems=len(report.problems))))  # noqa: T201 - data
    if result.manifest:
        written = sum(report.utterances for report in result.corpora)
        console().print(f"{written} utterances written to {result.manifest}", markup=False)


def _pairs(option: str, texts: list[str] | None) -> tuple[tuple[str, str], ...]:
    pairs = [text.partition("=") for text in texts or []]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise ConfigError(f"{option}: expected NAME=VALUE. Received: {name}{equals}{value}")
    return tuple((name, value) for name, _, value in pairs)


def _table(report: CorpusReport, *, most_problems: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("corpus", no_wrap=True)
    name = report.name if report.root is None else f"{report.name} ({report.root})"
    table.add_column(Text(terminal_text(name)), overflow="fold")
    for title, value in _facts(report, most_problems).items():
        table.add_row(title, Text(terminal_text(value)))
    return table


def _unwrapped(table: Table) -> str:
    """The table for a program: no line is broken, none ends in blanks."""
    from rich.console import Console

    out = Console(highlight=False, width=_UNWRAPPED_WIDTH, color_system=None)
    with out.capture() as captured:
        out.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _facts(report: CorpusReport, most_problems: int) -> dict[str, str]:
    genders = _listed(report.genders)
    copies = f", {report.copies} of them augmented copies" if report.copies else ""
    return {
        "utterances": f"{report.utterances}, {report.hours:.2f} h{copies}",
        "speakers": f"{report.speakers or 'unknown'}{f' (utterances: {genders})' if genders else ''}",
        "emotions": _listed(report.emotions),
        "languages": _listed(report.languages) or "unknown",
        "split": _listed(report.splits) or "none marked",
        "licence": report.licence or "unknown",
        "citation": report.citation or "unknown",
        "problems": _problems(report.problems, most_problems),
    }


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _problems(problems: tuple[str, ...], most: int) -> str:
    if not problems:
        return "none"
    hidden = len(problems) - most
    rest = [f"... and {hidden} more (all of them in a pipe: serctl corpus scan DIR | less)"] if hidden > 0 else []
    lines = [str(len(problems)), *problems[:most], *rest]
    return "\n".join(lines)
