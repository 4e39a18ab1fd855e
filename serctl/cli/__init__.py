"""The command line: parses flags, calls one pipeline function, prints its summary."""

from serctl.cli import adapt, augment, evaluate, export, extract, models, predict, stream, train  # noqa: F401 - each adds its command
from serctl.cli._app import app, main
from serctl.cli.cache import cache_app
from serctl.cli.corpus import corpus_app
from serctl.cli.report import report_app

app.add_typer(corpus_app)
app.add_typer(cache_app)
app.add_typer(report_app)

__all__ = ["app", "main"]
