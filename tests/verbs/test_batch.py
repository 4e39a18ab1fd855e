from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.audio.find import Recording
from serctl.errors import AudioError, ConfigError, Remedy, RunInterrupted, StoppedAtFailureError
from serctl.reports.journal import Journal, journal_path
from serctl.reports.ledger import ledger_path
from serctl.reports.schema import Column, ColumnBlock
from serctl.reports.tables import read_report
from serctl.run import Progress, Run
from serctl.verbs.batch import BatchSummary, ignore_table, run_batch

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = [Column("path", "text"), Column("size", "int"), Column("status", "text"), Column("error", "text")]


def measure(path: Path, *, log: Path | None = None) -> dict[str, Any]:
    """A table for a file; fails for those called bad."""
    if log:
        with log.open("a") as lines:
            lines.write(f"{path.name}\n")
    if path.stem == "bad":
        raise AudioError(f"'{path}' is bad")
    if path.stem == "broken":
        raise ZeroDivisionError("never thought of")
    return {"path": str(path), "size": path.stat().st_size, "status": "ok", "duration": 1.5, "emotion": "sad"}


def recordings(folder: Path, *names: str) -> list[Recording]:
    for size, name in enumerate(names):
        (folder / name).write_bytes(bytes(size))
    return [Recording(folder / name) for name in names]


def run(found: list[Recording], output: Path | None, *, function: Any = measure, **options: Any) -> BatchSummary:
    given = {"on_table": ignore_table, "fingerprint": "one", "columns": COLUMNS}
    given |= {name: options.pop(name) for name in list(options) if name in given}
    how = Run(**{"jobs": 1, **options})
    return run_batch(found, function, output=output, run=how, **given)


def test_every_recording_has_its_row_in_input_order_whatever_the_workers(tmp_path: Path) -> None:
    found = recordings(tmp_path, *(f"{number}.wav" for number in range(60, 0, -1)), "bad.wav")
    for jobs in (1, 2):
        summary = run(found, tmp_path / f"{jobs}.csv", jobs=jobs)
        assert (summary.recordings, summary.failed, summary.emotions) == (61, 1, {"sad": 60})
        assert summary.audio_s == 90
    rows = read_report(tmp_path / "1.csv")
    assert [row["path"] for row in rows] == [str(recording.path) for recording in found]
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()


def test_tables_are_handed_out_in_input_order(tmp_path: Path) -> None:
    found = recordings(tmp_path, *(f"{number}.wav" for number in range(70)))
    tables: list[dict[str, Any]] = []
    run(found, None, on_table=tables.append, jobs=2)
    assert [table["size"] for table in tables] == list(range(70))


def test_whatever_a_recording_raises_is_its_error(tmp_path: Path) -> None:
    summary = run(recordings(tmp_path, "a.wav", "broken.wav", "bad.wav"), tmp_path / "o.csv")
    assert [row["error"] for row in read_report(tmp_path / "o.csv")] == [
        None,
        "unexpected ZeroDivisionError: never thought of",
        f"'{tmp_path / 'bad.wav'}' is bad",
    ]
    assert summary.to_dict()["failures"][1] == {
        "path": str(tmp_path / "bad.wav"),
        "error": f"'{tmp_path / 'bad.wav'}' is bad",
    }


def test_progress_counts_recordings_and_failures(tmp_path: Path) -> None:
    told: list[Progress] = []
    run(recordings(tmp_path, "a.wav", "bad.wav", "c.wav"), tmp_path / "o.csv", progress=told.append)
    assert told == [Progress(0, 3, 0), Progress(1, 3, 0), Progress(2, 3, 1), Progress(3, 3, 1)]


def test_a_resumed_run_does_only_what_is_missing_failed_or_changed(tmp_path: Path) -> None:
    output, log = tmp_path / "o.csv", tmp_path / "log"
    found = recordings(tmp_path, "a.wav", "b.wav", "bad.wav", "d.wav")
    with pytest.raises(StoppedAtFailureError, match="keeps what is finished") as raised:
        run(found, output, fail_fast=True)
    assert raised.value.remedies == (Remedy.RESUME,)
    assert raised.value.summary.wall_s > 0
    (tmp_path / "b.wav").write_bytes(b"longer now")
    summary = run(found, output, function=partial(measure, log=log), resume=True)
    assert log.read_text().split() == ["b.wav", "bad.wav", "d.wav"]
    assert (summary.recordings, summary.resumed, summary.failed) == (4, 1, 1)
    assert (summary.audio_s, summary.new_audio_s) == (4.5, 3.0)
    assert [row["size"] for row in read_report(output)] == [0, 10, None, 3]
    assert not journal_path(output).exists()


