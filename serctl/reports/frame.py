"""The tables of a report as one pandas.DataFrame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.reports.schema import Column, ColumnBlock, Columns, Table, block_of, row_count, values_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

_KINDS = {"text": "object", "int": "Int64", "float32": "float32", "float64": "float64"}


def to_frame(tables: Sequence[Table], columns: Columns) -> pd.DataFrame:
    """Return the rows of tables, one after the other, with the columns of the report and their types.

    A missing value is None in a text, <NA> in an integer and NaN in a number.
    """
    import pandas as pd

    parts = [_part(tables, column) for column in columns]
    return pd.concat(parts, axis=1) if parts else pd.DataFrame()


def _part(tables: Sequence[Table], column: Column | ColumnBlock) -> pd.DataFrame | pd.Series[Any]:
    import pandas as pd

    if isinstance(column, ColumnBlock):
        blocks = [block_of(column, table, row_count(table)) for table in tables]
        return pd.DataFrame(np.concatenate(blocks) if blocks else [], columns=list(column.names), dtype="float32")
    values = [value for table in tables for value in values_of(column.name, table, row_count(table))]
    if column.kind != "text":
        values = [None if value is None or value != value else value for value in values]
    return pd.Series(values, dtype=_KINDS[column.kind], name=column.name)
