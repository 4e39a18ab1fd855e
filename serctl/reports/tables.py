"""Reports: tables with one schema, written as CSV, Parquet or JSON Lines, whole or not at all.

A run has two steps. While it works, each finished recording goes into a Journal beside the output, in any order; a run
that was killed is continued from there. At the end write_report reads the journal in the order of the inputs.

A Table maps column names to values: one scalar for all of its rows, or a sequence with one value per row. So a plain
dict of scalars is a table of one row. Missing columns, None and NaN are empty in CSV, null in Parquet and JSON Lines.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from serctl.errors import ConfigError, Remedy
from serctl.extras import require_extra
from serctl.files import atomic_path, check_new_file
from serctl.reports.journal import journal_path
from serctl.reports.parquet import iterate_parquet, read_parquet, write_parquet
from serctl.reports.schema import Columns, Format, Table, report_format
from serctl.reports.text import iterate_rows, read_csv, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def check_output(path: Path, *, overwrite: bool, resume: bool) -> None:
    """Make sure, before the work starts, that the report can be written; its folder is created.

    Raises:
        ConfigError: the path is a folder or cannot be written; a report or the journal of an interrupted run is there,
            and neither overwrite nor resume is given.
    """
    if path.suffix.lower() == ".parquet":
        require_extra("parquet", "a Parquet file", "pyarrow")
    interrupted = journal_path(path).exists()
    if interrupted and not (overwrite or resume):
        raise ConfigError(f"an interrupted run left {journal_path(path)}", Remedy.RESUME, Remedy.RESTART)
    check_new_file(path, overwrite=overwrite or (resume and interrupted))


class Writer(Protocol):
    """Writes the tables of a report into a file, in bounded memory where the format allows it."""

    def __call__(self, path: Path, *, columns: Columns, tables: Iterable[Table]) -> None:
        """Write the tables one after the other; the file is put into place once it is whole."""
        ...


def write_report(path: Path, *, columns: Columns, tables: Iterable[Table], writer: Writer | None = None) -> None:
    """Write the tables one after the other, atomically and in bounded memory.

    writer: of the format; None for that of the path's suffix.
    Raises ConfigError for an unknown suffix, OSError when the disk is full: the previous report is then intact.
    """
    writer = writer or partial(_write_table, form=report_format(path))
    with atomic_path(path) as temporary:
        writer(temporary, columns=columns, tables=tables)


def _write_table(path: Path, *, columns: Columns, tables: Iterable[Table], form: Format) -> None:
    if form == "parquet":
        write_parquet(path, columns, tables)
    else:
        with path.open("w", encoding="utf-8", newline="") as stream:
            write_rows(stream, tables, columns, form)


def write_excel(path: Path, *, columns: Columns, tables: Iterable[Table]) -> None:
    """Write CSV for Excel: with a byte order mark, without texts that it takes for formulas. See Writer."""
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        write_rows(stream, tables, columns, "excel")


def iterate_report(path: Path, columns: Columns) -> Iterator[dict[str, Any]]:
    """Yield the rows of a report with these columns, None where a value is missing; a part of them is in memory."""
    form = report_format(path, what="a report")
    if form == "parquet":
        yield from iterate_parquet(path)
    else:
        with path.open(encoding="utf-8", newline="") as stream:
            yield from iterate_rows(stream, columns, form)


def read_report(path: Path) -> list[dict[str, Any]]:
    """The rows of a report of any format, None where a value is missing.

    CSV does not carry types: a column is taken for numbers where each of its values is one.
    """
    form = report_format(path, what="a report")
    if form == "parquet":
        return read_parquet(path)
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return read_csv(stream) if form == "csv" else [json.loads(line) for line in stream]
