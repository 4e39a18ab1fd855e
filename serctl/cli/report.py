"""serctl report: work on finished reports.

`serctl report merge PART... -o ALL` is a command of the group; `serctl report FILE -o PAGE.html` is short for
`serctl report html FILE -o PAGE.html`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli._answers import EmbedAudioOption
from serctl.cli._app import QuietOption, command_group, console
from serctl.cli._flags import Given, command, flags
from serctl.texts import counted

if TYPE_CHECKING:
    import click

DEFAULT = "html"
"""The command that is meant where the first word is none."""


class _Reports(typer.core.TyperGroup):
    """A group in which a file may stand where a command is expected."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


report_app = command_group("report", "Turn reports into pages, and merge them.", kind=_Reports)


@command(
    report_app,
    "serctl report html emotions.csv -o report.html",
    "serctl report html emotions.csv -o report.html --recordings ./recordings --embed-audio --overwrite",
    name=DEFAULT,
)
@flags("overwrite")
def html(
    given: Given,
    report: Annotated[Path, typer.Argument(help="Report of `serctl predict`: .csv, .parquet or .jsonl.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Page to write: .html.")],
    recordings: Annotated[
        Path | None,
        typer.Option("--recordings", help="Folder of the recordings. Default: as the paths in the report say."),
    ] = None,
    embed_audio: EmbedAudioOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make one self-contained page of a report, to look at and to send.

    It shows totals, each emotion's share over the day, and a table of the recordings with their timelines; a click
    plays the moment. Rows of `--per segment` or `--per window` give the timelines, and the column of `--novelty` the
    warning of recordings that are unlike the training recordings.
    """
    from serctl.verbs.report import make_page

    make_page(report, output, recordings=recordings, embed_audio=embed_audio, overwrite=bool(given["overwrite"]))
    if not quiet:
        console().print(f"page: {output}", markup=False)


@command(report_app, "serctl report merge part-1.csv part-2.csv -o all.csv")
@flags("overwrite")
def merge(
    given: Given,
    parts: Annotated[list[Path], typer.Argument(help="Reports of all shards, in any order.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Report to write: .csv, .parquet or .jsonl.")],
    quiet: QuietOption = False,
) -> None:
    """Merge the reports of all shards into one.

    It checks that the parts are those of one run (the same model, options and version), that none is missing or there
    twice, and that the inputs did not change between them. The rows are in the order of the inputs, as without shards.
    """
    from serctl.run import Run
    from serctl.verbs import merge as verb

    summary = verb.merge(parts, output=output, run=given.make(Run))
    if not quiet:
        failed = f", {summary.failed} of them failed" if summary.failed else ""
        merged = f"Merged {counted(len(parts), 'part')}: {counted(summary.recordings, 'recording')}{failed}"
        console().print(merged, markup=False)
        console().print(f"report: {output}", markup=False)
