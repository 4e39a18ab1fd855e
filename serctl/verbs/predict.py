"""Predict emotions: recordings in, one row for each (or for each of its windows) out."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.errors import AudioError
from serctl.features import FeatureConfig, FeatureReader, Window, is_silent
from serctl.reports.schema import NO_SPEECH, UNCERTAIN, Column, values_of
from serctl.run import Run, report_position
from serctl.runtime.recogniser import Recogniser, merge_probabilities
from serctl.runtime.trial import try_network
from serctl.verbs.adapt import NOT_ADAPTED, Adaptation, find_adaptation, load_recogniser
from serctl.verbs.batch import STATUS_OK, BatchSummary, Table, ignore_table, run_batch
from serctl.verbs.options import PredictOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.audio.find import Recording
    from serctl.bundle.store import Bundle
    from serctl.cache import Cache

SHORTEST_S = 0.1
"""Recordings below this length hold no speech to judge: they get an error row."""

_WINDOWS_AT_ONCE = 16


@dataclass(frozen=True)
class Prediction:
    """The judgement of a stretch of a recording.

    probabilities: calibrated, float64, shape (labels,). speech_frames: its weight in a merge; 0 if it is silent.
    """

    start_s: float
    end_s: float
    probabilities: NDArray[np.float64]
    speech_frames: int


def predict(
    recordings: Sequence[Recording],
    *,
    model: Bundle,
    options: PredictOptions | None = None,
    output: Path | None = None,
    run: Run | None = None,
    on_table: Callable[[Table], None] = ignore_table,
) -> BatchSummary:
    """Write (or hand out) the rows of every recording in input order.

    Columns: path, start, end, emotion, confidence, p_<label>..., status, error, notes, duration, sample_rate,
    channels, clipping, silence, snr_db, bandwidth_hz, model. Times in seconds. Unless options.channels is mix, a column
    `channel` behind path tells which one a row stands for, from 1 on.
    Raises what batch.run_batch raises, and ConfigError if what runs the network is not installed.
    """
    try_network(model)
    load_recogniser(model.folder, model.digest)  # a network that cannot be loaded fails here, not for every recording
    options = options or PredictOptions()
    run = run or Run()
    adaptation = find_adaptation(recordings, options.adapt, model=model, run=run)
    job = Job(model.folder, model.digest, options, run.cache, adaptation)
    return run_batch(
        recordings,
        partial(predict_recording, job=job),
        columns=columns(model, options),
        fingerprint=json.dumps(["predict", model.digest, _fingerprint(options), adaptation.digest]),
        output=output,
        run=run,
        on_table=on_table,
    )


def columns(model: Bundle, options: PredictOptions | None = None) -> list[Column]:
    """The schema of the report."""
    mixed = options is None or options.channels == "mix"
    return [
        Column("path", "text"),
        *([] if mixed else [Column("channel", "int")]),
        Column("start", decimals=3),
        Column("end", decimals=3),
        Column("emotion", "text"),
        Column("confidence", decimals=4),
        *(Column(f"p_{label}", decimals=4) for label in model.facts.labels),
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


def _fingerprint(options: PredictOptions) -> dict[str, Any]:
    """What determines a row besides the model and the statistics that it is adapted by."""
    return asdict(replace(options, adapt="none"))


@dataclass(frozen=True)
class Job:
    """What a worker process needs besides the recording."""

    folder: Path
    digest: str
    options: PredictOptions
    cache: Cache | None = None
    adaptation: Adaptation = NOT_ADAPTED


def predict_recording(path: Path, *, job: Job) -> Table:
    """The table of one recording; runs in a worker process.

    Raises AudioError if the recording cannot be read, is too short or lacks the channel that was asked for.
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
    config, group = analysis(recogniser.bundle.facts.features, options.window_s)
    reader = FeatureReader(path, config, cache=job.cache, channel=channel)
    predictions = predict_windows(reader, recogniser, config=config, group=group, language=options.language)
    check_duration(repr(str(path)), reader.info.duration_s)
    if options.per == "file":
        predictions = [merge(predictions)]
    return {
        "path": str(path),
        "channel": channel,
        **_rows(predictions, recogniser.bundle.facts.labels, options.min_confidence),
        "status": STATUS_OK,
        "notes": reader.info.note,
        "duration": reader.info.duration_s,
        "sample_rate": reader.info.sample_rate,
        "channels": reader.info.channels,
        **asdict(reader.quality),
        "model": recogniser.bundle.identity,
        "adaptation": job.adaptation.label,
    }


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
    windows: Iterable[Window], recogniser: Recogniser, *, config: FeatureConfig, group: int, language: str | None
) -> list[Prediction]:
    """Predict consecutive windows, and merge every `group` of them; see analysis for config and group."""
    return list(merge_groups(_judge(windows, recogniser, config, language), group))


