"""The command line: parses flags, calls one pipeline function, prints its summary."""

import os

# typer would import rich for every --help, which takes longer than all the rest; TYPER_USE_RICH=1 asks for it.
os.environ.setdefault("TYPER_USE_RICH", "0")

from serctl.cli import augment, evaluate, extract, models, predict, train  # noqa: E402, F401 - each adds its command
from serctl.cli._app import app, main  # noqa: E402
from serctl.cli.cache import cache_app  # noqa: E402
from serctl.cli.corpus import corpus_app  # noqa: E402

app.add_typer(corpus_app)
app.add_typer(cache_app)

__all__ = ["app", "main"]
