"""serctl config: where the value of each option comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import click
import typer

from serctl.cli._app import command_group
from serctl.cli._flags import command

config_app = command_group("config", "Show settings and where they come from.", example="serctl config show train")


@command(config_app, "serctl config show", "serctl config show train")
def show(
    name: Annotated[
        Literal["predict", "extract", "adapt", "augment", "train", "evaluate", "export", "stream"],
        typer.Argument(metavar="COMMAND", help="The command whose options are shown."),
    ] = "predict",
) -> None:
    """Show the options of a command and where their values come from.

    A flag goes over the variable SERCTL_<OPTION>, the variable over the file, the file over the default. The file is
    serctl.toml, or the table [tool.serctl] of pyproject.toml, in the current folder.
    """
    from serctl.cli._settings import find_settings, sources

    root = click.get_current_context().find_root().command
    found = root.get_command(click.get_current_context(), name) if isinstance(root, click.Group) else None
    if found is None:
        raise typer.BadParameter(name)
    rows = [
        (option.replace("_", "-"), "" if value is None else str(value), source)
        for option, value, source in sources(found, find_settings(Path()))
        if option != "token"
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for option, value, source in rows:
        print(f"{option:{widths[0]}}  {value:{widths[1]}}  {source}")  # noqa: T201 - data
