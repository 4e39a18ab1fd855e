from __future__ import annotations

import csv
import errno
import io
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from serctl.errors import ConfigError, Remedy
from serctl.reports.journal import Journal, journal_path
from serctl.reports.schema import Column, ColumnBlock, report_format
from serctl.reports.tables import check_output, read_report, write_excel, write_report
from serctl.reports.text import write_rows

COLUMNS = [
    Column("path", "text"),
    Column("start", decimals=3),
    Column("emotion", "text"),
    Column("p_happy", "float32", decimals=4),
    Column("sample_rate", "int"),
    Column("error", "text"),
]
GOOD = {"path": "a.wav", "start": 0.12345, "emotion": "happy", "p_happy": 0.123456, "sample_rate": 16000}
BAD = {"path": "b.wav", "emotion": None, "p_happy": float("nan"), "error": "empty file"}
NAMES = [
    'comma,"quote".wav',
    "new\nline.wav",
    "carriage\rreturn.wav",
    "snow ☃ 雪.wav",
    os.fsdecode(b"latin\xe9.wav"),
    "07",
]
FORMATS = ["csv", "jsonl", "parquet"]


@pytest.fixture(params=FORMATS)
def output(request, tmp_path: Path) -> Path:
    return tmp_path / f"report.{request.param}"


def test_rows_come_back_from_every_format(output):
    write_report(output, columns=COLUMNS, tables=[GOOD, BAD])
    good, bad = read_report(output)
    exact = output.suffix == ".parquet"
    assert list(good) == [column.name for column in COLUMNS]
    assert good["start"] == pytest.approx(0.12345 if exact else 0.123, abs=1e-12)
    assert good["p_happy"] == pytest.approx(0.123456 if exact else 0.1235, abs=1e-8)
    assert (good["path"], good["emotion"], good["sample_rate"], good["error"]) == ("a.wav", "happy", 16000, None)
    assert isinstance(good["sample_rate"], int)
    assert bad == {
        "path": "b.wav",
        "start": None,
        "emotion": None,
        "p_happy": None,
        "sample_rate": None,
        "error": "empty file",
    }


def test_names_of_every_kind_survive(output):
    write_report(output, columns=COLUMNS, tables=[{"path": name} for name in NAMES])
    expected = [name.encode("utf-8", "backslashreplace").decode() for name in NAMES]
    assert [row["path"] for row in read_report(output)] == expected


def test_pandas_reads_what_was_written(output):
    write_report(output, columns=COLUMNS, tables=[{**GOOD, "path": name} for name in NAMES[:5]] + [BAD])
    readers = {
        ".csv": pd.read_csv,
        ".parquet": pd.read_parquet,
        ".jsonl": lambda path: pd.read_json(path, lines=True),
    }
    frame = readers[output.suffix](output)
    assert frame["path"].tolist()[3] == NAMES[3]
    assert frame["p_happy"].isna().tolist() == [False] * 5 + [True]
    assert frame["start"][0] == pytest.approx(0.123, abs=1e-3)


def test_csv_reads_back_with_the_standard_library(tmp_path):
    output = tmp_path / "report.csv"
    write_report(output, columns=COLUMNS, tables=[{"path": name, "error": ""} for name in NAMES[:4]])
    with output.open(newline="", encoding="utf-8") as stream:
        assert [row["path"] for row in csv.DictReader(stream)] == NAMES[:4]


def test_text_formats_round_and_leave_what_is_missing_empty():
    stream = io.StringIO()
    write_rows(stream, [GOOD, BAD], COLUMNS)
    assert stream.getvalue() == (
        "path,start,emotion,p_happy,sample_rate,error\na.wav,0.123,happy,0.1235,16000,\nb.wav,,,,,empty file\n"
    )


def test_json_lines_are_strict_json():
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    stream = io.StringIO()
    write_rows(stream, [{**GOOD, "start": float("inf")}, BAD], COLUMNS, "jsonl")
    good, bad = (json.loads(line, parse_constant=refuse) for line in stream.getvalue().splitlines())
    assert good == {**GOOD, "start": None, "p_happy": 0.1235, "error": None}
    assert bad["p_happy"] is None


@pytest.mark.parametrize("output", FORMATS, indirect=True)
def test_a_block_of_columns_sits_beside_scalars(output):
    block = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    block[1, 2] = np.nan
    columns = [Column("path", "text"), Column("time_s", "float32"), ColumnBlock("lld", ("a", "b", "c", "d"))]
    tables = [{"path": "x.wav", "time_s": np.arange(3) * 0.25, "lld": block}, {"path": "failed.wav"}]
    write_report(output, columns=columns, tables=tables)
    rows = read_report(output)
    assert [row["path"] for row in rows] == ["x.wav"] * 3 + ["failed.wav"]
    assert [row["time_s"] for row in rows] == [0.0, 0.25, 0.5, None]
    assert rows[1]["c"] is None
    assert rows[3]["a"] is None
    values = [[row[name] for name in "abd"] for row in rows[:3]]
    np.testing.assert_allclose(values, block[:, [0, 1, 3]], rtol=1e-6)


