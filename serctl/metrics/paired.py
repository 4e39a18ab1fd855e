"""Compare two classifiers on the same utterances: paired differences of scores, their intervals and their tests."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import ConfigError
from serctl.metrics.calibration import confidence_bins
from serctl.metrics.check import FloatArray, IntArray, labels_and_predictions, require_equal_length
from serctl.metrics.intervals import Interval, Unit, speaker_indices
from serctl.metrics.numbers import NUMBER_SCORES, number_scores_of, number_sums, valid_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

STATISTICS = ("uar", "wa", "ece")
DRAWS = 5_000


@dataclass(frozen=True)
class Difference:
    """A score of two classifiers.

    Attributes:
        first: the score of the first.
        second: that of the second.
        interval: 95 % interval of second minus first.
        p_value: probability of a difference at least as large if the two were exchangeable.
    """

    first: float
    second: float
    interval: Interval
    p_value: float

    @property
    def difference(self) -> float:
        """Second minus first."""
        return self.second - self.first


@dataclass(frozen=True)
class Comparison:
    """Two evaluations on the utterances that both have.

    Attributes:
        first: name of the one.
        second: name of the other.
        utterances: how many both have.
        left_out: how many only one of them has.
        scores: differences by score.
        per_class: recall of each class, in the first and in the second; empty for numbers.
        per_speaker: accuracy of each speaker, likewise, the largest difference first; for numbers the mean absolute
            error.
        disagreements: how many utterances only the first, and only the second, recognises; for numbers, how many
            either is nearer to.
        stamps: for the first and for the second, what its training and the utterances share.
        numbers: whether both predict a number.
    """

    first: str
    second: str
    utterances: int
    left_out: int
    scores: dict[str, Difference]
    per_class: dict[str, tuple[float, float]]
    per_speaker: dict[str, tuple[float, float]]
    disagreements: tuple[int, int]
    stamps: tuple[str, str]
    numbers: bool = False


def paired_differences(
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: Sequence[str | None] | None,
    *,
    classes: Sequence[str],
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> dict[str, Difference]:
    """Compare UAR, WA and ECE of two classifiers on the same utterances.

    Whole speakers are resampled for the intervals, and exchanged between the classifiers for the tests, because
    utterances of a speaker are alike; single utterances where speakers are unknown or there is only one.

    Args:
        truth: true labels, integers, shape (n,).
        first: probabilities of the first classifier, shape (n, classes); a row of NaN has no speech and is wrong.
        second: those of the second.
        groups: the speaker of each utterance.
        classes: names of the classes.
        rng: generator of the draws.
        draws: number of resampled and of permuted sets.

    Returns:
        The differences, by `uar`, `wa` and `ece`.

    Raises:
        ConfigError: the arguments do not fit each other.

    Source: Field & Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x (bootstrap of clusters); Good 2005, Permutation,
    Parametric and Bootstrap Tests of Hypotheses, doi:10.1007/b138696 (paired permutation).
    """
    labels = np.asarray(truth, dtype=np.int64)
    if not len(labels):
        raise ConfigError("expected at least one utterance to compare on. Received: none")
    speakers = speaker_indices(groups, n=len(labels))
    members = np.arange(len(labels)) if speakers is None else speakers
    sums = np.stack([_sums(labels, each, members, classes) for each in (first, second)])
    unit: Unit = "utterance" if speakers is None else "speaker"
    return _differences(sums, partial(_scores, n_classes=len(classes)), STATISTICS, unit, rng, draws)


def paired_number_differences(
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: Sequence[str | None] | None,
    *,
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> dict[str, Difference]:
    """Compare MAE, CCC and Pearson's r of two sets of predicted numbers, as paired_differences does emotions.

    Args:
        truth: finite numbers, shape (n,).
        first: predicted by the first, shape (n,), finite.
        second: predicted by the second.
        groups: the speaker of each utterance.
        rng: generator of the draws.
        draws: number of resampled and of permuted sets.

    Returns:
        The differences, by the names of NUMBER_SCORES.

    Raises:
        ConfigError: the arguments do not fit each other, or there are no utterances.
    """
    pairs = [valid_numbers(truth, each) for each in (first, second)]
    count = len(pairs[0][0])
    if not count:
        raise ConfigError("expected at least one utterance to compare on. Received: none")
    speakers = speaker_indices(groups, n=count)
    members = np.arange(count) if speakers is None else speakers
    sums = np.stack([_added(number_sums(*each), members) for each in pairs])
    unit: Unit = "utterance" if speakers is None else "speaker"
    return _differences(sums, _number_scores, NUMBER_SCORES, unit, rng, draws)


def _number_scores(sums: FloatArray) -> FloatArray:
    """Scores of sums, shape (..., 7); the last axis of the result is the score."""
    found = number_scores_of(sums.reshape(-1, sums.shape[-1]))
    stacked: FloatArray = np.stack([found[name] for name in NUMBER_SCORES], axis=-1)
    return stacked.reshape(*sums.shape[:-1], len(NUMBER_SCORES))


def _differences(
    sums: FloatArray,
    scores: Callable[[FloatArray], FloatArray],
    names: Sequence[str],
    unit: Unit,
    rng: np.random.Generator,
    draws: int,
) -> dict[str, Difference]:
    """Compare the scores of sums of both, shape (2, groups, columns)."""
    ours, theirs = (scores(each.sum(axis=0)) for each in sums)
    size = sums.shape[1]
    weights = rng.multinomial(size, np.full(size, 1 / size), size=draws)
    resampled = [scores(weights @ each) for each in sums]
    low, high = np.nanquantile(resampled[1] - resampled[0], [0.025, 0.975], axis=0)
    p_values = _permutation_test(sums, theirs - ours, scores, rng, draws)
    return {
        name: Difference(
            float(ours[index]),
            float(theirs[index]),
            Interval(float(low[index]), float(high[index]), unit=unit, groups=size),
            float(p_values[index]),
        )
        for index, name in enumerate(names)
    }


def _permutation_test(
    sums: FloatArray,
    observed: FloatArray,
    scores: Callable[[FloatArray], FloatArray],
    rng: np.random.Generator,
    draws: int,
) -> FloatArray:
    """Exchange the classifiers in a random half of the groups; the observed assignment counts as one of the draws."""
    swapped = rng.integers(0, 2, size=(draws, sums.shape[1]))
    total, change = sums.sum(axis=1), swapped @ (sums[1] - sums[0])
    permuted = scores(total[1] - change) - scores(total[0] + change)
    as_large = np.abs(permuted) >= np.abs(observed) - 1e-12
    share: FloatArray = (1 + as_large.sum(axis=0)) / (1 + draws)
    return share


def _sums(labels: IntArray, probabilities: ArrayLike, members: IntArray, classes: Sequence[str]) -> FloatArray:
    """What the scores are made of, added up within each group: shape (groups, 2 * classes + bins + 1).

    The columns: utterances of each class, hits of each class, confidence minus correctness in each bin, and utterances
    with speech.
    """
    rows = np.asarray(probabilities, dtype=np.float64)
    require_equal_length("probabilities", len(rows), "truth", len(labels))
    truth, predicted = labels_and_predictions(labels, rows, classes)
    one_hot = np.eye(len(classes))[truth]
    correct = (predicted == truth).astype(np.float64)
    spoken = predicted < len(classes)
    confidence = np.where(spoken, np.nan_to_num(rows).max(axis=1), 0)
    bins = np.eye(15)[confidence_bins(confidence)]
    gaps = bins * (spoken * (confidence - correct))[:, None]
    columns = np.concatenate([one_hot, one_hot * correct[:, None], gaps, spoken[:, None]], axis=1)
    return _added(columns, members)


def _added(rows: FloatArray, members: IntArray) -> FloatArray:
    """Add up the rows of each group, shape (groups, columns)."""
    sums = np.zeros((int(members.max()) + 1, rows.shape[1]))
    np.add.at(sums, members, rows)
    return sums


def _scores(sums: FloatArray, n_classes: int) -> FloatArray:
    """UAR, WA and ECE of sums, shape (..., columns); the last axis of the result is the score."""
    counts, hits = sums[..., :n_classes], sums[..., n_classes : 2 * n_classes]
    gaps, spoken = sums[..., 2 * n_classes : -1], sums[..., -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.where(counts > 0, hits / counts, np.nan)
        uar = np.nansum(recall, axis=-1) / (counts > 0).sum(axis=-1)
        ece = np.abs(gaps).sum(axis=-1) / spoken
        return np.stack([uar, hits.sum(axis=-1) / counts.sum(axis=-1), ece], axis=-1)
