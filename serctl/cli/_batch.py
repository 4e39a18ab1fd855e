"""What the commands that run over recordings share: their inputs, their output to stdout, their summary."""

from __future__ import annotations

import re
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli._app import console, exit_code
from serctl.cli._remedies import with_remedies
from serctl.errors import ConfigError
from serctl.texts import counted

if TYPE_CHECKING:
    from serctl.audio.find import Search
    from serctl.errors import StoppedAtFailureError
    from serctl.verbs.batch import BatchSummary

FilesFromOption = Annotated[
    str | None,
    typer.Option("--files-from", help="Read paths from this file, one a line, or from stdin with -.", metavar="FILE|-"),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Report to write: .csv, .parquet or .jsonl. Default, or with -: CSV on stdout."
    ),
]
SummaryJsonOption = Annotated[
    Path | None,
    typer.Option("--summary-json", help="Also write the summary to this file, as JSON."),
]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", help="Refuse folders that hold files other than recordings; otherwise they are counted."),
]
RecordingsArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Recordings, or folders searched recursively for audio and video files.",
        show_default=False,
        readable=False,  # what cannot be read is an error row, as it is in a list or a folder
    ),
]


def find_inputs(paths: list[Path] | None, files_from: str | None, *, strict: bool) -> Search:
    """Find the recordings that the arguments name.

    Raises:
        ConfigError: no path is given; strict, and there are files that are no recordings.
        AudioError: there is no recording in all of the paths.
    """
    from serctl.audio.find import search

    listed = [*(paths or []), *(_listed(files_from) if files_from else [])]
    if not listed:
        raise ConfigError("no recordings given: expected paths, or --files-from FILE; see --help")
    found = search(listed)
    if strict and found.others:
        raise ConfigError(_name_others(found.others))
    return found


def _name_others(others: Counter[str], most: int = 5) -> str:
    kinds = [f"{suffix or 'without a suffix'} {count}" for suffix, count in others.most_common()]
    hidden = len(kinds) - most
    rest = [f"{hidden} more {'suffix' if hidden == 1 else 'suffixes'}"] if hidden > 0 else []
    what = "file is not a recording" if others.total() == 1 else "files are not recordings"
    return f"{others.total()} {what}: {', '.join([*kinds[:most], *rest])}"


def _listed(files_from: str) -> list[Path]:
    from serctl.errors import EncodingError
    from serctl.files import open_input
    from serctl.texts import find_file, read_text, split_list

    if files_from == "-" and sys.stdin is None:
        raise ConfigError("expected paths on stdin, which is closed")
    try:
        with nullcontext(sys.stdin.buffer) if files_from == "-" else open_input(Path(files_from), pipe=True) as stream:
            return [find_file(Path(), name) for name in split_list(read_text(stream))]
    except (OSError, EncodingError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"--files-from {files_from}: {reason}") from error


def to_file(output: Path | None) -> Path | None:
    """The file to write; None for stdout, which is also spelt -."""
    return None if output is None or str(output) == "-" else output


def check_summary_json(path: Path | None, output: Path | None) -> None:
    """Make sure, before any work, that the summary can be written.

    Args:
        path: where to; - is stdout.
        output: the report; None if it goes to stdout.

    Raises:
        ConfigError: it cannot be written, or stdout has the report already.
    """
    if path is None:
        return
    if str(path) == "-":
        if output is None:
            raise ConfigError("--summary-json - writes to stdout, as the report does: expected -o FILE with it")
        return
    from serctl.files import check_new_file, is_stream

    try:
        if output is not None and path.resolve() == output.resolve() and not is_stream(path):
            raise ConfigError(f"{path} is to hold the report: expected another file")
        check_new_file(path, overwrite=True)
    except ConfigError as error:
        raise ConfigError(f"--summary-json: {error}") from error


def finish(
    summary: BatchSummary,
    *,
    verb: str,
    output: Path | None,
    summary_json: Path | None,
    quiet: bool,
    others: Counter[str] | None = None,
) -> None:
    """Print the summary to stderr, write it as JSON where asked for, and exit with the code that tells the truth.

    Args:
        summary: what the run did.
        verb: the first word of the summary.
        output: the report.
        summary_json: where to write the summary as JSON; - is stdout.
        quiet: print one line for each kind of failure, and nothing else.
        others: how many files of each suffix were no recordings.
    """
    summary.others.update(others or {})
    if summary_json:
        _write_json(summary_json, summary)
    if quiet:
        _print_kinds(summary)
    elif summary.finished:
        console().print(_nothing_to_do(summary, output), markup=False)
    else:
        _print_summary(summary, verb, output)
    code = exit_code(done=summary.recordings, failed=summary.failed)
    if code:
        raise typer.Exit(code)


