"""Text for people: what of untrusted names and labels may reach a terminal, and the consoles that see to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def terminal_text(text: str) -> str:
    r"""Escape what a terminal would obey or could not show: control and format characters, lone surrogates.

    Args:
        text: one or more lines that name files, or the labels of a model.

    Returns:
        The lines, in which each such character is written as Python does, such as \x1b.
    """
    return "".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)


def cell(text: str) -> Text:
    """Make a cell of a table: on one line, and never taken for markup."""
    from rich.text import Text

    return Text(terminal_text(text).replace("\n", r"\n"))


def make_console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Make a console that escapes the strings it prints; cells of tables are escaped by `cell`."""
    from rich.console import Console

    class EscapingConsole(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            super().print(*(terminal_text(each) if isinstance(each, str) else each for each in objects), **options)

    return EscapingConsole(stderr=stderr, highlight=False, soft_wrap=soft_wrap)
