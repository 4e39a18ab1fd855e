"""serctl report: what is made of finished reports.

`serctl report merge PART... -o ALL` is a command of the group; `serctl report FILE -o PAGE.html` is short for that of
DEFAULT, once there is one of that name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from serctl.cli._app import app

if TYPE_CHECKING:
    import click

DEFAULT = "html"
"""The command that is meant where the first word is none."""


class _Reports(typer.core.TyperGroup):
    """A group in which a file may stand where a command is expected."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names} and DEFAULT in self.commands:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


report_app = typer.Typer(
    name="report",
    cls=_Reports,
    help="Make something of finished reports.",
    no_args_is_help=True,
    rich_markup_mode=None,
    suggest_commands=False,
)
app.add_typer(report_app)


@report_app.callback()
def _report() -> None: ...