def stop_at_failure(error: StoppedAtFailureError, *, summary_json: Path | None) -> None:
    """End a run that --fail-fast stopped."""
    console().print(f"error: {with_remedies(error)}", style="red", markup=False)
    if summary_json:
        _write_json(summary_json, error.summary)
    raise typer.Exit(exit_code(done=error.summary.recordings, failed=error.summary.failed)) from error


def _write_json(path: Path, summary: BatchSummary) -> None:
    import json

    from serctl.files import atomic_path

    text = json.dumps(summary.to_dict(), indent=2) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        return
    with atomic_path(path) as draft:
        draft.write_text(text, encoding="utf-8")


def _nothing_to_do(summary: BatchSummary, output: Path | None) -> str:
    said = f"nothing to do: {output} is finished"
    if summary.failed:
        said += f"; {counted(summary.failed, 'recording')} in it failed: --update tries again"
    if summary.outdated:
        are = "recordings are" if summary.outdated > 1 else "recording is"
        said += f"; {summary.outdated} {are} new or changed since: --update adds what is new"
    return said


def _print_summary(summary: BatchSummary, verb: str, output: Path | None) -> None:
    out = console()
    done = f"{summary.recordings - summary.failed} of {counted(summary.recordings, 'recording')}"
    time_taken = "" if summary.resumed else f" in {_speed(summary)}"
    out.print(f"{verb} {done}, {_duration(summary.audio_s)} of audio{time_taken}", markup=False)
    if summary.resumed:
        out.print(_earlier(summary), markup=False)
    for note in summary.notes:
        out.print(f"note: {note}", markup=False)
    for name, counter in (("emotions", summary.emotions), ("transcripts", summary.transcripts)):
        if counter:
            counts = ", ".join(f"{value} {count}" for value, count in counter.most_common())
            out.print(f"{name}: {counts}", markup=False)
    if summary.others:
        out.print(_name_others(summary.others), markup=False)
    if summary.failed:
        _print_failures(summary)
    if output:
        out.print(f"report: {output}", markup=False)


def _earlier(summary: BatchSummary) -> str:
    """What earlier runs did, and what this one did beside them."""
    earlier = f"{summary.resumed} of them {'was' if summary.resumed == 1 else 'were'} finished in an earlier run"
    if summary.resumed == summary.recordings:
        return f"{earlier}; this run had nothing to do"
    return f"{earlier}; this run: {_duration(summary.new_audio_s)} of audio in {_speed(summary)}"


def _speed(summary: BatchSummary) -> str:
    """The wall time, and the speed by the audio that this run worked on, if there is any."""
    rate = summary.new_audio_s / max(summary.wall_s, 1e-6)
    return f"{summary.wall_s:.1f} s" + (f" ({rate:.0f} x real time)" if summary.new_audio_s else "")


def _print_failures(summary: BatchSummary, most: int = 5) -> None:
    out = console()
    out.print(f"{summary.failed} failed:", style="red")
    for path, error in summary.failures[:most]:
        # A message names its file already; the path helps where the message came from elsewhere.
        named = repr(Path(path).name)[1:-1] in error
        out.print(f"  {error if named else f'{path!r}: {error}'}", markup=False)
    if summary.failed > most:
        kinds = Counter(_cause(error) for _, error in summary.failures[most:])
        rest = ", ".join(f"{count} x {cause}" for cause, count in kinds.most_common(3))
        out.print(f"  and {summary.failed - most} more ({rest}); --summary-json lists them all", markup=False)


def _print_kinds(summary: BatchSummary) -> None:
    """One line for each kind of failure: its first message, and how many more there were like it."""
    kinds: dict[str, list[str]] = {}
    for path, error in summary.failures:
        kinds.setdefault(re.sub("[0-9]+", "0", error.replace(repr(path), "")), []).append(error)
    for first, *others in kinds.values():
        more = f" (and {len(others)} more of this kind)" if others else ""
        console().print(f"error: {first}{more}", markup=False)


def _cause(error: str) -> str:
    """The message without its file: equal for equal causes."""
    return error.rsplit("' ", 1)[-1].split(":")[0][:60]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
