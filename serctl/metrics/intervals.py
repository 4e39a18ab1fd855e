"""Confidence intervals of scores, by resampling whole speakers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from serctl.errors import ConfigError
from serctl.metrics.check import FloatArray, IntArray, label_pair, require_equal_length

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike


Unit: TypeAlias = Literal["speaker", "utterance"]


@dataclass(frozen=True)
class Interval:
    """A confidence interval by resampling.

    Attributes:
        low: lower end.
        high: upper end.
        level: probability that the interval is meant to have.
        unit: what was resampled, speakers or utterances.
        groups: number of those.
    """

    low: float
    high: float
    level: float = 0.95
    unit: Unit = field(kw_only=True)
    groups: int = field(kw_only=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the interval as JSON values."""
        return {
            "low": json_number(self.low),
            "high": json_number(self.high),
            "level": self.level,
            "unit": self.unit,
            "groups": self.groups,
        }


def bootstrap_interval(
    statistic: Callable[[IntArray], FloatArray],
    truth: ArrayLike,
    predicted: ArrayLike,
    groups: Sequence[str | None] | None,
    *,
    n_classes: int,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Compute the percentile interval of a statistic of the confusion matrix, by resampling whole groups (speakers).

    Utterances of one speaker are alike, so resampling them one by one would give intervals that are too narrow. That is
    still done where groups is None, has an unknown (None) speaker or has fewer than two speakers; the unit of the
    interval says which it was.

    Args:
        statistic: from int64 confusion matrices, shape (draws, n_classes, n_classes), to a number of each.
        truth: true labels, integers, shape (n,).
        predicted: predicted labels, integers, shape (n,).
        groups: the speaker of each utterance.
        n_classes: number of classes.
        rng: generator of the draws.
        draws: number of resampled sets.
        level: probability of the interval, between 0 and 1.

    Returns:
        The interval.

    Raises:
        ConfigError: labels or groups do not fit, draws is below 1 or level is not between 0 and 1.

    Source: Field & Welsh 2007, Bootstrapping clustered data, doi:10.1111/j.1467-9868.2007.00593.x.
    """
    if draws < 1 or not 0 < level < 1:
        raise ConfigError(
            f"expected at least 1 draw and a level between 0 and 1. Received: {draws} draws and level {level}"
        )
    true_labels, predicted_labels = label_pair(truth, predicted, n_classes)
    cells = true_labels * n_classes + predicted_labels
    names = speaker_indices(groups, n=len(cells))
    if names is None:
        unit: Unit = "utterance"
        size = len(cells)
        matrices = _resample_utterances(cells, n_classes, draws, rng)
    else:
        unit = "speaker"
        size = int(names.max()) + 1
        matrices = _resample_speakers(cells, names, n_classes, draws, rng)
    tail = (1 - level) / 2
    low, high = np.quantile(statistic(matrices), [tail, 1 - tail])
    return Interval(float(low), float(high), level, unit=unit, groups=size)


def speaker_indices(groups: Sequence[str | None] | None, *, n: int) -> IntArray | None:
    """Number the speakers from 0; None if they are unknown or too few to resample."""
    if groups is None:
        return None
    require_equal_length("groups", len(groups), "truth", n)
    if any(group is None for group in groups):
        return None
    names, indices = np.unique(np.array(groups, dtype=object), return_inverse=True)
    return indices.astype(np.int64) if len(names) > 1 else None


def _resample_utterances(cells: IntArray, n_classes: int, draws: int, rng: np.random.Generator) -> IntArray:
    """Compute confusion matrices of resampled utterances, shape (draws, n_classes, n_classes).

    Utterances in the same cell are interchangeable, so the cell counts are drawn directly.
    """
    occupied, counts = np.unique(cells, return_counts=True)
    matrices = np.zeros((draws, n_classes * n_classes), dtype=np.int64)
    matrices[:, occupied] = rng.multinomial(len(cells), counts / len(cells), size=draws)
    return matrices.reshape(draws, n_classes, n_classes)


def _resample_speakers(
    cells: IntArray, speakers: IntArray, n_classes: int, draws: int, rng: np.random.Generator
) -> IntArray:
    """Compute confusion matrices of resampled speakers, shape (draws, n_classes, n_classes)."""
    n_speakers = int(speakers.max()) + 1
    n_cells = n_classes * n_classes
    per_speaker = np.bincount(speakers * n_cells + cells, minlength=n_speakers * n_cells).reshape(n_speakers, n_cells)
    times_drawn = rng.multinomial(n_speakers, np.full(n_speakers, 1 / n_speakers), size=draws)
    # As floats the product runs on BLAS; counts stay far below 2**53, where it would stop being exact.
    matrices = times_drawn.astype(np.float64) @ per_speaker.astype(np.float64)
    return matrices.astype(np.int64).reshape(draws, n_classes, n_classes)


def json_number(value: float) -> float | None:
    """Return a number for JSON, which has no NaN: None takes its place."""
    return float(value) if math.isfinite(value) else None
