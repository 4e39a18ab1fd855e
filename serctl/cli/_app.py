"""The Typer app, the consoles, the options commands share, and the one place that turns errors into exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional

import click
import typer

from serctl import __version__
from serctl.cli._remedies import with_remedies
from serctl.errors import RunInterrupted, SerctlError

if TYPE_CHECKING:
    from rich.console import Console

    from serctl.cache import Cache
    from serctl.run import ProgressCallback

EXIT_OK = 0
EXIT_CRASHED = 1
EXIT_USAGE = 2
EXIT_SOME_FAILED = 3
EXIT_NONE_SUCCEEDED = 4
EXIT_INTERRUPTED = 130

# Plain help: typer would import rich for it, which takes longer than all the rest, and escape brackets for it.
typer.core.HAS_RICH = False


class _EndedEarly(Exception):
    """Carries Ctrl-C, or the loss of stdout's reader, past typer, which would turn each into a silent exit."""

    def __init__(self, cause: KeyboardInterrupt | BrokenPipeError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Group(typer.core.TyperGroup):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, BrokenPipeError) as cause:
            raise _EndedEarly(cause) from cause


app = typer.Typer(
    name="serctl",
    cls=_Group,
    help="Recognise emotions in folders of speech recordings, offline.",
    epilog="Example: serctl predict ./recordings -o emotions.csv",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

CorpusArgument = Annotated[
    list[Path],
    typer.Argument(help="Corpus folders, or manifests (csv, parquet). `serctl corpus scan DIR` shows what is found."),
]
JobsOption = Annotated[
    int, typer.Option("--jobs", "-j", min=-1, help="Worker processes; -1 uses every core.", show_default=True)
]
CacheDirOption = Annotated[
    Optional[Path],  # noqa: UP045 - typer reads this at run time on Python 3.10
    typer.Option(
        "--cache-dir", envvar="SERCTL_CACHE_DIR", help="Folder of the feature cache. Default: the user cache folder."
    ),
]
NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="Neither read nor write the feature cache.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run: keep what is finished.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace an output that already exists.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only: no progress, no summary.")]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="Seed of everything random; the same seed, the same result.")
]


def console() -> Console:
    """The terminal for people: stderr, so that stdout stays clean for data."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def open_cache(cache_dir: Path | None, *, no_cache: bool) -> Cache | None:
    """The feature cache that the shared options describe; None with --no-cache."""
    if no_cache:
        return None
    from serctl.cache import Cache, default_folder

    return Cache(cache_dir or default_folder())


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
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(app(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except SerctlError as error:
        _fail(f"error: {with_remedies(error)}", EXIT_USAGE)
    except _EndedEarly as end:
        if isinstance(end.cause, RunInterrupted):
            _fail(f"interrupted: {with_remedies(end.cause)}", EXIT_INTERRUPTED)
        if isinstance(end.cause, KeyboardInterrupt):
            _fail("interrupted", EXIT_INTERRUPTED)
        # The reader of stdout went away (`serctl predict ... | head`): no more output is possible, or an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_OK)
    except click.Abort:
        _fail("aborted", EXIT_INTERRUPTED)
    except OSError as error:
        _fail(f"error: {error}", EXIT_CRASHED)


def _fail(message: str, code: int) -> NoReturn:
    sys.stderr.write(message + "\n")
    sys.exit(code)
