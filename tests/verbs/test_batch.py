from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from serctl.audio.find import Recording
from serctl.errors import AudioError, ConfigError, Remedy, RunInterrupted, StoppedAtFailureError
from serctl.reports.journal import Journal, journal_path
from serctl.reports.schema import Column
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
    given = {"on_table": ignore_table, "fingerprint": "one"}
    given |= {name: options.pop(name) for name in list(options) if name in given}
    how = Run(**{"jobs": 1, **options})
    return run_batch(found, function, columns=COLUMNS, output=output, run=how, **given)


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
    assert told == [Progress(1, 3, 0), Progress(2, 3, 1), Progress(3, 3, 1)]


def test_a_resumed_run_does_only_what_is_missing_failed_or_changed(tmp_path: Path) -> None:
    output, log = tmp_path / "o.csv", tmp_path / "log"
    found = recordings(tmp_path, "a.wav", "b.wav", "bad.wav", "d.wav")
    with pytest.raises(StoppedAtFailureError, match="keeps what is finished") as raised:
        run(found, output, fail_fast=True)
    assert raised.value.remedies == (Remedy.RESUME,)
    (tmp_path / "b.wav").write_bytes(b"longer now")
    summary = run(found, output, function=partial(measure, log=log), resume=True)
    assert log.read_text().split() == ["b.wav", "bad.wav", "d.wav"]
    assert (summary.recordings, summary.resumed, summary.failed) == (4, 1, 1)
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
    with pytest.raises(RunInterrupted, match=r"2 of 3 recordings are finished: .*o\.csv\.partial keeps"):
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
    with pytest.raises(ConfigError, match="leaves nothing to resume") as raised:
        run(recordings(tmp_path, "a.wav"), None, resume=True)
    assert raised.value.remedies == (Remedy.WITH_OUTPUT,)
    with pytest.raises(ConfigError, match="expected an output ending in"):
        run(recordings(tmp_path, "a.wav"), tmp_path / "o.xlsx")
    with pytest.raises(ConfigError, match=r"a number of jobs of at least 1, or -1 .* Received: 0"):
        Run(jobs=0)
