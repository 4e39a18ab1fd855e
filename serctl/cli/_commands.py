"""The commands by name, each imported when it is run: `--help` needs their summaries only."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import click

SUMMARIES = {
    "predict": "Recognise the emotion of recordings.",
    "adapt": "Measure recordings of one line, room or language as a profile.",
    "augment": "Write changed copies of labelled recordings.",
    "evaluate": "Score a model, or an architecture by cross-validation.",
    "explain": "Explain why a recording gets its answer.",
    "compare": "Compare evaluations, or models on a corpus, on the same utterances.",
    "export": "Make a smaller or portable copy of a model.",
    "extract": "Extract acoustic features of recordings.",
    "stream": "Predict emotions in live speech.",
    "train": "Train a model on labelled corpora.",
    "federate": "Train one model with several parties that keep their recordings.",
    "models": "List models and show their labels, scores and licence.",
    "corpus": "Check corpora of emotional speech and their labels.",
    "cache": "Show, check and empty the cache.",
    "config": "Show settings and where they come from.",
    "report": "Turn reports into pages, and merge them.",
}
"""The first line of each command's help, in the order of `serctl --help`; serctl.cli has a module of the same name."""


class LazyCommands(Mapping[str, "click.Command"]):
    """The commands of the app; the module of a command is imported when the command is looked up.

    Args:
        app: what the modules of the commands register them with.
    """

    def __init__(self, app: typer.Typer) -> None:
        self._app = app

    def __iter__(self) -> Iterator[str]:
        return iter(SUMMARIES)

    def __len__(self) -> int:
        return len(SUMMARIES)

    def __contains__(self, name: object) -> bool:
        return name in SUMMARIES

    def __getitem__(self, name: str) -> click.Command:
        if name not in SUMMARIES:
            raise KeyError(name)
        return _command(self._app, name)


@functools.cache
def _command(app: typer.Typer, name: str) -> click.Command:
    """Import the module of a command and build what it registered."""
    importlib.import_module(f"serctl.cli.{name}")
    alone = typer.Typer(rich_markup_mode=None, suggest_commands=False)
    alone.registered_commands = [
        each
        for each in app.registered_commands
        if (each.name or (each.callback and typer.main.get_command_name(each.callback.__name__))) == name
    ]
    alone.registered_groups = [
        each for each in app.registered_groups if each.typer_instance and each.typer_instance.info.name == name
    ]
    return typer.main.get_group(alone).commands[name]
