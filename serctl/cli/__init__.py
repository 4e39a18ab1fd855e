"""The command line: parses flags, calls one verb, prints its summary."""

from serctl.cli._app import app, main

__all__ = ["app", "main"]
