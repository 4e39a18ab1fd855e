"""Reports: tables with one schema, written as CSV, Parquet or JSON Lines, whole or not at all.

A run has two steps. While it works, each finished recording goes into a Journal beside the output, in any order; a run
that was killed is continued from there. At the end write_report reads the journal in the order of the inputs.

A Table maps column names to values: one scalar for all of its rows, or a sequence with one value per row. So a plain
dict of scalars is a table of one row. Missing columns, None and NaN are empty in CSV, null in Parquet and JSON Lines.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import os
import re
import shutil
import struct
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TextIO

import numpy as np

from serctl.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from numpy.typing import NDArray

Format = Literal["csv", "parquet", "jsonl"]
TextFormat = Literal["csv", "jsonl"]
Kind = Literal["text", "int", "float32", "float64"]
Table = Mapping[str, Any]

_FORMATS: dict[str, Format] = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl"}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")  # not 01, which is somebody's name
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?(e[+-]?[0-9]+)?")
_ROW_GROUP_BYTES = 16 * 2**20


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


def report_format(path: Path) -> Format:
    """The format that the suffix asks for. Raises ConfigError for any other suffix."""
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        raise ConfigError(f"expected an output ending in {', '.join(_FORMATS)}. Received: {path}") from None


def check_output(path: Path, *, overwrite: bool, resume: bool) -> None:
    """Make sure, before the work starts, that the output can be written; its folder is created.

    Raises ConfigError when the path is a folder or cannot be written, or when a report or the journal of an interrupted
    run is there and neither overwrite nor resume is given.
    """
    if path.is_dir():
        raise ConfigError(f"expected a file to write to, but {path} is a folder")
    interrupted = journal_path(path).exists()
    if path.exists() and not (overwrite or (resume and interrupted)):
        finished = "; no interrupted run is there to resume" if resume else ""
        raise ConfigError(f"{path} exists{finished}: --overwrite replaces it, or choose another -o")
    if interrupted and not (overwrite or resume):
        raise ConfigError(
            f"an interrupted run left {journal_path(path)}: --resume continues it, --overwrite starts again"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder of {path}: {error.strerror}") from error
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"cannot write into the folder {path.parent}: permission denied")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside the path; when the block ends well, what was written there replaces it in one step.

    Whatever goes wrong (a full disk, Ctrl-C), the previous file stays as it was and the temporary one is removed.
    """
    target = Path(os.path.realpath(path))  # a link stays a link: the file it leads to is replaced
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside the folder, which takes its place when the block ends well.

    Whatever goes wrong in the block, a previous folder stays as it was and the temporary one is removed.
    """
    folder = Path(os.path.realpath(folder))  # a link stays a link: the folder it leads to is replaced
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    draft.mkdir()
    try:
        yield draft
        if folder.exists():
            outgoing = draft.with_suffix(".old")
            folder.replace(outgoing)
            draft.replace(folder)
            shutil.rmtree(outgoing)
        else:
            draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_report(path: Path, *, columns: Columns, tables: Iterable[Table]) -> None:
    """Write the tables one after the other, in the format of the path's suffix, atomically and in bounded memory.

    Raises ConfigError for an unknown suffix, OSError when the disk is full: the previous report is then intact.
    """
    form = report_format(path)
    with atomic_path(path) as temporary:
        if form == "parquet":
            _write_parquet(temporary, columns, tables)
        else:
            with temporary.open("w", encoding="utf-8", newline="") as stream:
                write_rows(stream, tables, columns, form)


def write_rows(
    stream: TextIO, tables: Iterable[Table], columns: Columns, form: TextFormat = "csv", *, header: bool = True
) -> None:
    """Write the tables as text, line by line, in CSV with a header unless it is there already.

    pandas and pyarrow are not needed.
    """
    if form == "jsonl":
        stream.writelines(_jsonl_lines(tables, columns))
    else:
        stream.writelines(_csv_lines(tables, columns, header=header))


def read_report(path: Path) -> list[dict[str, Any]]:
    """The rows of a report of any format, None where a value is missing.

    CSV does not carry types: a column is taken for numbers where each of its values is one.
    """
    form = report_format(path)
    if form == "parquet":
        return _read_parquet(path)
    with path.open(encoding="utf-8", newline="") as stream:
        return _read_csv(stream) if form == "csv" else [json.loads(line) for line in stream]


# Text formats. A number is the same token in CSV and in JSON; they differ in their texts and in what is missing.


def _csv_lines(tables: Iterable[Table], columns: Columns, *, header: bool) -> Iterator[str]:
    if header:
        yield ",".join(_quoted(name) for name in _headers(columns)) + "\n"
    for table in tables:
        for tokens in _rows_of_tokens(table, columns, encode_text=_quoted, missing=""):
            yield ",".join(tokens) + "\n"


def _jsonl_lines(tables: Iterable[Table], columns: Columns) -> Iterator[str]:
    names = [_json_text(name) for name in _headers(columns)]
    for table in tables:
        for tokens in _rows_of_tokens(table, columns, encode_text=_json_text, missing="null"):
            yield "{" + ", ".join(f"{name}: {token}" for name, token in zip(names, tokens, strict=True)) + "}\n"


def _headers(columns: Columns) -> list[str]:
    return [name for column in columns for name in column.names]


def _rows_of_tokens(
    table: Table, columns: Columns, *, encode_text: Callable[[str], str], missing: str
) -> Iterator[list[str]]:
    rows = _row_count(table)
    fields = [_tokens(column, table, rows, encode_text, missing) for column in columns]
    return (list(itertools.chain.from_iterable(cells)) for cells in zip(*fields, strict=True))


def _tokens(
    column: Column | ColumnBlock, table: Table, rows: int, encode_text: Callable[[str], str], missing: str
) -> list[list[str]]:
    """For each row, the tokens of the column: one, or as many as the block is wide."""
    if isinstance(column, ColumnBlock):
        block = _block(column, table, rows).tolist()
        return [[f"{value:.7g}" if math.isfinite(value) else missing for value in row] for row in block]
    values = _values(column.name, table, rows)
    if column.kind == "text":
        return [[missing if value is None else encode_text(_utf8(str(value)))] for value in values]
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


def _json_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _utf8(text: str) -> str:
    """The text with the bytes of a file name that is not UTF-8 spelt out, as backslash udcff."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _row_count(table: Table) -> int:
    lengths = {len(value) for value in table.values() if _is_sequence(value)}
    if len(lengths) > 1:
        raise ValueError(f"expected columns of one length. Received: {sorted(lengths)}")
    return lengths.pop() if lengths else 1


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _values(name: str, table: Table, rows: int) -> Sequence[Any]:
    value: Any = table.get(name)
    if not _is_sequence(value):
        return [value] * rows
    values: Sequence[Any] = value.tolist() if isinstance(value, np.ndarray) else value
    return values


