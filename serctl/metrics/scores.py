"""Every score of a set of predictions, overall and by group."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.metrics.calibration import expected_calibration_error
from serctl.metrics.check import FloatArray, IntArray, labels_and_predictions, require_equal_length
from serctl.metrics.counts import (
    confusion_matrix,
    f1_per_class,
    macro_f1,
    macro_f1s,
    precision_per_class,
    recall_per_class,
    uar,
    uars,
    wa,
    was,
)
from serctl.metrics.intervals import Interval, bootstrap_interval, json_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray


UNKNOWN = "unknown"
"""What stands for a value that is not known."""


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of a set of predictions, as shares from 0 to 1.

    Attributes:
        classes: names of the classes.
        n: number of utterances.
        confusion: int64, shape (k, k), rows are the truth.
        no_speech: int64, shape (k,), utterances of each class in which no speech was found; they are part of n and
            count as wrong, but are not in confusion and ece.
        uar: unweighted average recall.
        wa: weighted accuracy.
        macro_f1: mean F1 of the classes.
        ece: expected calibration error.
        recall, precision, f1: float64, shape (k,), NaN where undefined.
        intervals: by the name of the score (uar, wa, macro_f1).
    """

    classes: tuple[str, ...]
    n: int
    confusion: IntArray
    no_speech: IntArray
    uar: float
    wa: float
    macro_f1: float
    ece: float
    recall: FloatArray
    precision: FloatArray
    f1: FloatArray
    intervals: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as JSON values; an undefined one (NaN) becomes None."""
        return {
            "classes": list(self.classes),
            "n": self.n,
            "uar": json_number(self.uar),
            "wa": json_number(self.wa),
            "macro_f1": json_number(self.macro_f1),
            "ece": json_number(self.ece),
            "intervals": {name: interval.to_dict() for name, interval in self.intervals.items()},
            "per_class": {name: self._class_scores(index) for index, name in enumerate(self.classes)},
            "confusion": self.confusion.tolist(),
            "no_speech": self.no_speech.tolist(),
        }

    def _class_scores(self, index: int) -> dict[str, Any]:
        return {
            "n": int(self.confusion[index].sum() + self.no_speech[index]),
            "recall": json_number(self.recall[index]),
            "precision": json_number(self.precision[index]),
            "f1": json_number(self.f1[index]),
        }


def score(
    truth: ArrayLike,
    probabilities: ArrayLike,
    *,
    classes: Sequence[str],
    groups: Sequence[str | None] | None,
    seed: int,
) -> Scores:
    """Compute every score of a set of predictions, with 95 % intervals bootstrapped over speakers.

    Args:
        truth: indices into classes, shape (n,).
        probabilities: shape (n, len(classes)), rows sum to 1, or are all NaN for an utterance without speech.
        classes: names of the classes.
        groups: the speaker of each utterance, None where unknown (see bootstrap_interval).
        seed: seed of the bootstrap.

    Returns:
        The scores.

    Raises:
        ConfigError: the arguments do not fit each other.
    """
    labels, predicted = labels_and_predictions(truth, probabilities, classes)
    ece = _calibration_error(np.asarray(probabilities), labels, predicted < len(classes))
    return _scores(labels, predicted, groups, ece=ece, classes=classes, seed=seed)


def score_counts(confusion: IntArray, *, ece: float, classes: Sequence[str], seed: int) -> Scores:
    """Compute the scores of predictions of which only the counts are known, with intervals over utterances.

    Args:
        confusion: int64, shape (k, k + 1), rows are the truth; the last column: no speech.
        ece: expected calibration error.
        classes: names of the classes.
        seed: seed of the bootstrap.
    """
    labels, predicted = (np.repeat(each, confusion.ravel()) for each in np.indices(confusion.shape).reshape(2, -1))
    return _scores(labels, predicted, None, ece=ece, classes=classes, seed=seed)


def _scores(
    labels: IntArray,
    predicted: IntArray,
    groups: Sequence[str | None] | None,
    *,
    ece: float,
    classes: Sequence[str],
    seed: int,
) -> Scores:
    """The scores of predicted labels; len(classes) stands for no speech."""
    k = len(classes)
    matrix = confusion_matrix(labels, predicted, n_classes=k + 1)

    def interval(statistic: Callable[[IntArray], FloatArray]) -> Interval:
        # The same seed for each score: all intervals come from the same resampled speakers.
        rng = np.random.default_rng(seed)
        return bootstrap_interval(statistic, labels, predicted, groups, n_classes=k + 1, rng=rng)

    return Scores(
        classes=tuple(classes),
        n=len(labels),
        confusion=matrix[:k, :k],
        no_speech=matrix[:k, k],
        uar=uar(matrix),
        wa=wa(matrix),
        macro_f1=macro_f1(matrix),
        ece=ece,
        recall=recall_per_class(matrix)[:k],
        precision=precision_per_class(matrix)[:k],
        f1=f1_per_class(matrix)[:k],
        intervals={"uar": interval(uars), "wa": interval(was), "macro_f1": interval(macro_f1s)},
    )


def _calibration_error(probabilities: FloatArray, labels: IntArray, spoken: NDArray[np.bool_]) -> float:
    """Return the ECE of the utterances with speech; NaN without any."""
    return expected_calibration_error(probabilities[spoken], labels[spoken]) if spoken.any() else math.nan


def score_by(
    values: Sequence[str | None], truth: ArrayLike, probabilities: ArrayLike, *, classes: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Compute the number of utterances, UAR, WA, macro-F1 and ECE for each value, such as each speaker or language.

    Args:
        values: the value of each utterance; None is counted under "unknown".
        truth: indices into classes, shape (n,).
        probabilities: shape (n, len(classes)), rows sum to 1, or are all NaN for an utterance without speech.
        classes: names of the classes.

    Returns:
        n, uar, wa, macro_f1 and ece by value, sorted by value; empty if no value is known. UAR is over the classes that
        occur in the truth of the value.

    Raises:
        ConfigError: the arguments do not fit each other.
    """
    labels, _ = labels_and_predictions(truth, probabilities, classes)
    require_equal_length("values", len(values), "truth", len(labels))
    if all(value is None for value in values):
        return {}
    names = np.array([UNKNOWN if value is None else value for value in values], dtype=object)
    rows = np.asarray(probabilities)
    return {name: _brief_scores(labels[names == name], rows[names == name], classes) for name in sorted(set(names))}


def _brief_scores(truth: IntArray, probabilities: FloatArray, classes: Sequence[str]) -> dict[str, Any]:
    labels, predicted = labels_and_predictions(truth, probabilities, classes)
    matrix = confusion_matrix(labels, predicted, n_classes=len(classes) + 1)
    ece = json_number(_calibration_error(probabilities, labels, predicted < len(classes)))
    return {"n": len(labels), "uar": uar(matrix), "wa": wa(matrix), "macro_f1": macro_f1(matrix), "ece": ece}
