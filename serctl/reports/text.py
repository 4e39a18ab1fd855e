"""Read and write reports as CSV and JSON Lines, without pandas."""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
from typing import TYPE_CHECKING, Any, TextIO

from serctl.reports.schema import (
    Column,
    ColumnBlock,
    Columns,
    Table,
    TextFormat,
    block_of,
    headers,
    row_count,
    utf8,
    values_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")  # not 01, which is somebody's name
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?(e[+-]?[0-9]+)?")


def write_rows(
    stream: TextIO, tables: Iterable[Table], columns: Columns, form: TextFormat = "csv", *, header: bool = True
) -> None:
    """Write the tables as text, line by line, in CSV (or CSV for Excel) with a header unless it is there already.

    pandas and pyarrow are not needed.
    """
    if form == "jsonl":
        stream.writelines(_jsonl_lines(tables, columns))
    else:
        quote = _quoted_for_excel if form == "excel" else _quoted
        stream.writelines(_csv_lines(tables, columns, quote, header=header))


# Text formats. A number is the same token in CSV and in JSON; they differ in their texts and in what is missing.


def _csv_lines(
    tables: Iterable[Table], columns: Columns, quote: Callable[[str], str], *, header: bool
) -> Iterator[str]:
    if header:
        yield ",".join(_quoted(name) for name in headers(columns)) + "\n"
    for table in tables:
        for tokens in _rows_of_tokens(table, columns, encode_text=quote, missing=""):
            yield ",".join(tokens) + "\n"


def _jsonl_lines(tables: Iterable[Table], columns: Columns) -> Iterator[str]:
    names = [_json_text(name) for name in headers(columns)]
    for table in tables:
        for tokens in _rows_of_tokens(table, columns, encode_text=_json_text, missing="null"):
            yield "{" + ", ".join(f"{name}: {token}" for name, token in zip(names, tokens, strict=True)) + "}\n"


def _rows_of_tokens(
    table: Table, columns: Columns, *, encode_text: Callable[[str], str], missing: str
) -> Iterator[list[str]]:
    rows = row_count(table)
    fields = [_tokens(column, table, rows, encode_text, missing) for column in columns]
    return (list(itertools.chain.from_iterable(cells)) for cells in zip(*fields, strict=True))


def _tokens(
    column: Column | ColumnBlock, table: Table, rows: int, encode_text: Callable[[str], str], missing: str
) -> list[list[str]]:
    """For each row, the tokens of the column: one, or as many as the block is wide."""
    if isinstance(column, ColumnBlock):
        block = block_of(column, table, rows).tolist()
        return [[f"{value:.7g}" if math.isfinite(value) else missing for value in row] for row in block]
    values = values_of(column.name, table, rows)
    if column.kind == "text":
        return [[missing if value is None else encode_text(utf8(str(value)))] for value in values]
    write = _number_writer(column)
    return [[missing if value is None or not math.isfinite(value) else write(value)] for value in values]


def _number_writer(column: Column) -> Callable[[Any], str]:
    if column.kind == "int":
        return lambda value: str(int(value))
    if column.decimals is not None:
        return lambda value: f"{value:.{column.decimals}f}"
    if column.kind == "float32":
        return lambda value: f"{value:.7g}"
    return lambda value: repr(float(value))


def _quoted(text: str) -> str:
    # The csv module leaves a lone carriage return unquoted before Python 3.13, and readers take it for a new row.
    if any(mark in text for mark in ',"\n\r'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _quoted_for_excel(text: str) -> str:
    """The text with an apostrophe before what a spreadsheet takes for a formula (OWASP, CSV Injection)."""
    return _quoted(f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text)


def _json_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def iterate_rows(stream: TextIO, columns: Columns, form: TextFormat) -> Iterator[dict[str, Any]]:
    """Yield the rows that write_rows wrote, with the types of the columns, None where a value is missing."""
    if form == "jsonl":
        yield from map(json.loads, stream)
        return
    kinds = [column.kind if isinstance(column, Column) else "float32" for column in columns for _ in column.names]
    convert = [{"text": str, "int": int}.get(kind, float) for kind in kinds]
    header, *_ = itertools.islice(rows := csv.reader(stream), 1)
    for row in rows:
        values = zip(header, convert, row, strict=True)
        yield {name: function(cell) if cell else None for name, function, cell in values}


def read_csv(stream: TextIO) -> list[dict[str, Any]]:
    """Return the rows of a CSV, columns of numbers as numbers."""
    header, *rows = csv.reader(stream)
    columns = [_restored(values) for values in zip(*rows, strict=True)]
    return [dict(zip(header, row, strict=True)) for row in zip(*columns, strict=True)]


def _restored(values: Sequence[str]) -> list[Any]:
    for convert, token in ((int, _INTEGER), (float, _NUMBER)):
        if all(not value or token.fullmatch(value) for value in values):
            return [convert(value) if value else None for value in values]
    return [value or None for value in values]
