"""Run a function over recordings and turn the results into one report: nothing lost, in the order of the inputs."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from serctl import __version__
from serctl.errors import ConfigError, Failure, Remedy, RunInterrupted, StoppedAtFailureError
from serctl.files import claim, is_stream
from serctl.reports.journal import Journal, journal_path
from serctl.reports.ledger import Ledger, Part, read_ledger, read_tables, write_ledger
from serctl.reports.schema import headers, report_format, utf8
from serctl.reports.tables import Writer, check_output, write_report
from serctl.run import Progress, Run, listening
from serctl.texts import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from serctl.audio.find import Recording
    from serctl.reports.schema import Columns


Table = dict[str, Any]


def ignore_table(table: Table) -> None:
    """Do nothing with a finished recording's table."""


STATUS_OK = "ok"
STATUS_ERROR = "error"


@dataclass
class BatchSummary:
    """What a batch did: recordings, failures by message, seconds of audio, wall seconds, and what it found.

    audio_s: of all recordings that succeeded. new_audio_s: of those that this run worked on; the others, resumed of
    them, were finished in an earlier run. notes: what else there is to say, one sentence each. transcripts: how many
    answers used theirs, ignored it, or had none, where transcripts were given. others: how many files of each suffix
    were no recordings, and so were left out. finished: the report was there already, and nothing was done. outdated: so
    many recordings are not in it as they are now.
    """

    recordings: int = 0
    failed: int = 0
    resumed: int = 0
    audio_s: float = 0.0
    new_audio_s: float = 0.0
    wall_s: float = 0.0
    emotions: Counter[str] = field(default_factory=Counter)
    transcripts: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    finished: bool = False
    outdated: int = 0

    def count(self, table: Table, *, earlier: bool = False) -> None:
        """Take in the table of one recording; earlier: it was finished in an earlier run."""
        self.recordings += 1
        self.resumed += earlier
        if _status(table) == STATUS_ERROR:
            self.failed += 1
            self.failures.append((table["path"], table["error"]))
            return
        duration_s = float(table.get("duration") or 0)
        self.audio_s += duration_s
        self.new_audio_s += 0.0 if earlier else duration_s
        for counter, column in ((self.emotions, "emotion"), (self.transcripts, "text")):
            values = table.get(column) or []
            counter.update([values] if isinstance(values, str) else values)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        return {
            "recordings": self.recordings,
            "succeeded": self.recordings - self.failed,
            "failed": self.failed,
            "resumed": self.resumed,
            "audio_s": round(self.audio_s, 3),
            "new_audio_s": round(self.new_audio_s, 3),
            "wall_s": round(self.wall_s, 3),
            "emotions": dict(self.emotions.most_common()),
            "transcripts": dict(self.transcripts.most_common()),
            "failures": [{"path": path, "error": error} for path, error in self.failures],
            "notes": self.notes,
            "not_recordings": dict(self.others.most_common()),
        }


def run_batch(
    recordings: Sequence[Recording],
    function: Callable[[Path], Table],
    *,
    columns: Columns,
    fingerprint: str,
    output: Path | None,
    run: Run,
    on_table: Callable[[Table], None],
    writer: Writer | None = None,
    started: float | None = None,
) -> BatchSummary:
    """Apply the function to every recording and write the report, or hand the tables out one by one without an output.

    Args:
        recordings: the inputs, in the order of the report.
        function: importable by name in another process (a partial of one is); returns the table of a path, whose
            scalars and columns are named as in columns, with path, status and error. An exception becomes an error row.
        columns: of the report.
        fingerprint: all settings that determine the results of an input; an output of another one is not resumed.
        output: the report; None to write none.
        run: workers, progress, resume and overwrite.
        on_table: receives every table in the order of the inputs when there is no output.
        writer: of an output that is no table; None for that of its suffix.
        started: when the work began, in seconds of time.monotonic, for the wall time; None for now.

    Returns:
        Counts and failures of the run.

    Raises:
        StoppedAtFailureError: a recording failed, with run.fail_fast.
        RunInterrupted: Ctrl-C; the message names where the finished part is kept.
    """
    started = time.monotonic() if started is None else started
    try:
        if output is None:
            summary = _stream(run.share(recordings), function, run, on_table)
        else:
            _check_writer(writer, output, run)
            with claim(output):
                summary = _report(recordings, function, output, columns, fingerprint, run, writer)
    except StoppedAtFailureError as stop:
        stop.summary.wall_s = time.monotonic() - started
        raise
    summary.wall_s = time.monotonic() - started
    return summary


