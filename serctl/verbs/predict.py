"""Predict emotions: recordings in, one row for each (or for each of its windows) out."""

from __future__ import annotations

import itertools
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.audio.stretches import level_course, stretch_qualities
from serctl.errors import AudioError, ConfigError, Remedy
from serctl.features import FeatureConfig, FeatureReader, Window, is_silent
from serctl.reports.schema import Column, values_of
from serctl.run import Run, report_position
from serctl.runtime.trial import try_network
from serctl.verbs.adapt import NOT_ADAPTED, Adaptation, find_adaptation, load_recogniser
from serctl.verbs.batch import STATUS_OK, BatchSummary, Table, ignore_table, run_batch
from serctl.verbs.dimensions import DIMENSION_COLUMNS, coordinates_of, dimensions_of
from serctl.verbs.moments import (
    Mixed,
    Naming,
    Prediction,
    find_segments,
    merge,
    moment_columns,
    moments_of,
    shown_probabilities,
)
from serctl.verbs.numbers import check_number_options
from serctl.verbs.options import PredictOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from serctl.audio.find import Recording
    from serctl.bundle.facts import BundleFacts, TargetFacts
    from serctl.bundle.store import Bundle
    from serctl.cache import Cache
    from serctl.reports.tables import Writer
    from serctl.runtime.recogniser import Recogniser
    from serctl.verbs.transcribed import Transcribed, WindowWords

SHORTEST_S = 0.1
"""Shorter recordings get an error row: they are too short to predict from."""

_WINDOWS_AT_ONCE = 16


def predict(
    recordings: Sequence[Recording],
    *,
    model: Bundle,
    options: PredictOptions | None = None,
    output: Path | None = None,
    run: Run | None = None,
    on_table: Callable[[Table], None] = ignore_table,
    writer: Writer | None = None,
) -> BatchSummary:
    """Write (or hand out) the rows of every recording in input order.

    Columns: path, start, end, emotion, confidence, p_<label>..., status, error, notes, duration, sample_rate,
    channels, clipping, silence, snr_db, bandwidth_hz, model. Times in seconds. A model of numbers has a column with the
    name of its target instead of emotion, confidence and p_<label>. Unless options.channels is mix, a column `channel`
    behind path tells which one a row stands for, from 1 on. The columns of dimensions and moments follow those of the
    probabilities where the options ask for them. writer: of an output that is no table.
    Raises what batch.run_batch raises, ConfigError if the windows do not suit the model or what runs the network is
    not installed, and BundleError if novelty is asked of a model that cannot tell it.
    """
    started = time.monotonic()
    options = options or PredictOptions()
    if model.facts.target:
        check_number_options(model.facts.target.scale, options)
    try_network(model)
    load_recogniser(model.folder, model.digest)  # a network that cannot be loaded fails here, not for every recording
    analysis(model.facts.features, options)
    if options.novelty:
        _ = model.novelty  # likewise
    if options.dimensions:
        coordinates_of(model.facts.labels)
    run = run or Run()
    if run.shard and options.adapt in ("recordings", "auto"):
        raise ConfigError("a shard is not adapted to its own recordings: expected a profile of all", Remedy.PROFILE)
    adaptation = find_adaptation(recordings, options.adapt, model=model, run=run)
    transcripts = _find_transcripts(model.facts, options)
    job = Job(model.folder, model.digest, options, run.cache, adaptation, transcripts)
    summary = run_batch(
        recordings,
        partial(predict_recording, job=job),
        columns=columns(model, options),
        fingerprint=json.dumps(["predict", model.digest, _fingerprint(options, transcripts), adaptation.digest]),
        output=output,
        run=run,
        on_table=on_table,
        writer=writer,
        started=started,
    )
    summary.notes += [adaptation.note] if adaptation.note else []
    return summary


def columns(model: Bundle, options: PredictOptions | None = None) -> list[Column]:
    """The schema of the report."""
    mixed = options is None or options.channels == "mix"
    return [
        Column("path", "text"),
        *([] if mixed else [Column("channel", "int")]),
        Column("start", decimals=3),
        Column("end", decimals=3),
        *_answer_columns(model.facts),
        *(DIMENSION_COLUMNS if options and options.dimensions else []),
        *(moment_columns(model.facts.labels) if options and options.moments else []),
        *([Column("novelty", decimals=4)] if options and options.novelty else []),
        *(_text_columns(model.facts, options) if options and options.transcripts else []),
        Column("status", "text"),
        Column("error", "text"),
        Column("notes", "text"),
        Column("duration", decimals=3),
        Column("sample_rate", "int"),
        Column("channels", "int"),
        Column("clipping", decimals=4),
        Column("silence", decimals=4),
        Column("snr_db", decimals=1),
        Column("bandwidth_hz", decimals=0),
        Column("model", "text"),
        Column("adaptation", "text"),
    ]


