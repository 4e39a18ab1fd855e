"""The Typer app, the consoles, the options commands share, and the one place that turns errors into exit codes."""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from serctl import __version__
from serctl.cli._commands import SUMMARIES, LazyCommands
from serctl.cli._process import EXIT_INTERRUPTED, Interrupts, end_output, open_standard_streams
from serctl.cli._remedies import with_remedies
from serctl.cli._terminal import make_console, terminal_text
from serctl.errors import RunInterrupted, SerctlError

if TYPE_CHECKING:
    from rich.console import Console

    from serctl.run import ProgressCallback

EXIT_OK = 0
EXIT_CRASHED = 1
EXIT_USAGE = 2
EXIT_SOME_FAILED = 3
EXIT_NONE_SUCCEEDED = 4

# Plain help: typer would import rich for it, which takes longer than all the rest, and escape brackets for it.
typer.core.HAS_RICH = False


class _InterruptedError(Exception):
    """Carries Ctrl-C past typer, which would turn it into a silent exit."""


class _ReaderGoneError(Exception):
    """Carries the loss of stdout's reader past typer, which would turn it into a silent exit with 1."""


def _what_was_kept(interrupt: KeyboardInterrupt) -> str:
    return f"interrupted: {with_remedies(interrupt)}" if isinstance(interrupt, RunInterrupted) else "interrupted"


class _Group(typer.core.TyperGroup):
    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.commands = LazyCommands(app)  # type: ignore[assignment] # click reads it only

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(SUMMARIES)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as cause:
            raise _InterruptedError(_what_was_kept(cause)) from cause
        except BrokenPipeError as cause:
            raise _ReaderGoneError from cause


app = typer.Typer(
    name="serctl",
    cls=_Group,
    help="Recognise emotions in folders of speech recordings, offline.",
    epilog="Example: serctl predict ./recordings -o emotions.csv",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    suggest_commands=False,  # click does
)


def command_group(
    name: str, summary: str, *, example: str = "", kind: type[typer.core.TyperGroup] | None = None
) -> typer.Typer:
    """Add a command that consists of commands, such as `serctl cache`.

    Args:
        name: the first word.
        summary: first line of its help.
        example: a command line that runs as it stands.
        kind: class of the group; None for the usual one.

    Returns:
        What its commands are registered with.
    """
    group = typer.Typer(
        name=name,
        cls=kind,
        help=summary,
        epilog=f"Example: {example}" if example else None,
        no_args_is_help=True,
        rich_markup_mode=None,
        suggest_commands=False,
    )
    app.add_typer(group)
    return group


CorpusArgument = Annotated[
    list[Path],
    typer.Argument(help="Corpus folders, or manifests (csv, parquet). `serctl corpus scan DIR` shows what is found."),
]
CacheDirOption = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        envvar="SERCTL_CACHE_DIR",
        help="Folder of the feature cache. Default: the user cache folder.",
        rich_help_panel="Cache",
    ),
]
NoCacheOption = Annotated[
    bool, typer.Option("--no-cache", help="Neither read nor write the feature cache.", rich_help_panel="Cache")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only: no progress, no summary.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Random seed: the same seed gives the same result.")]


def console() -> Console:
    """The terminal for people: stderr, so that stdout stays clean for data."""
    return make_console(stderr=True, soft_wrap=True)


@contextmanager
def progress_bar(title: str, *, quiet: bool, unit: str = "files") -> Iterator[ProgressCallback]:
    """Show a bar on a terminal, a plain line now and then elsewhere, and nothing when quiet."""
    from serctl.cli import _progress

    with _progress.watch(title, quiet=quiet, unit=unit, console=console()) as callback:
        yield callback


def exit_code(*, done: int, failed: int) -> int:
    """0 when everything succeeded, 3 when some failed, 4 when nothing succeeded."""
    if failed == 0:
        return EXIT_OK
    return EXIT_NONE_SUCCEEDED if failed >= done else EXIT_SOME_FAILED


@app.callback(invoke_without_command=True)
def serctl(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        print(__version__)  # noqa: T201
        raise typer.Exit


def main() -> None:
    """Run the command line; every expected error ends as one line on stderr and an exit code."""
    interrupts = Interrupts()
    try:
        interrupts.start()
        open_standard_streams()
        # joblib says so where it is imported; what it means for a run is said by the run.
        warnings.filterwarnings("ignore", message=".*joblib will operate in serial mode")
        code = _run_command(interrupts)
        interrupts.stop()
    except KeyboardInterrupt:
        code = _say("interrupted", EXIT_INTERRUPTED)
    end_output()
    sys.exit(code)


def _run_command(interrupts: Interrupts) -> int:
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except _InterruptedError as end:
        return _say(str(end), EXIT_INTERRUPTED)
    except (BrokenPipeError, _ReaderGoneError):
        # The reader of stdout went away (`serctl predict ... | head`): no more output is possible, or an error.
        return EXIT_OK
    except Exception as error:
        # Native code may turn an interrupt into an error of its own.
        ended = _say("interrupted", EXIT_INTERRUPTED) if interrupts.received else _expected(error)
        if ended is None:
            raise
        return ended
    return code or EXIT_OK


def _expected(error: Exception) -> int | None:
    """Say what went wrong, in one line, and return the exit code; None for a defect."""
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, SerctlError):
        return _say(f"error: {with_remedies(error)}", EXIT_USAGE)
    if isinstance(error, click.Abort):
        return _say("aborted", EXIT_INTERRUPTED)
    if isinstance(error, OSError):
        return _say("error: stdout is closed" if error.errno == errno.EBADF else f"error: {error}", EXIT_CRASHED)
    return None


def _say(message: str, code: int) -> int:
    with suppress(OSError):
        sys.stderr.write(terminal_text(message) + "\n")
    return code
