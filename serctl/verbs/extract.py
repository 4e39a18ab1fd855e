"""Extract features: recordings in, a table of functionals or of frame-level descriptors out."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import AudioError, ConfigError, Remedy
from serctl.features import FeatureConfig, FeatureReader, Window, functional_names, lld_names
from serctl.reports.schema import Column, ColumnBlock, report_format
from serctl.run import Run, report_position
from serctl.verbs.batch import STATUS_OK, BatchSummary, Table, ignore_table, run_batch
from serctl.verbs.options import ExtractOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.audio.find import Recording
    from serctl.cache import Cache

LONGEST_FOR_FRAMES_S = 1_800.0
"""Frame-level rows of one recording are held in memory together; beyond half an hour that is refused."""


def feature_config(options: ExtractOptions) -> FeatureConfig:
    """Return the feature config, with another window where one was asked for."""
    config = FeatureConfig(voice_encoder=options.deep, speech_encoder=options.deep)
    return config if options.window_s is None else replace(config, window_s=options.window_s)


def extract(
    recordings: Sequence[Recording],
    *,
    options: ExtractOptions | None = None,
    output: Path | None = None,
    run: Run | None = None,
    on_table: Callable[[Table], None] = ignore_table,
) -> BatchSummary:
    """Write (or hand out) the features of every recording in input order; see batch.run_batch for what is raised.

    Raises:
        ConfigError: frame-level descriptors are to be written into another format than Parquet.
    """
    options = options or ExtractOptions()
    run = run or Run()
    if options.level == "frames" and (output is None or report_format(output) != "parquet"):
        raise ConfigError(
            f"frame-level descriptors are many rows: expected a Parquet file to write, received {output}",
            Remedy.PARQUET_OUTPUT,
        )
    config = feature_config(options)
    return run_batch(
        recordings,
        partial(extract_recording, config=config, options=options, cache=run.cache),
        columns=columns(options),
        fingerprint=json.dumps(["extract", options.level, options.per, config.digest()]),
        output=output,
        run=run,
        on_table=on_table,
    )


def columns(options: ExtractOptions) -> list[Column | ColumnBlock]:
    """The schema of the report: path, times in seconds, status, error, notes, duration, then the features."""
    config = feature_config(options)
    times: list[Column | ColumnBlock]
    if options.level == "frames":
        names = (*lld_names(config), *(f"mel_{band:02d}_db" for band in range(1, config.n_mels + 1)))
        times = [Column("time", decimals=3)]
    else:
        names = functional_names(config)
        times = [Column("start", decimals=3), Column("end", decimals=3)]
    return [
        Column("path", "text"),
        *times,
        Column("status", "text"),
        Column("error", "text"),
        Column("notes", "text"),
        Column("duration", decimals=3),
        ColumnBlock("features", names),
    ]


def extract_recording(path: Path, *, config: FeatureConfig, options: ExtractOptions, cache: Cache | None) -> Table:
    """Compute the table of one recording, in a worker process.

    Raises:
        AudioError: the recording cannot be read, or is too long for frame-level descriptors.
    """
    frames = options.level == "frames"
    reader = FeatureReader(path, config, cache=cache, with_frames=frames)
    rows = _frame_rows(reader, config, path) if frames else _functional_rows(reader, options.per)
    return {
        "path": str(path),
        **rows,
        "status": STATUS_OK,
        "notes": reader.info.note,
        "duration": reader.info.duration_s,
    }


def _functional_rows(reader: FeatureReader, per: str) -> Table:
    spans, weights, functionals = [], [], []
    for window in reader:
        report_position(window.end_s)
        spans.append((window.start_s, window.end_s))
        weights.append(len(window.features.log_mel))
        functionals.append(window.features.functionals)
    features = np.stack(functionals)
    if per == "file":
        spans = [(spans[0][0], spans[-1][1])]
        features = np.average(features, axis=0, weights=weights, keepdims=True).astype(np.float32)
    return {"start": [start for start, _ in spans], "end": [end for _, end in spans], "features": features}


def _frame_rows(reader: FeatureReader, config: FeatureConfig, path: Path) -> Table:
    times, features = [], []
    for window in reader:
        report_position(window.end_s)
        if window.end_s > LONGEST_FOR_FRAMES_S:
            raise AudioError(
                f"{str(path)!r} is longer than {LONGEST_FOR_FRAMES_S:.0f} s, too long for frame-level rows: cut it",
                Remedy.PER_WINDOW,
            )
        times.append(_frame_times(window, config))
        features.append(np.hstack([window.features.lld, window.features.log_mel.astype(np.float32)]))
    return {"time": np.concatenate(times), "features": np.concatenate(features)}


def _frame_times(window: Window, config: FeatureConfig) -> NDArray[np.floating]:
    frames = window.features.first_frame + np.arange(len(window.features.lld))
    return window.start_s + frames * config.hop_s