def _answer_columns(facts: BundleFacts) -> list[Column]:
    if facts.target:
        return [Column(facts.target.scale.name, decimals=4)]
    return [
        Column("emotion", "text"),
        Column("confidence", decimals=4),
        *(Column(f"p_{label}", decimals=4) for label in facts.labels),
    ]


def _find_transcripts(facts: BundleFacts, options: PredictOptions) -> Transcribed | None:
    if options.transcripts is None:
        return None
    from serctl.verbs.transcribed import find_transcripts, open_transcribed

    if not facts.features.text_encoder:
        return find_transcripts(options.transcripts, facts.labels)
    if options.explain_modalities:
        raise ConfigError(f"{facts.name} answers from speech and words at once: nothing tells their answers apart")
    return open_transcribed(options.transcripts)


def _text_columns(facts: BundleFacts, options: PredictOptions) -> list[Column]:
    from serctl.verbs.transcribed import text_columns

    if facts.features.text_encoder:
        return [Column("text", "text")]
    return text_columns(facts.labels, explain=options.explain_modalities)


def _fingerprint(options: PredictOptions, transcripts: Transcribed | None) -> dict[str, Any]:
    """What determines a row besides the model and the statistics that it is adapted by."""
    return asdict(replace(options, adapt="none", transcripts=transcripts.digest if transcripts else None))


def _window_words(path: Path, channel: int | None, facts: BundleFacts, job: Job) -> WindowWords | None:
    """The words for a network that takes them; None for another, or without transcripts."""
    if job.transcripts is None or not facts.features.text_encoder:
        return None
    from serctl.verbs.transcribed import WindowWords

    return WindowWords(path, channel, job.transcripts, job.options.language, job.cache)


def _add_words(
    predictions: Sequence[Prediction], reader: FeatureReader, path: Path, channel: int | None, job: Job
) -> Mixed:
    """What the words of a recording add to predictions from speech; nothing without transcripts."""
    if job.transcripts is None:
        return Mixed(predictions)
    from serctl.verbs.transcribed import add_words

    recogniser = load_recogniser(job.folder, job.digest, job.adaptation)
    return add_words(
        predictions,
        path,
        channel=channel,
        transcripts=job.transcripts,
        labels=recogniser.bundle.facts.labels,
        snr_db=reader.quality.snr_db,
        language=job.options.language,
    )


@dataclass(frozen=True)
class Job:
    """What a worker process needs besides the recording."""

    folder: Path
    digest: str
    options: PredictOptions
    cache: Cache | None = None
    adaptation: Adaptation = NOT_ADAPTED
    transcripts: Transcribed | None = None


def predict_recording(path: Path, *, job: Job) -> Table:
    """Compute the table of one recording, in a worker process.

    Raises:
        AudioError: the recording cannot be read, is too short, or lacks the channel that was asked for.
    """
    analyse = partial(_predict_channel, path, job=job)
    if job.options.channels == "mix":
        return analyse(None)
    first = analyse(job.options.channel or 1)
    others = range(2, first["channels"] + 1) if job.options.channels == "each" else ()
    return _stack([first, *map(analyse, others)])


def _predict_channel(path: Path, channel: int | None, *, job: Job) -> Table:
    options = job.options
    recogniser = load_recogniser(job.folder, job.digest, job.adaptation)
    config, group, hop_s = analysis(recogniser.bundle.facts.features, options)
    reader = FeatureReader(path, config, cache=job.cache, channel=channel, hop_s=hop_s)
    facts = recogniser.bundle.facts
    words = _window_words(path, channel, facts, job)
    source = words.attach(reader) if words else reader
    windows = predict_windows(source, recogniser, config=config, group=group, options=options)
    check_duration(repr(str(path)), reader.info.duration_s)
    name = Naming(facts.labels, options.min_confidence)
    level = level_course(path, channel=channel) if options.per == "segment" or options.moments else None
    segments = find_segments(windows, name, level) if level else []
    predictions = {"file": [merge(windows)], "window": windows, "segment": segments}[options.per]
    mixed = words.of_rows(predictions) if words else _add_words(predictions, reader, path, channel, job)
    return {
        "path": str(path),
        "channel": channel,
        **_rows(mixed.predictions, name, facts.target, dimensions=options.dimensions),
        **(moments_of(windows, segments, name) if options.moments else {}),
        **({"novelty": [each.novelty for each in predictions]} if options.novelty else {}),
        **mixed.columns,
        "status": STATUS_OK,
        "notes": "; ".join(filter(None, (reader.info.note, mixed.note))) or None,
        "duration": reader.info.duration_s,
        "sample_rate": reader.info.sample_rate,
        "channels": reader.info.channels,
        **(asdict(reader.quality) if options.per == "file" else _qualities(path, predictions, channel)),
        "model": recogniser.bundle.identity,
        "adaptation": job.adaptation.label,
    }


