"""Columns of a report and the tables that fill them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from serctl.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


Format = Literal["csv", "parquet", "jsonl"]
TextFormat = Literal["csv", "jsonl", "excel"]
Kind = Literal["text", "int", "float32", "float64"]
Table = Mapping[str, Any]

_FORMATS: dict[str, Format] = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl"}


UNCERTAIN = "uncertain"
NO_SPEECH = "no-speech"
"""What a row says instead of an emotion: too little confidence, no speech in it."""


@dataclass(frozen=True)
class Column:
    """One column of a report; decimals is how many a float gets in the text formats, None for all that matter."""

    name: str
    kind: Kind = "float64"
    decimals: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The column headers."""
        return (self.name,)


@dataclass(frozen=True)
class ColumnBlock:
    """Many float32 columns that a table holds as one array of shape (rows, len(names)) under the block's name."""

    name: str
    names: tuple[str, ...]


Columns = Sequence[Column | ColumnBlock]


def report_format(path: Path, *, what: str = "an output", others: Sequence[str] = ()) -> Format:
    """Return the format that the suffix of a report stands for.

    Args:
        path: of the report.
        what: what it is, for the error.
        others: further suffixes that the caller would take instead, for the error.

    Raises:
        ConfigError: it is another suffix.
    """
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        raise ConfigError(f"expected {what} ending in {', '.join([*_FORMATS, *others])}. Received: {path}") from None


def headers(columns: Columns) -> list[str]:
    """Return the column headers, those of blocks included."""
    return [name for column in columns for name in column.names]


def utf8(text: str) -> str:
    """The text with the bytes of a file name that is not UTF-8 spelt out, as backslash udcff."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def row_count(table: Table) -> int:
    """Return the number of rows; raises ValueError if columns differ in length."""
    lengths = {len(value) for value in table.values() if _is_sequence(value)}
    if len(lengths) > 1:
        raise ValueError(f"expected columns of one length. Received: {sorted(lengths)}")
    return lengths.pop() if lengths else 1


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def values_of(name: str, table: Table, rows: int) -> Sequence[Any]:
    """Return one value per row: a scalar is repeated."""
    value: Any = table.get(name)
    if not _is_sequence(value):
        return [value] * rows
    values: Sequence[Any] = value.tolist() if isinstance(value, np.ndarray) else value
    return values


def block_of(block: ColumnBlock, table: Table, rows: int) -> NDArray[np.float32]:
    """Return the values of a block of columns, float32, shape (rows, len(block.names)); NaN where there are none."""
    values = table.get(block.name)
    if values is None:
        return np.full((rows, len(block.names)), np.nan, np.float32)
    array = np.asarray(values, np.float32)
    if array.shape != (rows, len(block.names)):
        raise ValueError(f"expected {block.name} of shape {(rows, len(block.names))}. Received: {array.shape}")
    return array
