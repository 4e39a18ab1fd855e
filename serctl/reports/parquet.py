"""Read and write reports as Parquet."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.reports.schema import Column, ColumnBlock, Columns, Table, block_of, headers, row_count, utf8, values_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path


_ROW_GROUP_BYTES = 16 * 2**20


def write_parquet(path: Path, columns: Columns, tables: Iterable[Table]) -> None:
    """Write the tables in row groups of bounded size."""
    import pyarrow.parquet

    schema = _schema(columns)
    group_rows = max(1, _ROW_GROUP_BYTES // (8 * len(schema)))
    with path.open("wb") as file, pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(tables, group_rows):
            writer.write_table(_arrow_table(group, columns, schema), row_group_size=group_rows)


def _schema(columns: Columns) -> Any:
    import pyarrow

    types = {"text": pyarrow.string(), "int": pyarrow.int64()}
    types |= {"float32": pyarrow.float32(), "float64": pyarrow.float64()}
    kinds = [column.kind if isinstance(column, Column) else "float32" for column in columns for _ in column.names]
    return pyarrow.schema([(name, types[kind]) for name, kind in zip(headers(columns), kinds, strict=True)])


def _groups(tables: Iterable[Table], rows: int) -> Iterator[list[Table]]:
    """Collect tables until they have that many rows."""
    group: list[Table] = []
    count = 0
    for table in tables:
        group.append(table)
        count += row_count(table)
        if count >= rows:
            yield group
            group, count = [], 0
    if group:
        yield group


def _arrow_table(tables: Sequence[Table], columns: Columns, schema: Any) -> Any:
    import pyarrow

    counts = [row_count(table) for table in tables]
    arrays: list[Any] = []
    for column in columns:
        if isinstance(column, ColumnBlock):
            blocks = [block_of(column, table, rows) for table, rows in zip(tables, counts, strict=True)]
            arrays.extend(np.concatenate(blocks).T.copy())
        else:
            pieces = [values_of(column.name, table, rows) for table, rows in zip(tables, counts, strict=True)]
            values = list(itertools.chain.from_iterable(pieces))
            arrays.append([None if v is None else utf8(str(v)) for v in values] if column.kind == "text" else values)
    typed = zip(arrays, schema.types, strict=True)
    return pyarrow.Table.from_arrays(
        [pyarrow.array(array, kind, from_pandas=True) for array, kind in typed], schema=schema
    )


def iterate_parquet(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file, a part of them in memory."""
    import pyarrow.parquet

    with path.open("rb") as file:
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches():
            yield from batch.to_pylist()


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file."""
    import pyarrow.parquet

    with path.open("rb") as file:
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(file).to_pylist()
    return rows
