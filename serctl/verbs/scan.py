"""Scan corpora: what is recognised, how much of it there is, what is wrong; and one manifest of it all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import soundfile

from serctl.corpora import Corpus, Utterance, citation_of, licence_of, load_corpora
from serctl.errors import ConfigError
from serctl.files import atomic_path, claiming
from serctl.reports.tables import check_output
from serctl.run import Progress, ProgressCallback, Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

COLUMNS = (
    "path",
    "emotion",
    "speaker",
    "gender",
    "language",
    "text",
    "start",
    "end",
    "split",
    "corpus",
    "duration",
)
"""The columns of the manifest that scan writes; times and durations in seconds."""

SUFFIXES = (".csv", ".parquet")

_Cell = str | float | None
_UNKNOWN_FRAMES = 1 << 40


@dataclass(frozen=True)
class CorpusReport:
    """One corpus in figures. emotions, genders and languages count utterances; hours counts what could be read."""

    name: str
    root: Path | None
    utterances: int
    speakers: int
    hours: float
    emotions: Mapping[str, int]
    genders: Mapping[str, int]
    languages: Mapping[str, int]
    problems: tuple[str, ...]
    licence: str | None
    citation: str | None


@dataclass(frozen=True)
class ScanResult:
    """A report for each corpus, the manifest that was written, if any, and its rows."""

    corpora: tuple[CorpusReport, ...]
    manifest: Path | None
    rows: tuple[Mapping[str, _Cell], ...] = ()


@claiming
def scan(paths: Sequence[Path], *, output: Path | None = None, run: Run | None = None) -> ScanResult:
    """Recognise the corpora at paths and count what is in them; write their utterances to output as one manifest.

    Only the headers of the recordings are read. One that cannot be read is a problem of its corpus, and stays in the
    manifest without a duration. Paths in the manifest are relative to its folder where they are below it.
    Raises CorpusError if a path is no corpus, ConfigError if output is neither .csv nor .parquet, or exists already
    and is not to be overwritten.
    """
    run = run or Run()
    if output:
        _check_output(output, overwrite=run.overwrite)
    corpora = load_corpora(paths)
    durations, unreadable = _durations(corpora, run.progress)
    rows = tuple(_row(utterance, durations, output) for corpus in corpora for utterance in corpus.utterances)
    if output:
        _write(output, rows)
    reports = [report for corpus in corpora for report in _reports(corpus, durations, unreadable)]
    return ScanResult(corpora=tuple(reports), manifest=output, rows=rows)


def _check_output(output: Path, *, overwrite: bool) -> None:
    if output.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{output}: expected a manifest named {' or '.join(f'*{suffix}' for suffix in SUFFIXES)}")
    check_output(output, overwrite=overwrite, resume=False)


def _durations(corpora: Iterable[Corpus], progress: ProgressCallback) -> tuple[dict[Path, float], dict[Path, str]]:
    """The duration of each recording in seconds, and of those that cannot be read, why."""
    durations: dict[Path, float] = {}
    unreadable: dict[Path, str] = {}
    paths = dict.fromkeys(utterance.path for corpus in corpora for utterance in corpus.utterances)
    for done, path in enumerate(paths, start=1):
        duration_s = _header_duration(path)
        if isinstance(duration_s, str):
            unreadable[path] = f"{path}: {duration_s}"
        else:
            durations[path] = duration_s
        progress(Progress(done, len(paths), len(unreadable)))
    return durations, unreadable


def _header_duration(path: Path) -> float | str:
    """The duration that the header gives, in seconds, or why there is none."""
    try:
        header = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        return f"cannot be read as audio: {error.error_string}"
    # A stream that was never closed has the largest possible length in its header.
    return header.duration if header.frames < _UNKNOWN_FRAMES else "its header does not tell its length"


def _duration(utterance: Utterance, durations: Mapping[Path, float]) -> float | None:
    whole_s = durations.get(utterance.path)
    if whole_s is None:
        return None
    end_s = whole_s if utterance.end_s is None else min(utterance.end_s, whole_s)
    return max(end_s - utterance.start_s, 0.0)


def _reports(corpus: Corpus, durations: Mapping[Path, float], unreadable: Mapping[Path, str]) -> list[CorpusReport]:
    """One report, or one for each corpus that a joint manifest names; what is wrong with the manifest comes first."""
    by_name: dict[str, list[Utterance]] = {}
    for utterance in corpus.utterances:
        by_name.setdefault(utterance.corpus, []).append(utterance)
    reports = []
    for number, (name, utterances) in enumerate(sorted(by_name.items())):
        paths = dict.fromkeys(utterance.path for utterance in utterances)
        problems = (
            *(corpus.problems if number == 0 else ()),
            *(unreadable[path] for path in paths if path in unreadable),
        )
        reports.append(_report(name, corpus.root, utterances, durations, problems))
    return reports


def _report(
    name: str,
    root: Path | None,
    utterances: Sequence[Utterance],
    durations: Mapping[Path, float],
    problems: tuple[str, ...],
) -> CorpusReport:
    seconds = sum(_duration(utterance, durations) or 0.0 for utterance in utterances)
    return CorpusReport(
        name=name,
        root=root,
        utterances=len(utterances),
        speakers=len({utterance.speaker_id for utterance in utterances if utterance.speaker_id}),
        hours=seconds / 3600,
        emotions=_counts(utterance.emotion for utterance in utterances),
        genders=_counts(utterance.gender for utterance in utterances),
        languages=_counts(utterance.language for utterance in utterances),
        problems=problems,
        licence=licence_of(name),
        citation=citation_of(name),
    )


def _counts(values: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(value for value in values if value is not None).items()))


def _row(utterance: Utterance, durations: Mapping[Path, float], output: Path | None) -> dict[str, _Cell]:
    duration = _duration(utterance, durations)
    return {
        "path": _written_path(utterance.path, output),
        "emotion": utterance.emotion,
        "speaker": utterance.speaker,
        "gender": utterance.gender,
        "language": utterance.language,
        "text": utterance.text,
        "start": utterance.start_s or None,
        "end": utterance.end_s,
        "split": utterance.split,
        "corpus": utterance.corpus,
        "duration": None if duration is None else round(duration, 3),
    }


def _written_path(recording: Path, output: Path | None) -> str:
    if output is None:
        return str(recording)
    # absolute, not resolve: a corpus of links is to be read through the links again.
    absolute = recording.absolute()
    folder = output.absolute().parent
    return absolute.relative_to(folder).as_posix() if absolute.is_relative_to(folder) else str(absolute)


def _write(output: Path, rows: Sequence[Mapping[str, _Cell]]) -> None:
    import pandas as pd

    table = pd.DataFrame(list(rows), columns=list(COLUMNS))
    with atomic_path(output) as draft:
        if output.suffix.lower() == ".parquet":
            numbers = dict.fromkeys(("start", "end", "duration"), "float64")
            texts = {name: "string" for name in COLUMNS if name not in numbers}
            table.astype({**numbers, **texts}).to_parquet(draft, index=False)
        else:
            # surrogateescape: file names need not be valid UTF-8, and are read back the same way.
            table.to_csv(draft, index=False, lineterminator="\n", errors="surrogateescape")