def _check_writer(writer: Writer | None, output: Path, run: Run) -> None:
    """Raise ConfigError if the output cannot hold what is asked for."""
    if writer is None:
        report_format(output)
    elif run.update:
        raise ConfigError(f"{output} cannot be updated: expected a table", Remedy.TABLE_OUTPUT)
    elif run.shard:
        raise ConfigError(f"{output} cannot be merged with other shards: expected a table", Remedy.TABLE_OUTPUT)


def _stream(
    recordings: Sequence[Recording],
    function: Callable[[Path], Table],
    run: Run,
    on_table: Callable[[Table], None],
) -> BatchSummary:
    if run.resume or run.update:
        raise ConfigError("a run that only prints leaves nothing to resume or to update", Remedy.WITH_OUTPUT)
    summary = BatchSummary()
    early: dict[int, Table] = {}
    following = 0
    show = _progress(run, summary, len(recordings))
    with listening(show):
        for index, table in _tables(recordings, function, run):
            early[index] = table
            while following in early:
                on_table(early.pop(following))
                following += 1
            summary.count(table)
            show()
            _stop_at_failure(table, run, summary, "the rows before it are complete")
    return summary


def _report(
    recordings: Sequence[Recording],
    function: Callable[[Path], Table],
    output: Path,
    columns: Columns,
    fingerprint: str,
    run: Run,
    writer: Writer | None,
) -> BatchSummary:
    """Write the report, unless it is finished and only to be resumed."""
    part = _part(recordings, columns, run)
    recordings = run.share(recordings)
    keys = [_key(recording) for recording in recordings]
    made_by = json.dumps([fingerprint, headers(columns), __version__])
    ledger = read_ledger(output)
    if _is_finished(output, run):
        if ledger:
            ledger.check(output, fingerprint=made_by, shard=run.shard)
        return _finished(output, columns, keys, ledger, is_table=writer is None)
    check_output(output, overwrite=run.overwrite or run.update, resume=run.resume or run.update)
    with Journal(output, fingerprint=f"{fingerprint}{run.shard or ''}", resume=run.resume or run.update) as journal:
        if run.update and output.is_file():
            _keep_earlier(journal, output, columns, keys, _checked(ledger, output, made_by, run))
        summary = _write(recordings, keys, function, journal, run)
        write_report(output, columns=columns, tables=map(journal.read, keys), writer=writer)
        if not is_stream(output):
            write_ledger(output, fingerprint=made_by, keys=keys, part=part, failed=summary.failed)
        journal.discard()
    return summary


def _part(recordings: Sequence[Recording], columns: Columns, run: Run) -> Part | None:
    """What the ledger says of a report that is one share of all recordings."""
    if run.shard is None:
        return None
    sources = tuple(each.source for each in run.share(recordings))
    return Part(run.shard, len(recordings), sources, tuple(columns))


def _is_finished(output: Path, run: Run) -> bool:
    """Whether a run is to be resumed that left nothing to do."""
    interrupted = journal_path(output).exists()
    return run.resume and not (interrupted or run.overwrite or run.update) and output.is_file()


def _finished(
    output: Path, columns: Columns, keys: Sequence[str], ledger: Ledger | None, *, is_table: bool
) -> BatchSummary:
    """What the report says already; the summary counts the recordings that it does not know as they are now."""
    summary = BatchSummary(finished=True)
    if ledger:
        summary.outdated = len(set(keys).difference(ledger.keys))
        if not is_table:
            summary.recordings, summary.resumed, summary.failed = len(ledger.keys), len(ledger.keys), ledger.failed
        for table in read_tables(output, columns) if is_table and ledger.describes(output) else ():
            summary.count(table, earlier=True)
    return summary