def check_duration(name: str, duration_s: float) -> None:
    """Raise AudioError if a recording, or what is named so, is too short to hold speech."""
    if duration_s < SHORTEST_S:
        raise AudioError(f"{name} lasts {duration_s:.4f} s, expected at least {SHORTEST_S} s of speech")


def merge(predictions: Sequence[Prediction]) -> Prediction:
    """One prediction for consecutive ones: the mean of their probabilities, weighted by their frames of speech."""
    weights = np.array([prediction.speech_frames for prediction in predictions], dtype=np.float64)
    probabilities = np.stack([prediction.probabilities for prediction in predictions])
    return Prediction(
        predictions[0].start_s,
        predictions[-1].end_s,
        merge_probabilities(probabilities, weights),
        int(weights.sum()),
    )


def merge_groups(predictions: Iterable[Prediction], size: int) -> Iterator[Prediction]:
    """Merge every `size` consecutive predictions into one."""
    return map(merge, _batched(predictions, size))


def analysis(config: FeatureConfig, window_s: float | None) -> tuple[FeatureConfig, int]:
    """The windows to judge one by one, none longer than the model's own, and how many of them make one of window_s."""
    if window_s is None:
        return config, 1
    group = math.ceil(window_s / config.window_s)
    return replace(config, window_s=window_s / group), group


def _judge(
    source: Iterable[Window], recogniser: Recogniser, config: FeatureConfig, language: str | None
) -> Iterator[Prediction]:
    for windows in _batched(source, _WINDOWS_AT_ONCE):
        features = [window.features for window in windows]
        probabilities = recogniser.probabilities(features, [language] * len(features))
        for window, row in zip(windows, probabilities, strict=True):
            report_position(window.end_s)
            silent = is_silent(window.features.functionals, config)
            yield Prediction(window.start_s, window.end_s, row, 0 if silent else len(window.features.log_mel))


def _batched(items: Iterable[Window] | Iterable[Prediction], size: int) -> Iterator[list]:  # type: ignore[type-arg]
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _rows(predictions: Sequence[Prediction], labels: Sequence[str], min_confidence: float) -> Table:
    probabilities = np.stack([shown_probabilities(prediction) for prediction in predictions])
    rows: Table = {
        "start": [prediction.start_s for prediction in predictions],
        "end": [prediction.end_s for prediction in predictions],
        "emotion": [emotion_of(row, labels, min_confidence) for row in probabilities],
        "confidence": probabilities.max(axis=1).tolist(),
    }
    for index, label in enumerate(labels):
        rows[f"p_{label}"] = probabilities[:, index].tolist()
    return rows


def shown_probabilities(prediction: Prediction) -> NDArray[np.float64]:
    """The probabilities, or NaN where there is no speech to judge."""
    return prediction.probabilities if prediction.speech_frames else np.full_like(prediction.probabilities, np.nan)


def emotion_of(probabilities: NDArray[np.float64], labels: Sequence[str], min_confidence: float) -> str:
    """Return the likeliest emotion, or what a row says instead: uncertain, no-speech."""
    if np.isnan(probabilities).any():
        return NO_SPEECH
    best = int(probabilities.argmax())
    return labels[best] if probabilities[best] >= min_confidence else UNCERTAIN