def test_a_recording_touched_since_is_done_again(tmp_path: Path) -> None:
    output, log = tmp_path / "o.csv", tmp_path / "log"
    found = recordings(tmp_path, "a.wav", "bad.wav")
    with pytest.raises(StoppedAtFailureError):
        run(found, output, fail_fast=True)
    os.utime(tmp_path / "a.wav", ns=(0, 0))
    run(found, output, function=partial(measure, log=log), resume=True)
    assert log.read_text().split() == ["a.wav", "bad.wav"]


def test_ctrl_c_says_what_is_kept_and_where(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    output = tmp_path / "o.csv"
    with pytest.raises(RunInterrupted, match=r"2 of 3 recordings are finished and kept in .*o\.csv\.partial$"):
        run(recordings(tmp_path, "a.wav", "b.wav", "c.wav"), output, progress=interrupt)
    assert not output.exists()
    with Journal(output, fingerprint="one", resume=True) as journal:
        assert len(journal) == 2


def test_a_run_of_another_kind_is_not_resumed(tmp_path: Path) -> None:
    found = recordings(tmp_path, "bad.wav")
    with pytest.raises(StoppedAtFailureError):
        run(found, tmp_path / "o.csv", fail_fast=True)
    with pytest.raises(ConfigError, match="belongs to a run with another model"):
        run(found, tmp_path / "o.csv", fingerprint="two", resume=True)
    run(found, tmp_path / "o.csv", fingerprint="two", overwrite=True)


def test_options_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leaves nothing to resume or to update") as raised:
        run(recordings(tmp_path, "a.wav"), None, resume=True)
    assert raised.value.remedies == (Remedy.WITH_OUTPUT,)
    with pytest.raises(ConfigError, match="expected an output ending in"):
        run(recordings(tmp_path, "a.wav"), tmp_path / "o.xlsx")
    with pytest.raises(ConfigError, match=r"a number of jobs of at least 1, or -1 .* Received: 0"):
        Run(jobs=0)


@pytest.fixture(params=["csv", "jsonl", "parquet"])
def report(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"o.{request.param}"


def measure_windows(path: Path, *, log: Path | None = None) -> dict[str, Any]:
    """A table of several rows, with numbers that the text formats round."""
    size = path.stat().st_size
    block = np.arange(2 * (size + 1), dtype=np.float32).reshape(-1, 2) / 3
    rows = {"start": [index / 7 for index in range(size + 1)], "emotion": ["sad", *["happy"] * size], "lld": block}
    return measure(path, log=log) | rows


WINDOWS = [
    *(Column("path", "text"), Column("start", decimals=3), Column("emotion", "text"), Column("size", "int")),
    *(Column("status", "text"), Column("error", "text"), Column("duration", decimals=3)),
    ColumnBlock("lld", ("a", "b")),
]


def test_an_update_does_only_what_is_new_or_changed_or_failed(tmp_path: Path, report: Path) -> None:
    names = ["b.wav", os.fsdecode(b"latin\xe9.wav"), "bad.wav", "07", "d.wav"]
    found = recordings(tmp_path, *names)
    run(found, report, function=measure_windows, columns=WINDOWS, update=True)
    (tmp_path / "07").write_bytes(b"longer now")
    (tmp_path / "bad.wav").unlink()
    now = [*recordings_at(tmp_path, "a.wav"), *found[:1], *found[3:], *found[1:2]]
    (tmp_path / "a.wav").write_bytes(b"new")
    log = tmp_path / "log"
    summary = run(now, report, function=partial(measure_windows, log=log), columns=WINDOWS, update=True)
    assert log.read_text().split() == ["a.wav", "07"]
    assert (summary.recordings, summary.resumed, summary.emotions["happy"]) == (5, 3, 18)
    assert (summary.audio_s, summary.new_audio_s) == (7.5, 3.0)
    run(now, tmp_path / f"again{report.suffix}", function=measure_windows, columns=WINDOWS)
    assert read_report(report) == read_report(tmp_path / f"again{report.suffix}")


def recordings_at(folder: Path, *names: str) -> list[Recording]:
    return [Recording(folder / name) for name in names]


def test_an_update_tries_failures_again(tmp_path: Path) -> None:
    found = recordings(tmp_path, "a.wav", "bad.wav")
    log = tmp_path / "log"
    run(found, tmp_path / "o.csv")
    assert run(found, tmp_path / "o.csv", function=partial(measure, log=log), update=True).failed == 1
    assert log.read_text().split() == ["bad.wav"]


def test_an_interrupted_update_is_resumed(tmp_path: Path) -> None:
    found = recordings(tmp_path, "a.wav")
    output, log = tmp_path / "o.csv", tmp_path / "log"
    run(found, output)
    found += [*recordings_at(tmp_path, "bad.wav", "c.wav")]
    (tmp_path / "bad.wav").touch()
    (tmp_path / "c.wav").touch()
    with pytest.raises(StoppedAtFailureError):
        run(found, output, update=True, fail_fast=True)
    with pytest.raises(ConfigError, match="an interrupted run left") as refused:
        run(found, output)
    assert refused.value.remedies == (Remedy.RESUME, Remedy.RESTART)
    run(found, output, function=partial(measure, log=log), resume=True)
    assert log.read_text().split() == ["bad.wav", "c.wav"]
    assert len(read_report(output)) == 3


def test_resuming_a_finished_report_does_nothing(tmp_path: Path) -> None:
    found = recordings(tmp_path, "a.wav", "bad.wav")
    output = tmp_path / "o.csv"
    run(found, output)
    before = output.stat().st_mtime_ns
    found += recordings(tmp_path, "c.wav")
    (tmp_path / "a.wav").write_bytes(b"longer now")
    summary = run(found, output, function=None, resume=True)
    assert (summary.finished, summary.recordings, summary.failed, summary.outdated) == (True, 2, 1, 2)
    assert (summary.new_audio_s, summary.resumed) == (0.0, 2)
    assert output.stat().st_mtime_ns == before


def test_a_report_without_a_ledger_is_finished_but_not_updated(tmp_path: Path) -> None:
    """As one from an earlier version."""
    found = recordings(tmp_path, "a.wav")
    run(found, tmp_path / "o.csv")
    ledger_path(tmp_path / "o.csv").unlink()
    assert run(found, tmp_path / "o.csv", function=None, resume=True).finished
    with pytest.raises(ConfigError, match="nothing tells which recordings"):
        run(found, tmp_path / "o.csv", function=None, update=True)


def test_a_report_that_another_program_changed_is_not_updated(tmp_path: Path) -> None:
    found = recordings(tmp_path, "a.wav")
    output = tmp_path / "o.csv"
    run(found, output)
    output.write_text(output.read_text().replace("ok", "checked"))
    with pytest.raises(ConfigError, match="changed since it was written"):
        run(found, output, function=None, update=True)
    assert "checked" in output.read_text()


@pytest.mark.parametrize("flag", ["resume", "update"])
def test_a_finished_report_of_another_kind_is_left_alone(tmp_path: Path, flag: str) -> None:
    found = recordings(tmp_path, "a.wav")
    run(found, tmp_path / "o.csv")
    with pytest.raises(ConfigError, match="belongs to a run with another model") as refused:
        run(found, tmp_path / "o.csv", fingerprint="two", function=None, **{flag: True})
    assert Remedy.OVERWRITE in refused.value.remedies


def test_a_report_into_a_pipe_leaves_no_ledger(tmp_path: Path) -> None:
    output = tmp_path / "o.csv"
    os.mkfifo(output)
    content: list[str] = []
    reader = threading.Thread(target=lambda: content.append(output.read_text()))
    reader.start()
    run(recordings(tmp_path, "a.wav"), output)
    reader.join()
    assert content[0].splitlines()[1].endswith("a.wav,0,ok,")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "o.csv"]


def test_two_runs_on_one_output_exclude_each_other(tmp_path: Path) -> None:
    found = recordings(tmp_path, "a.wav")
    output = tmp_path / "o.csv"

    def second_run(path: Path) -> dict[str, Any]:
        with pytest.raises(ConfigError, match=f"is being written by another run, process {os.getpid()}"):
            run(found, output, overwrite=True, resume=True)
        return measure(path)

    assert run(found, output, function=second_run).failed == 0