def _block(block: ColumnBlock, table: Table, rows: int) -> NDArray[np.float32]:
    values = table.get(block.name)
    if values is None:
        return np.full((rows, len(block.names)), np.nan, np.float32)
    array = np.asarray(values, np.float32)
    if array.shape != (rows, len(block.names)):
        raise ValueError(f"expected {block.name} of shape {(rows, len(block.names))}. Received: {array.shape}")
    return array


def _read_csv(stream: TextIO) -> list[dict[str, Any]]:
    header, *rows = csv.reader(stream)
    columns = [_restored(values) for values in zip(*rows, strict=True)]
    return [dict(zip(header, row, strict=True)) for row in zip(*columns, strict=True)]


def _restored(values: Sequence[str]) -> list[Any]:
    for convert, token in ((int, _INTEGER), (float, _NUMBER)):
        if all(not value or token.fullmatch(value) for value in values):
            return [convert(value) if value else None for value in values]
    return [value or None for value in values]


# Parquet


def _write_parquet(path: Path, columns: Columns, tables: Iterable[Table]) -> None:
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
    return pyarrow.schema([(name, types[kind]) for name, kind in zip(_headers(columns), kinds, strict=True)])


def _groups(tables: Iterable[Table], rows: int) -> Iterator[list[Table]]:
    """Collect tables until they have that many rows."""
    group: list[Table] = []
    count = 0
    for table in tables:
        group.append(table)
        count += _row_count(table)
        if count >= rows:
            yield group
            group, count = [], 0
    if group:
        yield group


def _arrow_table(tables: Sequence[Table], columns: Columns, schema: Any) -> Any:
    import pyarrow

    counts = [_row_count(table) for table in tables]
    arrays: list[Any] = []
    for column in columns:
        if isinstance(column, ColumnBlock):
            blocks = [_block(column, table, rows) for table, rows in zip(tables, counts, strict=True)]
            arrays.extend(np.concatenate(blocks).T.copy())
        else:
            pieces = [_values(column.name, table, rows) for table, rows in zip(tables, counts, strict=True)]
            values = list(itertools.chain.from_iterable(pieces))
            arrays.append([None if v is None else _utf8(str(v)) for v in values] if column.kind == "text" else values)
    typed = zip(arrays, schema.types, strict=True)
    return pyarrow.Table.from_arrays(
        [pyarrow.array(array, kind, from_pandas=True) for array, kind in typed], schema=schema
    )


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet

    with path.open("rb") as file:
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(file).to_pylist()
    return rows


# The journal

_MAGIC = b"serctl journal 1\n"
_RECORD = struct.Struct("<QI")  # length and CRC-32 of the record's content
_HEADER_LENGTH = struct.Struct("<I")


def journal_path(output: Path) -> Path:
    """Where the journal of a run that writes this output lies."""
    return output.with_name(f"{output.name}.partial")