def _qualities(path: Path, predictions: Sequence[Prediction], channel: int | None) -> Table:
    """The columns of the quality of each stretch."""
    bounds = [(each.start_s, each.end_s) for each in predictions]
    measured = [asdict(quality) for quality in stretch_qualities(path, bounds, channel=channel)]
    return {name: [quality[name] for quality in measured] for name in measured[0]}


def _stack(tables: Sequence[Table]) -> Table:
    """One table for the channels of a recording; facts of the whole recording stay single values."""
    whole = {
        name: tables[0][name]
        for name in ("path", "status", "duration", "sample_rate", "channels", "model", "adaptation")
    }
    counts = [len(table["start"]) for table in tables]
    rows = {
        name: [value for table, count in zip(tables, counts, strict=True) for value in values_of(name, table, count)]
        for name in tables[0]
        if name not in whole
    }
    return {**whole, **rows}


def predict_windows(
    windows: Iterable[Window], recogniser: Recogniser, *, config: FeatureConfig, group: int, options: PredictOptions
) -> list[Prediction]:
    """Predict consecutive windows, and merge every `group` of them; see analysis for config and group."""
    return [merge(each) for each in _batched(_judge(windows, recogniser, config, options), group)]


def check_duration(name: str, duration_s: float) -> None:
    """Raise AudioError if a recording, or what is named so, is too short to hold speech."""
    if duration_s < SHORTEST_S:
        raise AudioError(f"{name} lasts {duration_s:.4f} s, expected at least {SHORTEST_S} s of speech")


def analysis(config: FeatureConfig, options: PredictOptions) -> tuple[FeatureConfig, int, float | None]:
    """The windows to predict one by one, none longer than the model's own.

    Args:
        config: of the model.
        options: what is asked for.

    Returns:
        What to compute for a window; how many of them make one of those asked for; the seconds from one to the next,
        None where they do not overlap.

    Raises:
        ConfigError: the hop is longer than the window, or windows longer than the model's own are to overlap.
    """
    window_s = options.window_s or config.window_s
    group = math.ceil(window_s / config.window_s)
    hop_s = options.hop_s
    if hop_s is None and options.per == "segment" and group == 1:
        hop_s = window_s / 2
    if hop_s is not None and hop_s > window_s:
        raise ConfigError(f"expected a hop of at most the window, {window_s:g} s. Received: {hop_s:g}")
    if hop_s is not None and group > 1:
        raise ConfigError(f"expected a window of at most {config.window_s:g} s with a hop. Received: {window_s:g}")
    return replace(config, window_s=window_s / group), group, hop_s


def _judge(
    source: Iterable[Window], recogniser: Recogniser, config: FeatureConfig, options: PredictOptions
) -> Iterator[Prediction]:
    for windows in _batched(source, _WINDOWS_AT_ONCE):
        features = [window.features for window in windows]
        probabilities = recogniser.probabilities(features, [options.language] * len(features))
        novelty = recogniser.novelty(features) if options.novelty else np.full(len(features), np.nan)
        for window, row, new in zip(windows, probabilities, novelty, strict=True):
            report_position(window.end_s)
            silent = is_silent(window.features.functionals, config)
            frames = 0 if silent else len(window.features.log_mel)
            yield Prediction(window.start_s, window.end_s, row, frames, float(new))


def _batched(items: Iterable[Window] | Iterable[Prediction], size: int) -> Iterator[list]:  # type: ignore[type-arg]
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _rows(predictions: Sequence[Prediction], name: Naming, target: TargetFacts | None, *, dimensions: bool) -> Table:
    probabilities = np.stack([shown_probabilities(prediction) for prediction in predictions])
    rows: Table = {
        "start": [prediction.start_s for prediction in predictions],
        "end": [prediction.end_s for prediction in predictions],
    }
    if target:
        return {**rows, target.scale.name: target.scale.values(probabilities).tolist()}
    rows |= {
        "emotion": [name(prediction) for prediction in predictions],
        "confidence": probabilities.max(axis=1).tolist(),
    }
    for index, label in enumerate(name.labels):
        rows[f"p_{label}"] = probabilities[:, index].tolist()
    return {**rows, **(dimensions_of(probabilities, name.labels) if dimensions else {})}