def test_parquet_has_typed_columns_in_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("serctl.reports.parquet._ROW_GROUP_BYTES", 8 * len(COLUMNS) * 100)
    output = tmp_path / "report.parquet"
    write_report(output, columns=COLUMNS, tables=(GOOD for _ in range(250)))
    file = pq.ParquetFile(output)
    assert [str(kind) for kind in file.schema_arrow.types] == ["string", "double", "string", "float", "int64", "string"]
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [100, 100, 50]


def test_an_empty_report_has_its_columns(output):
    write_report(output, columns=COLUMNS, tables=[])
    assert read_report(output) == []
    if output.suffix == ".parquet":
        assert pq.read_schema(output).names == [column.name for column in COLUMNS]


def test_columns_of_unequal_length_are_refused(output):
    with pytest.raises(ValueError, match="one length"):
        write_report(output, columns=COLUMNS, tables=[{"path": ["a", "b"], "start": [0.0]}])
    block = [ColumnBlock("lld", ("a", "b"))]
    with pytest.raises(ValueError, match="of shape"):
        write_report(output, columns=block, tables=[{"lld": np.zeros((2, 3))}])
    assert list(output.parent.iterdir()) == []


def test_a_failure_midway_leaves_the_previous_report(output):
    write_report(output, columns=COLUMNS, tables=[GOOD])
    before = output.read_bytes()

    def tables():
        yield from [BAD] * 1000
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_report(output, columns=COLUMNS, tables=tables())
    assert output.read_bytes() == before
    assert list(output.parent.iterdir()) == [output]


