"""The command line: parses flags, calls one pipeline function, prints its summary."""

from serctl.cli._app import app, main

__all__ = ["app", "main"]
