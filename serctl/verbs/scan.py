"""Scan corpora: what is recognised, how much of it there is, what is wrong; and one manifest of it all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serctl.audio.segments import SegmentReader
from serctl.corpora import Corpus, ReadOptions, Utterance, citation_of, licence_of, load_corpora
from serctl.corpora.columns import LABEL_COLUMNS, SOURCE_COLUMNS
from serctl.corpora.manifest import WRITTEN_SUFFIXES, utterance_cells, write_manifest
from serctl.errors import ConfigError, Failure
from serctl.features import FeatureConfig, is_silent_window
from serctl.files import claiming, show_path
from serctl.reports.tables import check_output
from serctl.run import Progress, Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from serctl.corpora.manifest import Cell


_ROUNDED_S = 0.01
"""Times in manifests are rounded: what ends no more than this behind the recording ends with it."""


@dataclass(frozen=True)
class Reading:
    """What reading a recording to its end gave: its duration in seconds, and whether there is speech in it."""

    duration_s: float
    speech: bool


@dataclass(frozen=True)
class CorpusReport:
    """One corpus in figures.

    emotions, genders, languages and splits count utterances; copies those that are augmented copies; hours counts what
    could be read.
    """

    name: str
    root: Path | None
    utterances: int
    copies: int
    speakers: int
    hours: float
    emotions: Mapping[str, int]
    genders: Mapping[str, int]
    languages: Mapping[str, int]
    splits: Mapping[str, int]
    problems: tuple[str, ...]
    licence: str | None
    citation: str | None


@dataclass(frozen=True)
class ScanResult:
    """A report for each corpus, the manifest that was written, if any, its columns and rows."""

    corpora: tuple[CorpusReport, ...]
    manifest: Path | None
    columns: tuple[str, ...] = ()
    rows: tuple[Mapping[str, Cell], ...] = ()


@claiming
def scan(
    paths: Sequence[Path],
    *,
    output: Path | None = None,
    options: ReadOptions | None = None,
    run: Run | None = None,
) -> ScanResult:
    """Recognise corpora and count what is in them; write their utterances as one manifest.

    Every recording is read to its end, as training and prediction read it. One that cannot be read is a problem of its
    corpus, and stays in the manifest without a duration; one without speech is a problem, too. Paths in the manifest
    are relative to its folder where they are below it.

    Args:
        paths: folders of corpora, or manifests.
        output: the manifest to write, *.csv or *.parquet; None writes none.
        options: names of columns and meanings of labels that are not the usual ones.
        run: how to work; of it jobs, overwrite and progress.

    Returns:
        A report for each corpus.

    Raises:
        CorpusError: a path is no corpus.
        ConfigError: output has another suffix, or exists already and is not to be overwritten.
    """
    run = run or Run()
    if output:
        _check_output(output, overwrite=run.overwrite)
    corpora = load_corpora(paths, options)
    utterances = [utterance for corpus in corpora for utterance in corpus.utterances]
    durations, faults = _read(utterances, run)
    columns = _columns(utterances)
    folder = output.parent if output else None
    rows = tuple(utterance_cells(each, folder, _duration(each, durations)) for each in utterances)
    if output:
        write_manifest(output, rows, columns)
    reports = [report for corpus in corpora for report in _reports(corpus, durations, faults)]
    return ScanResult(corpora=tuple(reports), manifest=output, columns=columns, rows=rows)


def _check_output(output: Path, *, overwrite: bool) -> None:
    if output.suffix.lower() not in WRITTEN_SUFFIXES:
        expected = " or ".join(f"*{suffix}" for suffix in WRITTEN_SUFFIXES)
        raise ConfigError(f"{output}: expected a manifest named {expected}")
    check_output(output, overwrite=overwrite, resume=False)


def _read(utterances: Iterable[Utterance], run: Run) -> tuple[dict[Path, float], dict[Path, str]]:
    """The duration of each recording in seconds, and what is wrong with those that cannot be read or hold no speech."""
    durations: dict[Path, float] = {}
    faults: dict[Path, str] = {}
    paths = list(dict.fromkeys(utterance.path for utterance in utterances))
    for done, (index, result) in enumerate(run.map(read_recording, paths), start=1):
        if isinstance(result, Failure):
            faults[paths[index]] = result.message
        else:
            durations[paths[index]] = result.duration_s
            if not result.speech:
                faults[paths[index]] = f"{show_path(paths[index])} holds no speech"
        run.progress(Progress(done, len(paths), done - len(durations)))
    return durations, faults


def read_recording(path: Path) -> Reading:
    """Read a recording as training and prediction do; runs in a worker process.

    Raises:
        AudioError: it cannot be read to its end.
    """
    config = FeatureConfig()
    reader = SegmentReader(path, sample_rate=config.sample_rate, window_s=config.window_s)
    silent = [is_silent_window(segment.samples, config) for segment in reader]
    return Reading(reader.info.duration_s, not all(silent))


def _duration(utterance: Utterance, durations: Mapping[Path, float]) -> float | None:
    whole_s = durations.get(utterance.path)
    if whole_s is None:
        return None
    end_s = whole_s if utterance.end_s is None else min(utterance.end_s, whole_s)
    return max(end_s - utterance.start_s, 0.0)


def _reports(corpus: Corpus, durations: Mapping[Path, float], faults: Mapping[Path, str]) -> list[CorpusReport]:
    """One report, or one for each corpus that a joint manifest names; what is wrong with the manifest comes first."""
    by_name: dict[str, list[Utterance]] = {}
    for utterance in corpus.utterances:
        by_name.setdefault(utterance.corpus, []).append(utterance)
    reports = []
    for number, (name, utterances) in enumerate(sorted(by_name.items())):
        paths = dict.fromkeys(utterance.path for utterance in utterances)
        problems = (
            *(corpus.problems if number == 0 else ()),
            *(faults[path] for path in paths if path in faults),
            *_beyond_the_end(utterances, durations),
        )
        reports.append(_report(name, corpus.root, utterances, durations, problems))
    return reports


def _beyond_the_end(utterances: Iterable[Utterance], durations: Mapping[Path, float]) -> Iterator[str]:
    for utterance in utterances:
        whole_s = durations.get(utterance.path)
        if whole_s is None:
            continue
        lasts = f"{utterance.path}: lasts {whole_s:.3f} s"
        if utterance.start_s >= whole_s:
            yield f"{lasts}: there is nothing to read from {utterance.start_s:.3f} s on"
        elif utterance.end_s is not None and utterance.end_s > whole_s + _ROUNDED_S:
            yield f"{lasts}: an utterance ends at {utterance.end_s:.3f} s, and is read up to the recording's end"


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
        copies=sum(utterance.is_copy for utterance in utterances),
        speakers=len({utterance.speaker_id for utterance in utterances if utterance.speaker_id}),
        hours=seconds / 3600,
        emotions=_counts(utterance.emotion for utterance in utterances),
        genders=_counts(utterance.gender for utterance in utterances),
        languages=_counts(utterance.language for utterance in utterances),
        splits=_counts(utterance.split for utterance in utterances),
        problems=problems,
        licence=licence_of(name),
        citation=citation_of(name),
    )


def _counts(values: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(value for value in values if value is not None).items()))


def _columns(utterances: Iterable[Utterance]) -> tuple[str, ...]:
    """Those of every manifest, and those of sources where there is any."""
    return (*LABEL_COLUMNS, *SOURCE_COLUMNS) if any(each.source for each in utterances) else LABEL_COLUMNS