class Journal:
    """The finished part of a run, on disk beside its output: one table for each input's key, readable in any order.

    A record is appended with one write, so a killed process tears at most the last one, which is dropped when the
    journal is opened again. Adding a key anew replaces its table. Memory holds the keys and where their tables lie.

    fingerprint: what determined the results (model, options, version); only a run with the same one may resume.
    Raises ConfigError when a journal to resume belongs to another run or the file is no journal.
    """

    def __init__(self, output: Path, *, fingerprint: str, resume: bool) -> None:
        self.path = journal_path(output)
        self._places: dict[str, int] = {}
        self._file: BinaryIO = self._open(fingerprint, resume=resume)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, key: str, table: Table) -> None:
        """Append the table of a finished input. Raises OSError when the disk is full; what was added before is kept."""
        self._append(key, _encode(key, table))

    def read(self, key: str) -> dict[str, Any]:
        """The table of an input. Raises KeyError for a key that was not added."""
        self._file.seek(self._places[key])
        content = _read_record(self._file)
        if content is None:
            raise OSError(f"{self.path} was changed by another program while in use")
        return _decode(content)[1]

    def close(self) -> None:
        """Close the file, which stays for a later run to resume."""
        self._file.close()

    def discard(self) -> None:
        """Remove the file, once the report is written."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _open(self, fingerprint: str, *, resume: bool) -> BinaryIO:
        if resume and self.path.exists():
            with ExitStack() as stack:
                file: BinaryIO = stack.enter_context(self.path.open("r+b", buffering=0))
                if self._recover(file, fingerprint):
                    stack.pop_all()
                    return file
        file = self.path.open("w+b", buffering=0)
        file.write(_MAGIC + _framed(fingerprint.encode()))
        return file

    def _recover(self, file: BinaryIO, fingerprint: str) -> bool:
        """Find the whole records and cut off a torn tail; False when not even the fingerprint is whole."""
        magic = file.read(len(_MAGIC))
        if not _MAGIC.startswith(magic):
            raise ConfigError(f"{self.path} is no journal of serctl: move it away, or choose another -o")
        found = _read_record(file)
        if found is None:
            return False
        if found != fingerprint.encode():
            raise ConfigError(
                f"{self.path} belongs to a run with another model, other options or another version: "
                "--overwrite starts again, or choose another -o"
            )
        end = file.tell()
        while (content := _read_record(file)) is not None:
            self._places[_decode_header(content)["key"]] = end
            end = file.tell()
        file.truncate(end)
        return True

    def _append(self, key: str, content: bytes) -> None:
        place = self._file.seek(0, os.SEEK_END)
        record = _framed(content)
        try:
            written = self._file.write(record)
            if written < len(record):  # the disk filled up; writing the rest says so
                self._file.write(record[written:])
        except OSError:
            self._file.truncate(place)
            raise
        self._places[key] = place


def _framed(content: bytes) -> bytes:
    return _RECORD.pack(len(content), zlib.crc32(content)) + content


def _read_record(file: BinaryIO) -> bytes | None:
    """The content of the record at the file's position; None at the end of the file or where a record is torn."""
    frame = file.read(_RECORD.size)
    if len(frame) < _RECORD.size:
        return None
    length, checksum = _RECORD.unpack(frame)
    if length > os.fstat(file.fileno()).st_size:
        return None
    content = file.read(length)
    return content if len(content) == length and zlib.crc32(content) == checksum else None


def _encode(key: str, table: Table) -> bytes:
    """A JSON header with the key and the plain values, then the bytes of the arrays."""
    arrays = {name: value for name, value in table.items() if isinstance(value, np.ndarray) and value.ndim}
    plain = {name: value for name, value in table.items() if name not in arrays}
    shapes = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    header = json.dumps({"key": key, "plain": plain, "arrays": shapes}, default=_plain_scalar).encode()
    return b"".join([_HEADER_LENGTH.pack(len(header)), header, *(array.tobytes() for array in arrays.values())])


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.item()
    raise TypeError(f"expected text and numbers in a table. Received: {type(value).__name__}")


def _decode(content: bytes) -> tuple[str, dict[str, Any]]:
    header = _decode_header(content)
    table = header["plain"]
    offset = _HEADER_LENGTH.size + _header_length(content)
    for name, dtype, shape in header["arrays"]:
        table[name] = np.frombuffer(content, dtype, count=math.prod(shape), offset=offset).reshape(shape)
        offset += table[name].nbytes
    return header["key"], table


def _decode_header(content: bytes) -> dict[str, Any]:
    start = _HEADER_LENGTH.size
    header: dict[str, Any] = json.loads(content[start : start + _header_length(content)])
    return header


def _header_length(content: bytes) -> int:
    (length,) = _HEADER_LENGTH.unpack_from(content)
    return int(length)
