"""Augment: a labelled corpus in, a folder of changed copies out, with a manifest that says how each was made."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from serctl import __version__
from serctl.audio.file import RecordingFile
from serctl.audio.segments import read_audio, read_header
from serctl.corpora import Corpus, Utterance, load_corpora
from serctl.corpora.columns import LABEL_COLUMNS
from serctl.corpora.copies import copy_targets
from serctl.corpora.manifest import label_cells, write_manifest
from serctl.errors import AudioError, ConfigError, CorpusError, Failure, Remedy, RunInterrupted
from serctl.files import claim
from serctl.reports.journal import Journal
from serctl.run import Progress, Run
from serctl.texts import counted
from serctl.transforms.apply import apply_transforms, file_generator
from serctl.transforms.babble import Babble
from serctl.transforms.noise import Noise
from serctl.transforms.spectral_mask import SpectralMask
from serctl.transforms.speed import Speed
from serctl.verbs.batch import STATUS_ERROR, STATUS_OK, BatchSummary, Table
from serctl.verbs.copies import MANIFEST, RECORD, check_places, make_output, prepare, remove_drafts, write_copy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from serctl.audio.decode import AudioInfo
    from serctl.corpora.manifest import Cell
    from serctl.transforms.parameters import Parameters, Transform

COLUMNS = (
    *(*LABEL_COLUMNS, "source", "source_start", "source_end", "source_digest", "copy"),
    *("transforms", "parameters", "seed"),
)
"""The columns of the manifest; times and durations in seconds. copy is 0 for an original, which has no transforms."""

LONGEST_S = 600.0
"""An utterance is transformed as a whole, in memory; beyond ten minutes that is refused."""


@dataclass(frozen=True)
class AugmentOptions:
    """How to augment each utterance.

    Attributes:
        copies: number of copies; each passes through all transforms.
        transforms: in the order in which they are applied.
        include_originals: list the originals in the manifest too, at their own paths, so that training sees both.

    Raises:
        ConfigError: a value is out of range, or a transform is missing or given twice.
    """

    copies: int = 1
    transforms: tuple[Transform, ...] = (Speed(), Noise(), SpectralMask())
    seed: int = 0
    include_originals: bool = False

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise ConfigError(f"expected at least 1 copy. Received: {self.copies}")
        if self.seed < 0:
            raise ConfigError(f"expected a seed from 0 up. Received: {self.seed}")
        if not self.transforms or len({type(transform) for transform in self.transforms}) < len(self.transforms):
            raise ConfigError("expected at least one transform, and each at most once")

    def fingerprint(self) -> str:
        """Determines the copies together with the recordings; guards what may be resumed."""
        transforms = [transform.to_dict() for transform in self.transforms]
        return json.dumps(["augment", __version__, self.copies, self.seed, transforms])


@dataclass
class AugmentSummary(BatchSummary):
    """What a run did; recordings counts utterances, emotions and audio_s their copies.

    test_utterances were left alone because a manifest or the corpus marks them as test; problems counts what was wrong
    with the corpora themselves, such as a listed file that is not there.
    """

    copies: int = 0
    test_utterances: int = 0
    problems: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        own = {"copies": self.copies, "test_utterances": self.test_utterances, "problems": self.problems}
        return super().to_dict() | own


@dataclass(frozen=True)
class _Job:
    """An utterance to augment, its copies' common path below the output without .augN.wav, and its source's state."""

    utterance: Utterance
    target: str
    source_state: str

    @property
    def source(self) -> dict[str, str | float | None]:
        """Identifies the source: what was made from another one, or from another state of it, is out of date."""
        utterance = self.utterance
        span = {"start": utterance.start_s, "end": utterance.end_s}
        return {"path": str(utterance.path.absolute()), "state": self.source_state, **span}


def augment(
    paths: Sequence[Path],
    *,
    output: Path,
    options: AugmentOptions | None = None,
    run: Run | None = None,
) -> AugmentSummary:
    """Write changed copies of the utterances of corpora, and OUTPUT/manifest.csv, which is a corpus itself.

    Copies are mono WAV at the rate of their source, in 16 bits, or in 24 where the source has more: as
    OUTPUT/CORPUS/FOLDERS/NAME.augN.wav. Those of a name that another utterance has taken (a second suffix or another
    part of the same recording) are NAME-2.augN.wav and so on. A copy depends on the seed, its number and the content of
    its source alone.

    What is marked test is left alone, and not listed either. An utterance that cannot be read is a failure in the
    summary and has no row; the others are not affected. The manifest is written at the end; what is finished before is
    kept for resume, which makes only copies that are missing, failed or older than their source. A hidden file beside
    the manifest keeps the account.

    Args:
        paths: folders of corpora, or manifests.
        output: folder for the copies.
        options: what to make of each utterance.
        run: how to work; of it jobs, resume, overwrite and progress.

    Returns:
        What was done.

    Raises:
        ConfigError: the output is in use and neither resume nor overwrite is given, holds anything else than an earlier
            run's copies, lies in a corpus or a corpus in it, or resume meets other options.
        CorpusError: a path is no corpus, or all is marked test.
        AudioError: a noise file cannot be read.
        RunInterrupted: Ctrl-C; it says what is kept.
    """
    start = time.monotonic()
    options = options or AugmentOptions()
    run = run or Run()
    corpora = load_corpora(paths)
    check_places(paths, corpora, output)
    _check_noise(options)
    todo, test_utterances = _plan(corpora)
    summary = AugmentSummary(test_utterances=test_utterances, problems=sum(len(corpus.problems) for corpus in corpora))
    make_output(output)
    with claim(output / MANIFEST):
        prepare(output, resume=run.resume, overwrite=run.overwrite)
        with Journal(output / RECORD, fingerprint=options.fingerprint(), resume=run.resume) as journal:
            _make_copies(todo, journal, summary, output=output, options=options, run=run)
            write_manifest(output / MANIFEST, _rows(todo, journal, options), COLUMNS)
    summary.wall_s = time.monotonic() - start
    return summary


# Before the work starts


def _check_noise(options: AugmentOptions) -> None:
    """Read the headers before the run: a bad noise file would otherwise fail the copies that draw it."""
    for transform in options.transforms:
        for path in _added_files(transform):
            read_header(path)


def _added_files(transform: Transform) -> tuple[Path, ...]:
    """The recordings that a transform adds to others."""
    if isinstance(transform, Babble):
        return transform.voice_files
    return transform.noise_files if isinstance(transform, Noise) else ()


# What to make, and where


def _plan(corpora: Sequence[Corpus]) -> tuple[list[_Job], int]:
    """A job for each utterance that is not marked test, and how many are."""
    jobs = [_Job(utterance, target, _state(utterance.path)) for utterance, target in copy_targets(corpora)]
    marked = sum(len(corpus.utterances) for corpus in corpora) - len(jobs)
    if not jobs:
        raise CorpusError(f"nothing to augment: all {marked} utterances are marked test")
    return jobs, marked


def _state(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "unreadable"
    return f"{status.st_size} {status.st_mtime_ns}"


# The work


def _make_copies(
    todo: Sequence[_Job],
    journal: Journal,
    summary: AugmentSummary,
    *,
    output: Path,
    options: AugmentOptions,
    run: Run,
) -> None:
    """Make what the journal does not have yet, and account for all of it in the journal and the summary."""
    missing = []
    for job in todo:
        if _is_done(job, journal, output):
            _count(summary, job, journal.read(job.target), earlier=True)
        else:
            missing.append(job)
    make = partial(augment_utterance, output=output, options=options)
    try:
        with closing(run.map(make, missing)) as results:
            for index, result in results:
                job = missing[index]
                table = _error_table(result) if isinstance(result, Failure) else result
                journal.add(job.target, table | {"source": job.source})
                _count(summary, job, table)
                run.progress(Progress(summary.recordings, len(todo), summary.failed))
    except KeyboardInterrupt:
        remove_drafts(output)
        verb = "is" if summary.recordings == 1 else "are"
        done = f"{summary.recordings} of {counted(len(todo), 'utterance')} {verb} finished and kept in {output}"
        raise RunInterrupted(done, Remedy.RESUME) from None


def _is_done(job: _Job, journal: Journal, output: Path) -> bool:
    if job.target not in journal:
        return False
    table = journal.read(job.target)
    if table["source"] != job.source or table["status"] != STATUS_OK:
        return False
    return all((output / copy["path"]).is_file() for copy in table["copies"])


def _error_table(failure: Failure) -> Table:
    return {"status": STATUS_ERROR, "error": failure.message, "copies": []}


def _count(summary: AugmentSummary, job: _Job, table: Table, *, earlier: bool = False) -> None:
    copies = table["copies"]
    duration_s = sum(copy["duration"] for copy in copies)
    emotions = [job.utterance.emotion] * len(copies)
    summary.copies += len(copies)
    row = table | {"path": str(job.utterance.path), "duration": duration_s, "emotion": emotions}
    summary.count(row, earlier=earlier)


def augment_utterance(job: _Job, *, output: Path, options: AugmentOptions) -> Table:
    """Write the copies of one utterance and describe them; runs in a worker process.

    Args:
        job: the utterance, and where its copies lie.
        output: folder of all copies.
        options: how many copies, and how they are changed.

    Returns:
        What the manifest says of them.

    Raises:
        AudioError: the recording cannot be read, or the utterance is too long.
        ConfigError: a copy cannot be written.
    """
    utterance = job.utterance
    with RecordingFile(utterance.path) as file:
        digest = file.digest()
        header = read_header(file)
        _check_length(utterance, header)
        rate = header.sample_rate
        samples = read_audio(file, sample_rate=rate, start_s=utterance.start_s, end_s=utterance.end_s)
    copies = []
    for number in range(1, options.copies + 1):
        rng = file_generator(options.seed, digest, number, start_s=utterance.start_s)
        changed, parameters = apply_transforms(samples, rate, transforms=options.transforms, rng=rng)
        path = f"{job.target}.aug{number}.wav"
        write_copy(output / path, changed, header)
        copies.append(_copy_facts(path, len(changed) / rate, parameters))
    return {"status": STATUS_OK, "duration": len(samples) / rate, "source_digest": digest, "copies": copies}


def _copy_facts(path: str, duration_s: float, parameters: Parameters) -> Table:
    return {"path": path, "duration": duration_s, "parameters": parameters}


def _check_length(utterance: Utterance, header: AudioInfo) -> None:
    end_s = header.duration_s if utterance.end_s is None else min(utterance.end_s, header.duration_s)
    if end_s - utterance.start_s > LONGEST_S:
        raise AudioError(
            f"{utterance.path}: an utterance of {end_s - utterance.start_s:.0f} s, expected at most {LONGEST_S:.0f} s: "
            "give its parts in a manifest, with start and end"
        )


# The manifest


def _rows(jobs: Iterable[_Job], journal: Journal, options: AugmentOptions) -> Iterator[Mapping[str, Cell]]:
    transforms = "+".join(str(transform.to_dict()["transform"]) for transform in options.transforms)
    for job in jobs:
        table = journal.read(job.target)
        if table["status"] != STATUS_OK:
            continue
        labels = _labels(job.utterance, table["source_digest"])
        if options.include_originals:
            yield labels | _original(job.utterance, table["duration"])
        for number, copy in enumerate(table["copies"], start=1):
            yield labels | {
                "path": copy["path"],
                "duration": round(copy["duration"], 3),
                "copy": number,
                "transforms": transforms,
                "parameters": json.dumps(copy["parameters"], ensure_ascii=False),
                "seed": options.seed,
            }


def _labels(utterance: Utterance, digest: str) -> dict[str, Cell]:
    """Labels and source; a copy of a copy has the source of that copy."""
    source: dict[str, Cell] = {"source": str(utterance.path.absolute()), "source_digest": utterance.source or digest}
    if not utterance.is_copy:
        span: dict[str, Cell] = {"source_start": utterance.start_s or None, "source_end": utterance.end_s}
        source |= span | {"source_digest": digest}
    return label_cells(utterance) | source


def _original(utterance: Utterance, duration_s: float) -> dict[str, Cell]:
    return {
        "path": str(utterance.path.absolute()),
        "start": utterance.start_s or None,
        "end": utterance.end_s,
        "duration": round(duration_s, 3),
        "copy": int(utterance.is_copy),
    }
