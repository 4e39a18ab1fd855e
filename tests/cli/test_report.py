"""serctl report: its commands, and the short form of one of them."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it at run time
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from serctl.cli.report import DEFAULT, _Reports


@pytest.fixture
def group() -> typer.Typer:
    group = typer.Typer(cls=_Reports)

    @group.command(DEFAULT)
    def page(report: Path, output: Annotated[Path, typer.Option("-o")]) -> None:
        typer.echo(f"page {report} {output}")

    @group.command("merge")
    def merge(parts: list[Path]) -> None:
        typer.echo(f"merge {len(parts)}")

    return group


@pytest.mark.parametrize(
    ("words", "done"),
    [
        ("emotions.parquet -o x.html", "page emotions.parquet x.html"),
        ("-o x.html emotions.parquet", "page emotions.parquet x.html"),
        (f"{DEFAULT} emotions.parquet -o x.html", "page emotions.parquet x.html"),
        (f"{DEFAULT} merge -o x.html", "page merge x.html"),
        ("merge a.csv b.csv", "merge 2"),
    ],
)
def test_a_first_word_that_is_no_command_is_a_report_to_show(group: typer.Typer, words: str, done: str) -> None:
    assert CliRunner().invoke(group, words.split(), catch_exceptions=False).stdout.strip() == done