def _checked(ledger: Ledger | None, output: Path, made_by: str, run: Run) -> Ledger:
    """The ledger of a report that this run may update."""
    if ledger is None:
        raise ConfigError(f"nothing tells which recordings {output} is about", Remedy.OVERWRITE, Remedy.OTHER_OUTPUT)
    ledger.check(output, fingerprint=made_by, shard=run.shard)
    if not ledger.describes(output):
        raise ConfigError(f"{output} was changed since it was written", Remedy.OVERWRITE, Remedy.OTHER_OUTPUT)
    return ledger


def _keep_earlier(journal: Journal, output: Path, columns: Columns, keys: Sequence[str], ledger: Ledger) -> None:
    """Put into the journal what an earlier report says of recordings that are as they were."""
    unchanged = {utf8(key.split("\0")[0]): key for key in set(keys).intersection(ledger.keys)}
    for table in read_tables(output, columns):
        key = unchanged.get(table["path"])
        if key is not None and key not in journal:
            journal.add(key, table)


def _write(
    recordings: Sequence[Recording],
    keys: Sequence[str],
    function: Callable[[Path], Table],
    journal: Journal,
    run: Run,
) -> BatchSummary:
    """Do what the journal does not have yet."""
    summary = BatchSummary()
    todo = []
    for recording, key in zip(recordings, keys, strict=True):
        if key in journal and _status(table := journal.read(key)) != STATUS_ERROR:
            summary.count(table, earlier=True)
        else:
            todo.append((recording, key))
    kept = f"{journal.path} keeps what is finished"
    show = _progress(run, summary, len(recordings))
    try:
        with listening(show):
            for index, table in _tables([recording for recording, _ in todo], function, run):
                journal.add(todo[index][1], table)
                summary.count(table)
                show()
                _stop_at_failure(table, run, summary, kept, Remedy.RESUME)
    except KeyboardInterrupt:
        verb = "is" if summary.recordings == 1 else "are"
        done = f"{summary.recordings} of {counted(len(recordings), 'recording')} {verb} finished"
        raise RunInterrupted(f"{done} and kept in {journal.path}", Remedy.RESUME) from None
    return summary


def _tables(
    recordings: Sequence[Recording], function: Callable[[Path], Table], run: Run
) -> Iterator[tuple[int, Table]]:
    for index, result in run.map(function, [recording.path for recording in recordings]):
        yield index, _error_table(recordings[index].path, result) if isinstance(result, Failure) else result


def _progress(run: Run, summary: BatchSummary, total: int) -> Callable[..., None]:
    """Tell run.progress how far the summary is; called with the position in seconds within a recording."""

    def show(position_s: float = 0.0) -> None:
        run.progress(Progress(summary.recordings, total, summary.failed, position_s))

    show()
    return show


def _error_table(path: Path, failure: Failure) -> Table:
    return {"path": str(path), "status": STATUS_ERROR, "error": failure.message}


def _status(table: Table) -> str:
    status: str = table["status"]
    return status


def _stop_at_failure(table: Table, run: Run, summary: BatchSummary, kept: str, *remedies: Remedy) -> None:
    if run.fail_fast and _status(table) == STATUS_ERROR:
        raise StoppedAtFailureError(
            f"stopped at the first failure: {table['error']}; {kept}", *remedies, summary=summary
        )


def _key(recording: Recording) -> str:
    """Names a recording and its state: one that changed since an interrupted run is done again."""
    path = recording.path
    if recording.state:
        return f"{path}\0{recording.state}"
    try:
        status = os.stat(path)  # noqa: PTH116 - a hundred thousand of them
    except (OSError, ValueError):
        return f"{path}\0unreadable"
    return f"{path}\0{status.st_size}\0{status.st_mtime_ns}"
