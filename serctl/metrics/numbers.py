"""Scores of predicted numbers, with intervals bootstrapped over speakers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.errors import ConfigError
from serctl.metrics.check import require_equal_length
from serctl.metrics.intervals import Interval, Unit, json_number, speaker_indices
from serctl.metrics.scores import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

_DRAWS = 2000
_LEVEL = 0.95

NUMBER_SCORES = ("mae", "ccc", "pearson")
"""Names of the scores: mean absolute error, concordance correlation coefficient, Pearson's correlation."""


@dataclass(frozen=True, eq=False)
class NumberScores:
    """The scores of predicted numbers.

    Attributes:
        n: number of utterances.
        no_speech: how many of them hold no speech; they have no prediction and are in no score.
        mae: mean absolute error, in the unit of the numbers.
        ccc: concordance correlation coefficient, -1 to 1 (Lin 1989, doi:10.2307/2532051).
        pearson: correlation, -1 to 1; NaN where either side is constant.
        intervals: of 95 %, by the name of the score.
    """

    n: int
    no_speech: int
    mae: float
    ccc: float
    pearson: float
    intervals: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as JSON values; an undefined one (NaN) becomes None."""
        return {
            "n": self.n,
            "no_speech": self.no_speech,
            **{name: json_number(getattr(self, name)) for name in NUMBER_SCORES},
            "intervals": {name: interval.to_dict() for name, interval in self.intervals.items()},
        }


def concordance(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Return the concordance correlation coefficient; NaN where all numbers are the same, or there are none.

    Args:
        truth: finite numbers, shape (n,).
        predicted: the same.

    Raises:
        ConfigError: they do not fit each other.
    """
    return float(number_scores_of(number_sums(*valid_numbers(truth, predicted)).sum(axis=0, keepdims=True))["ccc"][0])


def score_numbers(
    truth: ArrayLike, predicted: ArrayLike, *, groups: Sequence[str | None] | None, seed: int
) -> NumberScores:
    """Score predicted numbers, with 95 % intervals bootstrapped over speakers.

    Args:
        truth: finite numbers, shape (n,).
        predicted: shape (n,); NaN for an utterance without speech.
        groups: the speaker of each utterance, None where unknown; see bootstrap_interval.
        seed: of the bootstrap.

    Raises:
        ConfigError: the arguments do not fit each other.
    """
    true, found = valid_numbers(truth, predicted)
    spoken = ~np.isnan(found)
    sums = number_sums(true[spoken], found[spoken])
    speakers = speaker_indices(groups, n=len(true))
    scores = {name: float(each[0]) for name, each in number_scores_of(sums.sum(axis=0, keepdims=True)).items()}
    return NumberScores(
        n=len(true),
        no_speech=int((~spoken).sum()),
        **scores,
        intervals=_intervals(sums, None if speakers is None else speakers[spoken], seed),
    )


def score_numbers_by(values: Sequence[str | None], truth: ArrayLike, predicted: ArrayLike) -> dict[str, dict[str, Any]]:
    """Score predicted numbers for each value, such as each speaker or language.

    Args:
        values: the value of each utterance; None is counted under "unknown".
        truth: as in score_numbers.
        predicted: as in score_numbers.

    Returns:
        n, mae, ccc and pearson by value, sorted by value; empty if no value is known.

    Raises:
        ConfigError: the arguments do not fit each other.
    """
    true, found = valid_numbers(truth, predicted)
    require_equal_length("values", len(values), "truth", len(true))
    if all(value is None for value in values):
        return {}
    names = np.array([UNKNOWN if value is None else value for value in values], dtype=object)
    return {name: _brief(true[names == name], found[names == name]) for name in sorted({*names})}


def _brief(truth: Floats, predicted: Floats) -> dict[str, Any]:
    spoken = ~np.isnan(predicted)
    scores = number_scores_of(number_sums(truth[spoken], predicted[spoken]).sum(axis=0, keepdims=True))
    return {"n": len(truth), **{name: json_number(float(each[0])) for name, each in scores.items()}}


def valid_numbers(truth: ArrayLike, predicted: ArrayLike) -> tuple[Floats, Floats]:
    """Return both as float64, shape (n,); raises ConfigError if they do not fit each other, or are not finite."""
    true, found = (np.asarray(each, dtype=np.float64) for each in (truth, predicted))
    if true.ndim != 1 or not np.isfinite(true).all():
        raise ConfigError(f"truth: expected finite numbers of shape (n,). Received: shape {true.shape}")
    require_equal_length("predicted", len(found), "truth", len(true))
    if np.isinf(found).any():
        raise ConfigError("predicted: expected numbers, or NaN without speech. Received: inf")
    return true, found


def number_sums(truth: Floats, predicted: Floats) -> Floats:
    """What every score is made of, one row for each utterance, shape (n, 7): sums of rows give those of utterances."""
    level = truth.mean() if len(truth) else 0.0  # sums of squares of numbers far from 0 would lose digits
    t, p = truth - level, predicted - level
    return np.stack([np.ones_like(t), abs(t - p), t, p, t * t, p * p, t * p], axis=1)


def number_scores_of(sums: Floats) -> dict[str, Floats]:
    """The scores of sums of such rows, shape (sets, 7), each of shape (sets,); NaN where undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        error, t, p, tt, pp, tp = (sums[:, column] / sums[:, 0] for column in range(1, 7))
        spread_t, spread_p, together = np.maximum(tt - t * t, 0), np.maximum(pp - p * p, 0), tp - t * p
        return {
            "mae": error,
            "ccc": 2 * together / (spread_t + spread_p + (t - p) ** 2),
            "pearson": together / np.sqrt(spread_t * spread_p),
        }


def _intervals(sums: Floats, speakers: NDArray[np.int64] | None, seed: int) -> dict[str, Interval]:
    """The intervals of all scores, from the same resampled speakers, or utterances where those are not known."""
    unit: Unit = "utterance" if speakers is None else "speaker"
    members = np.arange(len(sums)) if speakers is None else np.unique(speakers, return_inverse=True)[1]
    size = int(members.max()) + 1 if len(members) else 0
    if size == 0:
        return {name: Interval(np.nan, np.nan, unit=unit, groups=0) for name in NUMBER_SCORES}
    by_member = np.zeros((size, sums.shape[1]))
    np.add.at(by_member, members, sums)
    times_drawn = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=_DRAWS)
    scores = number_scores_of(times_drawn.astype(np.float64) @ by_member)
    return {name: _interval(each[np.isfinite(each)], unit, size) for name, each in scores.items()}


def _interval(drawn: Floats, unit: Unit, groups: int) -> Interval:
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail]) if len(drawn) else (np.nan, np.nan)
    return Interval(float(low), float(high), _LEVEL, unit=unit, groups=groups)
