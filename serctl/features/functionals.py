"""Utterance-level statistics of the frame-level descriptors."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from serctl.features.deep import deep_names
from serctl.features.descriptors import SPECTRAL, VOICE, lld_names
from serctl.features.spectral import FloatArray, delta

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.features.config import FeatureConfig

STATISTICS = ("mean", "sd", "skewness", "p05", "p25", "p50", "p75", "p95", "slope")
DELTA_STATISTICS = ("sd", "p05", "p95")
PERCENTILES = np.array([0.05, 0.25, 0.5, 0.75, 0.95])

TEMPORAL = (
    "active_s",
    "voiced_share",
    "voiced_segments_per_s",
    "voiced_segment_s_mean",
    "voiced_segment_s_sd",
    "unvoiced_segment_s_mean",
    "unvoiced_segment_s_sd",
    "loudness_peaks_per_s",
    "loudness_rise_mean",
    "loudness_fall_mean",
    "f0_rise_mean",
    "f0_fall_mean",
)


@lru_cache(maxsize=8)
def functional_names(config: FeatureConfig) -> tuple[str, ...]:
    """Return the names of the functionals, in the order of Features.functionals: acoustic, then deep ones if any."""
    full = _full_names(config)
    return (
        *(f"{name}_{statistic}" for statistic in STATISTICS for name in full),
        *(f"{name}_delta_{statistic}" for statistic in DELTA_STATISTICS for name in full),
        *(f"{name}_{statistic}" for statistic in STATISTICS for name in VOICE),
        *TEMPORAL,
        *deep_names(config),
    )


@lru_cache(maxsize=8)
def _full_names(config: FeatureConfig) -> tuple[str, ...]:
    mels = (f"mel_{k:02d}_db" for k in range(1, config.n_mels + 1, 2))
    return (*lld_names(config)[: len(SPECTRAL) + config.n_mfcc], *mels)


def compute_functionals(lld: FloatArray, log_mel: FloatArray, config: FeatureConfig) -> FloatArray:
    """Compute the statistics of every descriptor; those of the voice are over the voiced frames only.

    A descriptor without any value (the pitch of a whisper) gives zeros, so the result is always finite.

    Args:
        lld: descriptors, float32, shape (frames, len(lld_names)).
        log_mel: float32, shape (frames, n_mels), dB.
        config: analysis parameters.

    Returns:
        The acoustic functionals, float32, shape (functionals,).
    """
    n_full = len(SPECTRAL) + config.n_mfcc
    full = np.concatenate([lld[:, :n_full], _every_second_band(log_mel)], axis=1)
    voice = lld[:, n_full:]
    voiced = ~np.isnan(voice[:, 0])
    parts = np.concatenate(
        [
            _statistics(full, config).ravel(),
            _delta_statistics(delta(full)).ravel(),
            _statistics(_fill_gaps(voice[voiced]), config).ravel(),
            _temporal(lld, voiced, config),
        ]
    )
    return parts.astype(np.float32)


def _every_second_band(log_mel: FloatArray) -> FloatArray:
    return log_mel[:, ::2]


def _statistics(values: FloatArray, config: FeatureConfig) -> FloatArray:
    """Compute the STATISTICS of each column, float32, shape (len(STATISTICS), columns); slopes are per second."""
    if not len(values):
        return np.zeros((len(STATISTICS), values.shape[1]), dtype=np.float32)
    mean = values.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = values - mean
    sd = np.sqrt(np.mean(np.square(centred), axis=0))
    skewness = np.mean(centred * np.square(centred), axis=0) / np.maximum(sd, np.float32(1e-6)) ** 3
    time = np.arange(len(values), dtype=np.float32)
    time -= time.mean()
    slope = (time @ centred) / max(float(time @ time), 1e-6) * (1 / config.hop_s)
    return np.stack([mean, sd, np.clip(skewness, -10, 10), *_percentiles(values, PERCENTILES), slope])


def _delta_statistics(values: FloatArray) -> FloatArray:
    sd = np.sqrt(np.mean(np.square(values - values.mean(axis=0)), axis=0))
    return np.stack([sd, *_percentiles(values, PERCENTILES[[0, -1]])])


def _percentiles(values: FloatArray, shares: NDArray[np.float64]) -> FloatArray:
    """Compute linearly interpolated percentiles of each column, shape (len(shares), columns)."""
    ordered = np.sort(np.ascontiguousarray(values.T), axis=1)
    position = shares * (ordered.shape[1] - 1)
    below = position.astype(np.intp)
    above = np.minimum(below + 1, ordered.shape[1] - 1)
    weight = (position - below).astype(np.float32)
    return np.asarray((ordered[:, below] * (1 - weight) + ordered[:, above] * weight).T)


def _fill_gaps(values: FloatArray) -> FloatArray:
    """Replace missing values of a voiced frame, such as a third formant, by the mean of the column, or by zero."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    counts = np.maximum((~missing).sum(axis=0), 1)
    means = np.where(missing, np.float32(0), values).sum(axis=0) / counts
    return np.where(missing, means, values).astype(np.float32)


def _temporal(lld: FloatArray, voiced: NDArray[np.bool_], config: FeatureConfig) -> FloatArray:
    seconds = len(lld) * config.hop_s
    voiced_s, unvoiced_s = (lengths * config.hop_s for lengths in run_lengths(voiced))
    loudness = _smooth(lld[:, SPECTRAL.index("loudness")])
    semitones = lld[voiced, lld.shape[1] - len(VOICE) + VOICE.index("f0_semitone")]
    return np.array(
        [
            seconds,
            voiced.mean(),
            len(voiced_s) / seconds,
            *_mean_sd(voiced_s),
            *_mean_sd(unvoiced_s),
            count_peaks(loudness) / seconds,
            *_rise_and_fall(loudness, config),
            *_rise_and_fall(semitones, config),
        ],
        dtype=np.float32,
    )


def run_lengths(flags: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Measure the runs of equal flags.

    Args:
        flags: bool, shape (frames,), at least one.

    Returns:
        The lengths of the runs of True, and of the runs of False, in frames.
    """
    edges = np.flatnonzero(np.diff(flags)) + 1
    bounds = np.concatenate([[0], edges, [len(flags)]])
    lengths = np.diff(bounds)
    first = 0 if flags[0] else 1
    return lengths[first::2], lengths[1 - first :: 2]


def count_peaks(loudness: FloatArray) -> int:
    """Count the local maxima above the mean: about one per syllable, so an estimate of the speech rate.

    Args:
        loudness: float32, shape (frames,).

    Returns:
        The number of maxima.
    """
    inner = loudness[1:-1]
    return int(np.sum((inner > loudness[:-2]) & (inner >= loudness[2:]) & (inner > loudness.mean())))


def _smooth(values: FloatArray) -> FloatArray:
    kernel = np.ones(7, dtype=np.float32) / 7
    return np.convolve(np.pad(values, 3, mode="edge"), kernel, mode="valid").astype(np.float32)


def _mean_sd(values: NDArray[np.floating]) -> tuple[float, float]:
    return (float(values.mean()), float(values.std())) if len(values) else (0.0, 0.0)


def _rise_and_fall(values: FloatArray, config: FeatureConfig) -> tuple[float, float]:
    """Compute the mean rise and the mean fall per second."""
    steps = np.diff(values) / config.hop_s
    rise, fall = np.maximum(steps, 0), np.maximum(-steps, 0)
    return (float(np.mean(rise)), float(np.mean(fall))) if len(rise) else (0.0, 0.0)
