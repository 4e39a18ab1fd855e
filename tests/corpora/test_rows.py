from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pandas as pd
import pytest

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serctl.corpora.rows import OVERFLOW, SUFFIXES, read_rows
from serctl.errors import CorpusError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COLUMNS = ("path", "emotion", "text")
ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
# No NUL, which is no text, and no surrogates, which no encoding holds.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
ROWS = st.lists(st.tuples(*[TEXT] * len(COLUMNS)), min_size=1)


def as_dicts(rows: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def read(path: Path) -> list[dict[str, str]]:
    return [{name: cell for name, cell in row.items() if name != OVERFLOW} for row in read_rows(path)]


@ONE_FOLDER
@given(
    rows=ROWS,
    separator=st.sampled_from([",", ";", "\t"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    suffix=st.sampled_from([".csv", ".tsv"]),
)
def test_what_is_written_as_csv_is_read(
    tmp_path: Path, rows: list[tuple[str, ...]], separator: str, encoding: str, suffix: str
) -> None:
    lines = io.StringIO()
    csv.writer(lines, delimiter=separator, quoting=csv.QUOTE_ALL).writerows([COLUMNS, *rows])
    path = tmp_path / f"table{suffix}"
    path.write_bytes(lines.getvalue().encode(encoding))
    assert read(path) == as_dicts(rows)


@ONE_FOLDER
@given(rows=ROWS)
def test_what_is_written_as_json_lines_is_read(tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    path = tmp_path / "table.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in as_dicts(rows)))
    assert read(path) == as_dicts(rows)


@ONE_FOLDER
@given(rows=ROWS)
def test_what_is_written_as_parquet_is_read(tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    path = tmp_path / "table.parquet"
    pd.DataFrame(as_dicts(rows)).to_parquet(path)
    assert read(path) == as_dicts(rows)


@ONE_FOLDER
@given(data=st.binary(), suffix=st.sampled_from(SUFFIXES))
def test_any_bytes_are_rows_or_an_error_that_names_the_file(tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / f"any{suffix}"
    path.write_bytes(data)
    reason, rows = "", []
    try:
        rows = read_rows(path)
    except CorpusError as error:
        reason = str(error)
    assert not reason or reason.startswith(str(path))
    assert all(isinstance(cell, str) for row in rows for cell in row.values())


def test_numbers_nulls_and_lists_become_text(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    path.write_text('{"Path": "a.wav", "speaker": 7, "end": 1.5, "text": null, "tags": ["x"], "ok": true}\n\n')
    (row,) = read_rows(path)
    assert (row["path"], row["speaker"], row["end"], row["text"]) == ("a.wav", "7", "1.5", "")


def test_list_columns_of_parquet_are_text_and_whole_numbers_stay_whole(tmp_path: Path) -> None:
    table = pd.DataFrame({"path": ["a", "b"], "speaker": [7.0, None], "tags": [[1, 2], []], "more": [None, ["x"]]})
    table.to_parquet(tmp_path / "table.parquet")
    first, second = read_rows(tmp_path / "table.parquet")
    assert (first["speaker"], second["speaker"], first["more"]) == ("7", "", "")


def test_the_index_of_a_frame_is_columns_and_durations_are_seconds(tmp_path: Path) -> None:
    index = pd.MultiIndex.from_arrays(
        [["a.wav", "a.wav"], pd.to_timedelta([0, 1.5], unit="s"), pd.to_timedelta([1.5, None], unit="s")],
        names=["file", "start", "end"],
    )
    pd.DataFrame({"emotion": ["sad", "happy"]}, index=index).to_parquet(tmp_path / "table.parquet")
    assert read_rows(tmp_path / "table.parquet") == [
        {"file": "a.wav", "start": "0.0", "end": "1.5", "emotion": "sad"},
        {"file": "a.wav", "start": "1.5", "end": "", "emotion": "happy"},
    ]


def test_an_index_without_a_name_is_the_path(tmp_path: Path) -> None:
    pd.DataFrame({"emotion": ["sad"]}, index=["a.wav"]).to_parquet(tmp_path / "table.parquet")
    assert read_rows(tmp_path / "table.parquet") == [{"path": "a.wav", "emotion": "sad"}]


def test_cells_beyond_the_header_are_kept_apart(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("path,text\na.wav,Nein, nie\nb.wav,Ja,\n")
    assert [row[OVERFLOW] for row in read_rows(tmp_path / "table.csv")] == ["nie", ""]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("table.csv", "path\na\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ("table.csv", b"a.wav\0b.wav\0", "lists separated by NUL"),
        ("table.csv", b"\xff\xfea", "its byte order mark says utf-16-le, but it is not"),
        ("table.csv", b"path\n" + b"x" * 200_000, "line 2: field larger than field limit"),
        ("table.jsonl", b'{"path": "a"}\n{"path"\n', "cannot be read as a manifest: line 2: "),
        ("table.jsonl", b"[1]\n", r"line 1: expected an object, \{column: value, ...\}. Found: \[1\]"),
        ("table.parquet", b"not parquet at all", "cannot be read as a manifest"),
        ("table.txt", b"path\n", r"expected a folder or a manifest \(.csv, .tsv, .jsonl, .parquet\)"),
    ],
)
def test_a_table_that_cannot_be_read_is_an_error(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CorpusError, match=f"{name}: .*{message}"):
        read_rows(tmp_path / name)
