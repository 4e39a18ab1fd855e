"""The rows of a table in whatever form it is kept: CSV of any separator, JSON Lines, Parquet; every cell as text."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from serctl import texts
from serctl.errors import CorpusError, EncodingError
from serctl.extras import require_extra
from serctl.files import open_input

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
"""The formats that can be read, by the suffix of the file."""

OVERFLOW = "\0overflow"
"""The column that keeps what a row of a CSV holds beyond the columns of the header."""

Row = dict[str, str]

_SEPARATORS = (",", ";", "\t")


def read_rows(path: Path) -> list[Row]:
    """Read a table, its column names in lower case and its cells as text.

    Args:
        path: named *.csv or *.tsv (separated by commas, semicolons or tabs), *.jsonl or *.parquet. Text is in UTF-8, or
            in UTF-16 or UTF-32 with a byte order mark.

    Returns:
        A dict for each row; an empty or missing cell is an empty text. Bytes that are not UTF-8 are kept as surrogates
        (PEP 383), as in file names. The index of a data frame becomes columns.

    Raises:
        CorpusError: the suffix is another one, the file cannot be read, or it is not in that format or encoding.
        MissingExtraError: Parquet cannot be read without an optional package.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise CorpusError(f"{path}: expected a folder or a manifest ({', '.join(SUFFIXES)})")
    if suffix == ".parquet":
        return _from_parquet(path)
    text = read_text(path)
    return list(_from_jsonl(path, text) if suffix == ".jsonl" else _from_csv(path, text))


def read_text(path: Path) -> str:
    """Read a file of text in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Returns:
        The text; bytes that are not UTF-8 are kept as surrogates (PEP 383).

    Raises:
        CorpusError: the file cannot be read, or is in another encoding.
    """
    try:
        with open_input(path) as file:
            text = texts.read_text(file)
    except (OSError, EncodingError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CorpusError(f"{path}: cannot be read: {reason}") from error
    if "\0" in text:
        raise CorpusError(f"{path}: holds NUL bytes, as lists separated by NUL do: expected text, one row a line")
    return text


def _from_csv(path: Path, text: str) -> Iterator[Row]:
    records = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text))
    try:
        header = [name.strip().lower() for name in next(records, [])]
        for cells in records:
            if cells:
                row = dict(zip(header, cells, strict=False))
                yield row | {OVERFLOW: " ".join(cells[len(header) :]).strip()}
    except csv.Error as error:
        raise CorpusError(f"{path}: cannot be read as a manifest: line {records.line_num}: {error}") from error


def _separator(text: str) -> str:
    """The separator that makes most columns of the header; a comma where there is one column."""
    header = text.split("\n", 1)[0]
    return max(_SEPARATORS, key=header.count)


def _from_jsonl(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise CorpusError(f"{path}: cannot be read as a manifest: line {number}: {error}") from error
        if not isinstance(record, dict):
            raise CorpusError(f"{path}: line {number}: expected an object, {{column: value, ...}}. Found: {line[:40]}")
        yield _row(record.items())


def _from_parquet(path: Path) -> list[Row]:
    require_extra("parquet", "a Parquet manifest", "pyarrow")
    import pandas as pd
    import pyarrow as pa

    try:
        with open_input(path) as file:
            table = pd.read_parquet(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CorpusError(f"{path}: cannot be read as a manifest: {error}") from error
    if not isinstance(table.index, pd.RangeIndex):
        names = [name or ("path" if level == 0 else f"level {level}") for level, name in enumerate(table.index.names)]
        table = table.reset_index(names=names, allow_duplicates=True)
    return [_row(zip(table.columns, values, strict=True)) for values in table.itertuples(index=False, name=None)]


def _row(cells: Iterable[tuple[Any, Any]]) -> Row:
    return {str(name).strip().lower(): _cell(value) for name, value in cells}


def _cell(value: Any) -> str:
    """The value as a manifest in CSV would hold it; a duration in seconds."""
    if value is None or (not isinstance(value, str) and str(value) in ("nan", "NaT", "<NA>")):
        return ""
    if hasattr(value, "total_seconds"):
        return repr(value.total_seconds())
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
