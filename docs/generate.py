"""Pages of the site that are made when it is built: the command reference, the notebooks, the changelog.

MkDocs runs it as a hook (see mkdocs.yml). `python docs/generate.py reference/commands.md` prints one of them.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
NOTEBOOK = HERE / "notebooks" / "python.ipynb"

COMMANDS_INTRODUCTION = """\
# Commands

Made from the program itself: what `serctl COMMAND --help` shows. Data goes to stdout, everything else to stderr.

Exit codes: 0 all good; 1 something else broke, such as a full disk; 2 wrong usage; 3 some recordings failed; 4 no
recording succeeded; 130 interrupted. `predict`, `extract`, `augment`, `train` and `evaluate` end with 3 after the
results of the other recordings are written; too few of them to train or to score is wrong usage. Commands that report
on recordings or choose among them (`corpus`, `adapt`, `export`, `compare`, `report`) say what they left out and end
with 0.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those that are files."""
    from mkdocs.structure.files import File

    for address, render in PAGES.items():
        files.append(File.generated(config, address, content=render()))
    return files


def render_commands() -> str:
    """Render the reference of every command, in the order of `serctl --help`."""
    from serctl.cli import app

    root = typer.main.get_command(app)
    sections = (_command_section(path, command) for path, command in walk_commands(root, ("serctl",)))
    return "\n\n".join([COMMANDS_INTRODUCTION, *sections]) + "\n"


def walk_commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield each command below a group with its path, parents first; the program itself is left out."""
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield (*path, name), child
            yield from walk_commands(child, (*path, name))


def _command_section(path: tuple[str, ...], command: click.Command) -> str:
    context = click.Context(command, info_name=" ".join(path), help_option_names=["-h", "--help"])
    usage = " ".join([*path, *command.collect_usage_pieces(context)])
    parts = [f"{'#' * len(path)} {' '.join(path)}", _help_text(command)]
    if not isinstance(command, click.Group):
        parts += [f"```text\n{usage}\n```", *_parameter_tables(command, context)]
    return "\n\n".join(parts)


def _help_text(command: click.Command) -> str:
    """The help of a command as Markdown: its paragraphs, then its examples as code."""
    paragraphs = re.split(r"\n\s*\n", command.help or "")
    text = [_escape(" ".join(paragraph.split())) for paragraph in paragraphs]
    examples = (command.epilog or "").removeprefix("Example: ")
    return "\n\n".join([*text, f"```bash\n{examples}\n```"] if examples else text)


def _parameter_tables(command: click.Command, context: click.Context) -> Iterator[str]:
    """A table for the arguments, one for the options, and one for each further group of options."""
    groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for parameter in command.get_params(context):
        record = _record(parameter, context)
        if record:
            argument = parameter.param_type_name == "argument"
            title = getattr(parameter, "rich_help_panel", None) or ("Arguments" if argument else "Options")
            groups.setdefault(title, []).append(record)
    for title, records in groups.items():
        if not records:
            continue
        rows = [f"| `{names}` | {_cell(text)} |" for names, text in records]
        yield "\n".join([f"| {title} | |", "| --- | --- |", *rows])


def _record(parameter: click.Parameter, context: click.Context) -> tuple[str, str] | None:
    return parameter.get_help_record(context)  # typer gives one for arguments too


def _cell(text: str) -> str:
    return _escape(" ".join(text.split())).replace("|", "\\|")


def _escape(text: str) -> str:
    """The text with what Markdown would take for markup made plain, outside code."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece.startswith("`") else re.sub(r"([*_<\[\]])", r"\\\1", piece) for piece in pieces)


def render_notebook() -> str:
    """Render the notebook as Markdown: its text, its code, and what the code printed when it was last run."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return "\n\n".join(part for cell in notebook["cells"] for part in _cell_parts(cell)) + "\n"


def _cell_parts(cell: dict[str, Any]) -> Iterable[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [source]
    outputs = [_output_text(output) for output in cell["outputs"]]
    return [f"```python\n{source}\n```", *(f"```text\n{text.rstrip()}\n```" for text in outputs if text.strip())]


def _output_text(output: dict[str, Any]) -> str:
    """What an output shows as plain text."""
    if output["output_type"] == "stream":
        return "".join(output["text"])
    return "".join(output["data"].get("text/plain", ""))


def render_changelog() -> str:
    """Render the changelog of the repository."""
    return (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


PAGES: dict[str, Callable[[], str]] = {
    "guides/python.md": render_notebook,
    "reference/commands.md": render_commands,
    "changelog.md": render_changelog,
}
"""The generated pages by their address."""


if __name__ == "__main__":
    sys.stdout.write(PAGES[sys.argv[1]]())