@contextmanager
def small_disk():
    """Files may grow to 20,000 bytes; the write beyond it fails, as on a full disk. So does pytest's own, meanwhile."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_the_previous_report(output):
    write_report(output, columns=COLUMNS, tables=[GOOD])
    before = output.read_bytes()
    incompressible = ({"path": os.urandom(40).hex()} for _ in range(1000))
    with small_disk(), pytest.raises(OSError, match="File too large"):
        write_report(output, columns=COLUMNS, tables=incompressible)
    assert output.read_bytes() == before
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize("name", ["report", "report.xlsx", "report.csv.gz"])
def test_another_suffix_is_refused(name):
    with pytest.raises(ConfigError, match=r"\.csv, \.parquet, \.jsonl"):
        report_format(Path(name))


def test_the_suffix_may_be_upper_case():
    assert report_format(Path("REPORT.CSV")) == "csv"


def test_an_existing_report_or_journal_is_protected(tmp_path):
    output = tmp_path / "new" / "folder" / "report.csv"
    check_output(output, overwrite=False, resume=False)
    assert output.parent.is_dir()
    output.touch()
    with pytest.raises(ConfigError, match="exists") as refused:
        check_output(output, overwrite=False, resume=False)
    assert refused.value.remedies == (Remedy.OVERWRITE, Remedy.OTHER_OUTPUT)
    check_output(output, overwrite=True, resume=False)
    journal_path(output).touch()
    with pytest.raises(ConfigError, match="an interrupted run left") as refused:
        check_output(output, overwrite=False, resume=False)
    assert refused.value.remedies == (Remedy.RESUME, Remedy.RESTART)
    check_output(output, overwrite=False, resume=True)


def test_an_output_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a folder"):
        check_output(tmp_path, overwrite=True, resume=False)
    with pytest.raises(ConfigError, match="cannot make the folder"):
        check_output(tmp_path / "file" / "report.csv", overwrite=False, resume=False)


@pytest.fixture
def journal(tmp_path: Path):
    with Journal(tmp_path / "report.csv", fingerprint="model 1", resume=False) as journal:
        yield journal


def _reopen(journal: Journal, *, fingerprint: str = "model 1", resume: bool = True) -> Journal:
    journal.close()
    return Journal(journal.path.with_suffix(""), fingerprint=fingerprint, resume=resume)


def test_tables_come_back_from_the_journal_in_any_order(journal):
    block = np.arange(6, dtype=np.float32).reshape(2, 3)
    surrogate = os.fsdecode(b"\xff.wav")
    journal.add(surrogate, {"path": [surrogate] * 2, "lld": block, "count": np.int64(2), "snr": np.float32("nan")})
    journal.add("b", BAD)
    assert len(journal) == 2
    assert "b" in journal
    assert "c" not in journal
    assert journal.read("b")["error"] == "empty file"
    found = journal.read(surrogate)
    assert found["path"] == [surrogate] * 2
    assert found["count"] == 2
    assert np.isnan(found["snr"])
    np.testing.assert_array_equal(found["lld"], block)
    assert found["lld"].dtype == np.float32
    journal.add("c", GOOD)  # appended at the end, wherever was read last
    assert [journal.read(key)["path"] for key in ("c", "b")] == ["a.wav", "b.wav"]


def test_a_run_resumes_where_it_was(journal):
    journal.add("a", GOOD)
    journal.add("b", BAD)
    journal.add("b", GOOD)
    with _reopen(journal) as resumed:
        assert len(resumed) == 2
        assert resumed.read("b") == GOOD
        resumed.add("c", BAD)
    with _reopen(resumed) as again:
        assert len(again) == 3


def test_a_flipped_bit_ends_what_is_trusted(journal):
    journal.add("a", GOOD)
    journal.add("b", GOOD)
    content = bytearray(journal.path.read_bytes())
    content[-5] ^= 1
    journal.path.write_bytes(content)
    with _reopen(journal) as resumed:
        assert "a" in resumed
        assert "b" not in resumed


def test_a_journal_torn_in_its_first_record_starts_again(journal):
    os.truncate(journal.path, 20)
    with _reopen(journal) as resumed:
        assert len(resumed) == 0
        resumed.add("a", GOOD)
    with _reopen(resumed) as again:
        assert len(again) == 1


def test_another_run_may_not_resume(journal):
    journal.add("a", GOOD)
    with pytest.raises(ConfigError, match="belongs to a run with another model") as refused:
        _reopen(journal, fingerprint="model 2")
    assert Remedy.RESTART in refused.value.remedies
    with _reopen(journal, fingerprint="model 2", resume=False) as fresh:
        assert len(fresh) == 0


def test_a_foreign_file_is_not_taken_for_a_journal(journal):
    journal.path.write_text("somebody's half-finished download")
    for resume in (True, False):
        with pytest.raises(ConfigError, match="is not a serctl journal"):
            _reopen(journal, resume=resume)
    assert journal.path.read_text().startswith("somebody's")


def test_a_special_file_in_place_of_the_journal_is_refused_at_once(tmp_path):
    os.mkfifo(journal_path(tmp_path / "report.csv"))
    with pytest.raises(ConfigError, match="is not a serctl journal"):
        Journal(tmp_path / "report.csv", fingerprint="model 1", resume=True)


def test_a_record_of_another_key_is_not_taken(journal):
    """As when another process writes the same journal."""
    journal.add("a", GOOD)
    second = journal.path.stat().st_size
    journal.add("b", BAD)
    journal._places["a"] = second
    assert journal.read("b")["path"] == "b.wav"
    with pytest.raises(OSError, match="changed by another program"):
        journal.read("a")


def test_a_full_disk_keeps_what_was_added(journal):
    journal.add("a", GOOD)
    with small_disk(), pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        journal.add("b", {"x": np.zeros(10_000)})
    journal.add("c", BAD)
    with _reopen(journal) as resumed:
        assert ("a" in resumed, "b" in resumed, "c" in resumed) == (True, False, True)


def test_discard_removes_the_file(journal):
    journal.discard()
    assert not journal.path.exists()


def test_a_killed_run_keeps_what_was_finished(tmp_path):
    output = tmp_path / "report.csv"
    code = f"""
        import os, signal
        from pathlib import Path
        from serctl.reports.journal import Journal
        journal = Journal(Path({str(output)!r}), fingerprint="x", resume=False)
        for number in range(100):
            journal.add(str(number), {{"path": str(number)}})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    process = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert process.returncode == -signal.SIGKILL
    with Journal(output, fingerprint="x", resume=True) as journal:
        assert len(journal) == 100


def test_text_reports_do_not_load_pandas_or_pyarrow(tmp_path):
    code = f"""
        import sys
        from pathlib import Path
        from serctl.reports.schema import Column
        from serctl.reports.tables import write_report
        for name in ("a.csv", "a.jsonl"):
            write_report(Path({str(tmp_path)!r}) / name, columns=[Column("path", "text")], tables=[{{"path": "x"}}])
        sys.exit(bool({{"pandas", "pyarrow"}} & set(sys.modules)))
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False).returncode == 0


@pytest.mark.parametrize(
    "text", ["=1+2", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=cmd|"/c calc"!A1', "a=b", "", "\u00e9"]
)
def test_no_text_of_csv_for_excel_begins_a_formula(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.csv"
    row = GOOD | {"path": text, "emotion": text, "start": -1.5}
    write_report(path, columns=COLUMNS, tables=[row], writer=write_excel)
    assert path.read_bytes().startswith(b"\xef\xbb\xbfpath,")
    (found,) = csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""))
    # A spreadsheet takes a cell that begins so for a formula (openpyxl: data_type f); a number may begin with a minus.
    assert not found["path"].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert found["path"].removeprefix("'") == text
    assert found["start"] == "-1.500"
    assert pd.read_csv(path).columns[0] == "path"
    assert list(read_report(path)[0]) == [column.name for column in COLUMNS]
