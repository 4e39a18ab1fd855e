"""Scores of a classifier, their uncertainty and their calibration.

Labels are class indices (0 to k - 1), probabilities are rows of shape (k,) that sum to 1, and a confusion matrix has
the truth in its rows. Every public function validates first and raises ConfigError with what was expected and what
came.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serctl.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
Unit: TypeAlias = Literal["speaker", "utterance"]

# Softmax outputs come as float32, or from an int8-quantised model: their sums miss 1 by rounding.
_SUM_TOLERANCE = 1e-3
_TEMPERATURE_BOUNDS = (0.05, 20.0)
_UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """Confidence against accuracy in equal-width bins of confidence; each array has shape (bins,).

    centre: the middle of each bin. confidence: mean confidence, nan in an empty bin. accuracy: share of correct
    predictions, nan in an empty bin. count: number of predictions.
    """

    centre: FloatArray
    confidence: FloatArray
    accuracy: FloatArray
    count: IntArray


@dataclass(frozen=True)
class Interval:
    """A confidence interval, what was resampled to get it (unit), and how many of those there were (groups)."""

    low: float
    high: float
    level: float = 0.95
    unit: Unit = field(kw_only=True)
    groups: int = field(kw_only=True)

    def to_dict(self) -> dict[str, Any]:
        """The interval as JSON-able values."""
        return {
            "low": _json_number(self.low),
            "high": _json_number(self.high),
            "level": self.level,
            "unit": self.unit,
            "groups": self.groups,
        }


@dataclass(frozen=True, eq=False)
class Scores:
    """How well predictions meet the truth, all scores as shares from 0 to 1.

    confusion: int64, shape (k, k), rows are the truth. recall, precision, f1: float64, shape (k,), nan where undefined.
    intervals: by the name of the score (uar, wa, macro_f1).
    """

    classes: tuple[str, ...]
    n: int
    confusion: IntArray
    uar: float
    wa: float
    macro_f1: float
    ece: float
    recall: FloatArray
    precision: FloatArray
    f1: FloatArray
    intervals: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """The scores as JSON-able values; an undefined one (nan) becomes None."""
        return {
            "classes": list(self.classes),
            "n": self.n,
            "uar": _json_number(self.uar),
            "wa": _json_number(self.wa),
            "macro_f1": _json_number(self.macro_f1),
            "ece": _json_number(self.ece),
            "intervals": {name: interval.to_dict() for name, interval in self.intervals.items()},
            "per_class": {name: self._class_scores(index) for index, name in enumerate(self.classes)},
            "confusion": self.confusion.tolist(),
        }

    def _class_scores(self, index: int) -> dict[str, Any]:
        return {
            "n": int(self.confusion[index].sum()),
            "recall": _json_number(self.recall[index]),
            "precision": _json_number(self.precision[index]),
            "f1": _json_number(self.f1[index]),
        }


def confusion_matrix(truth: ArrayLike, predicted: ArrayLike, *, n_classes: int) -> IntArray:
    """Count how often each class (row) was predicted as each class (column).

    truth, predicted: integers from 0 to n_classes - 1, shape (n,).
    Returns int64, shape (n_classes, n_classes).
    Raises ConfigError if the labels are empty, unequal in number, not whole numbers or out of range.
    """
    true_labels, predicted_labels = _label_pair(truth, predicted, n_classes)
    return _count_cells(true_labels * n_classes + predicted_labels, n_classes)


def recall_per_class(matrix: ArrayLike) -> FloatArray:
    """Share of each class that was found; float64, shape (k,), nan for a class without truth."""
    counts = _valid_matrix(matrix)
    return _share(counts.diagonal(), counts.sum(axis=1))


def precision_per_class(matrix: ArrayLike) -> FloatArray:
    """Share of each class's predictions that was right; float64, shape (k,), nan for a class never predicted."""
    counts = _valid_matrix(matrix)
    return _share(counts.diagonal(), counts.sum(axis=0))


def f1_per_class(matrix: ArrayLike) -> FloatArray:
    """Harmonic mean of recall and precision; float64, shape (k,).

    0 for a class that was never predicted, nan for one that is neither in the truth nor among the predictions.
    """
    return _f1(_valid_matrix(matrix))


def uar(matrix: ArrayLike) -> float:
    """Unweighted average recall (also UA, balanced accuracy): the mean recall of the classes present in the truth."""
    counts = _valid_matrix(matrix)
    support = counts.sum(axis=1)
    present = support > 0
    return float((counts.diagonal()[present] / support[present]).mean())


def wa(matrix: ArrayLike) -> float:
    """Weighted accuracy: the share of all utterances that was classified correctly."""
    counts = _valid_matrix(matrix)
    return float(counts.trace() / counts.sum())


def macro_f1(matrix: ArrayLike) -> float:
    """The mean F1 of the classes present in the truth."""
    counts = _valid_matrix(matrix)
    return float(_f1(counts)[counts.sum(axis=1) > 0].mean())


def reliability_curve(probabilities: ArrayLike, truth: ArrayLike, *, bins: int = 15) -> ReliabilityCurve:
    """Accuracy of the predictions as a function of their confidence.

    probabilities: shape (n, k), rows sum to 1. truth: integers, shape (n,). bins: equal-width bins (low, high] of the
    highest probability of each row.
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
    """
    confidence, correct = _confidence_and_correctness(probabilities, truth)
    edges = _bin_edges(bins)
    bin_of = np.searchsorted(edges[1:-1], confidence, side="left")
    count = np.bincount(bin_of, minlength=bins)
    return ReliabilityCurve(
        centre=(edges[:-1] + edges[1:]) / 2,
        confidence=_share(np.bincount(bin_of, weights=confidence, minlength=bins), count),
        accuracy=_share(np.bincount(bin_of, weights=correct, minlength=bins), count),
        count=count.astype(np.int64),
    )


def expected_calibration_error(probabilities: ArrayLike, truth: ArrayLike, *, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over the bins of the reliability curve, weighted by their counts.

    probabilities: shape (n, k), rows sum to 1. truth: integers, shape (n,).
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
    """
    curve = reliability_curve(probabilities, truth, bins=bins)
    gaps = np.abs(curve.accuracy - curve.confidence)
    return float(np.nansum(gaps * curve.count) / curve.count.sum())


def coverage_risk(probabilities: ArrayLike, truth: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """The share of errors (risk) among the predictions kept at each confidence threshold, by their share (coverage).

    probabilities: shape (n, k), rows sum to 1. truth: integers, shape (n,).
    Returns two float64 arrays with one point for each distinct confidence, coverage rising to 1: predictions of equal
    confidence are kept or rejected together, so the curve does not depend on the order of the rows.
    Source: El-Yaniv & Wiener 2010, On the Foundations of Noise-free Selective Classification, JMLR 11.
    """
    confidence, correct = _confidence_and_correctness(probabilities, truth)
    order = np.argsort(-confidence, kind="stable")
    kept = np.arange(1, len(order) + 1)
    errors = np.cumsum(~correct[order])
    reachable = np.append(np.diff(confidence[order]) != 0, True)
    return (kept / len(order))[reachable], (errors / kept)[reachable]


def temperature_scale(scores: ArrayLike, temperature: float) -> FloatArray:
    """Soften (temperature > 1) or sharpen (< 1) predictions without changing which class comes first.

    scores: finite logits or log-probabilities, shape (n, k).
    Returns probabilities, float64, shape (n, k).
    Raises ConfigError if a score is not finite (floor probabilities before taking their logarithm) or the temperature
    is not a positive number.
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(f"expected a positive temperature, got {temperature}")
    return np.exp(_log_softmax(_valid_log_scores(scores) / temperature))


def fit_temperature(log_probabilities: ArrayLike, truth: ArrayLike) -> float:
    """The temperature, between 0.05 and 20, that gives the truth the highest likelihood.

    log_probabilities: finite logits or log-probabilities, shape (n, k). truth: integers, shape (n,).
    Raises ConfigError if a score is not finite or a label is out of range.
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
    """
    from scipy.optimize import minimize_scalar

    scores = _valid_log_scores(log_probabilities)
    labels = _valid_labels(truth, n_classes=scores.shape[1], name="truth")
    _require_equal_length("truth", len(labels), "log-probabilities", len(scores))
    rows = np.arange(len(labels))

    def negative_log_likelihood(log_temperature: float) -> float:
        return float(-_log_softmax(scores / math.exp(log_temperature))[rows, labels].mean())

    low, high = _TEMPERATURE_BOUNDS
    found = minimize_scalar(negative_log_likelihood, bounds=(math.log(low), math.log(high)), method="bounded")
    return math.exp(found.x)


def bootstrap_interval(
    statistic: Callable[[IntArray], float],
    truth: ArrayLike,
    predicted: ArrayLike,
    groups: Sequence[str | None] | None,
    *,
    n_classes: int,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of a statistic of the confusion matrix, by resampling whole groups (speakers).

    Utterances of one speaker are alike, so resampling them one by one would give intervals that are too narrow. That is
    still what happens when groups is None, has an unknown (None) speaker or has fewer than two speakers; the interval's
    unit says which it was.

    statistic: from an int64 confusion matrix, shape (n_classes, n_classes), to a number. truth, predicted: integers,
    shape (n,). groups: one name for each utterance.
    Raises ConfigError if labels or groups do not fit, draws is below 1 or level is not between 0 and 1.
    Source: Field & Welsh 2007, Bootstrapping clustered data, doi:10.1111/j.1467-9868.2007.00593.x.
    """
    if draws < 1 or not 0 < level < 1:
        raise ConfigError(f"expected at least 1 draw and a level between 0 and 1, got {draws} draws and level {level}")
    true_labels, predicted_labels = _label_pair(truth, predicted, n_classes)
    cells = true_labels * n_classes + predicted_labels
    names = _speaker_indices(groups, n=len(cells))
    if names is None:
        unit: Unit = "utterance"
        size = len(cells)
        matrices = _resample_utterances(cells, n_classes, draws, rng)
    else:
        unit = "speaker"
        size = int(names.max()) + 1
        matrices = _resample_speakers(cells, names, n_classes, draws, rng)
    tail = (1 - level) / 2
    low, high = np.quantile([statistic(matrix) for matrix in matrices], [tail, 1 - tail])
    return Interval(float(low), float(high), level, unit=unit, groups=size)


def score(
    truth: ArrayLike,
    probabilities: ArrayLike,
    *,
    classes: Sequence[str],
    groups: Sequence[str | None] | None,
    seed: int,
) -> Scores:
    """Every score of one set of predictions, with 95 % intervals bootstrapped over speakers.

    truth: indices into classes, shape (n,). probabilities: shape (n, len(classes)), rows sum to 1. groups: the speaker
    of each utterance, None where unknown (see bootstrap_interval). seed: of the bootstrap.
    """
    labels, predicted = _labels_and_predictions(truth, probabilities, classes)
    matrix = confusion_matrix(labels, predicted, n_classes=len(classes))

    def interval(statistic: Callable[[ArrayLike], float]) -> Interval:
        # The same seed for each score: all intervals come from the same resampled speakers.
        rng = np.random.default_rng(seed)
        return bootstrap_interval(statistic, labels, predicted, groups, n_classes=len(classes), rng=rng)

    return Scores(
        classes=tuple(classes),
        n=len(labels),
        confusion=matrix,
        uar=uar(matrix),
        wa=wa(matrix),
        macro_f1=macro_f1(matrix),
        ece=expected_calibration_error(probabilities, labels),
        recall=recall_per_class(matrix),
        precision=precision_per_class(matrix),
        f1=f1_per_class(matrix),
        intervals={"uar": interval(uar), "wa": interval(wa), "macro_f1": interval(macro_f1)},
    )


def score_by(
    values: Sequence[str | None], truth: ArrayLike, probabilities: ArrayLike, *, classes: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Number of utterances (n), UAR and WA for each value (a speaker, gender or language), sorted by value.

    values: one for each utterance; None is counted under "unknown". truth, probabilities: as in score.
    Returns an empty dict when no value at all is known. UAR is over the classes that the value's truth has.
    """
    labels, predicted = _labels_and_predictions(truth, probabilities, classes)
    _require_equal_length("values", len(values), "truth", len(labels))
    if all(value is None for value in values):
        return {}
    names = np.array([_UNKNOWN if value is None else value for value in values], dtype=object)
    return {
        name: _brief_scores(labels[names == name], predicted[names == name], len(classes))
        for name in sorted(set(names))
    }


def _brief_scores(labels: IntArray, predicted: IntArray, n_classes: int) -> dict[str, Any]:
    matrix = confusion_matrix(labels, predicted, n_classes=n_classes)
    return {"n": len(labels), "uar": uar(matrix), "wa": wa(matrix), "macro_f1": macro_f1(matrix)}


def _count_cells(cells: IntArray, n_classes: int) -> IntArray:
    counts = np.bincount(cells, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes).astype(np.int64, copy=False)


def _share(part: NDArray[Any], whole: NDArray[Any]) -> FloatArray:
    """The quotient, nan where the whole is 0."""
    shares = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares


def _f1(counts: IntArray) -> FloatArray:
    return _share(2 * counts.diagonal(), counts.sum(axis=0) + counts.sum(axis=1))


def _log_softmax(scores: FloatArray) -> FloatArray:
    shifted: FloatArray = scores - scores.max(axis=1, keepdims=True)
    logs: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


def _bin_edges(bins: int) -> FloatArray:
    if bins < 1:
        raise ConfigError(f"expected at least 1 bin, got {bins}")
    return np.linspace(0, 1, bins + 1)


def _confidence_and_correctness(probabilities: ArrayLike, truth: ArrayLike) -> tuple[FloatArray, NDArray[np.bool_]]:
    rows = _valid_probabilities(probabilities)
    labels = _valid_labels(truth, n_classes=rows.shape[1], name="truth")
    _require_equal_length("truth", len(labels), "probabilities", len(rows))
    return rows.max(axis=1), rows.argmax(axis=1) == labels


def _labels_and_predictions(
    truth: ArrayLike, probabilities: ArrayLike, classes: Sequence[str]
) -> tuple[IntArray, IntArray]:
    rows = _valid_probabilities(probabilities)
    if rows.shape[1] != len(classes):
        raise ConfigError(f"expected probabilities of {len(classes)} classes, got {rows.shape[1]} columns")
    return _label_pair(truth, rows.argmax(axis=1), len(classes))


def _speaker_indices(groups: Sequence[str | None] | None, *, n: int) -> IntArray | None:
    """Consecutive numbers for the speakers; None if they are unknown or too few to resample."""
    if groups is None:
        return None
    _require_equal_length("groups", len(groups), "truth", n)
    if any(group is None for group in groups):
        return None
    names, indices = np.unique(np.array(groups, dtype=object), return_inverse=True)
    return indices.astype(np.int64) if len(names) > 1 else None


def _resample_utterances(cells: IntArray, n_classes: int, draws: int, rng: np.random.Generator) -> IntArray:
    """Confusion matrices of resampled utterances, shape (draws, n_classes, n_classes).

    Utterances in the same cell are interchangeable, so the cell counts are drawn directly.
    """
    occupied, counts = np.unique(cells, return_counts=True)
    matrices = np.zeros((draws, n_classes * n_classes), dtype=np.int64)
    matrices[:, occupied] = rng.multinomial(len(cells), counts / len(cells), size=draws)
    return matrices.reshape(draws, n_classes, n_classes)


def _resample_speakers(
    cells: IntArray, speakers: IntArray, n_classes: int, draws: int, rng: np.random.Generator
) -> IntArray:
    """Confusion matrices of resampled speakers, shape (draws, n_classes, n_classes)."""
    n_speakers = int(speakers.max()) + 1
    n_cells = n_classes * n_classes
    per_speaker = np.bincount(speakers * n_cells + cells, minlength=n_speakers * n_cells).reshape(n_speakers, n_cells)
    times_drawn = rng.multinomial(n_speakers, np.full(n_speakers, 1 / n_speakers), size=draws)
    # As floats the product runs on BLAS; counts stay far below 2**53, where it would stop being exact.
    matrices = times_drawn.astype(np.float64) @ per_speaker.astype(np.float64)
    return matrices.astype(np.int64).reshape(draws, n_classes, n_classes)


def _label_pair(truth: ArrayLike, predicted: ArrayLike, n_classes: int) -> tuple[IntArray, IntArray]:
    true_labels = _valid_labels(truth, n_classes=n_classes, name="truth")
    predicted_labels = _valid_labels(predicted, n_classes=n_classes, name="predicted")
    _require_equal_length("predicted", len(predicted_labels), "truth", len(true_labels))
    return true_labels, predicted_labels


def _valid_labels(values: ArrayLike, *, n_classes: int, name: str) -> IntArray:
    labels = np.asarray(values)
    if labels.ndim != 1 or labels.size == 0:
        raise ConfigError(f"{name}: expected labels of shape (n,), n at least 1, got shape {labels.shape}")
    if labels.dtype.kind not in "iu":
        raise ConfigError(f"{name}: expected whole numbers (class indices), got {labels.dtype}")
    if labels.min() < 0 or labels.max() >= n_classes:
        raise ConfigError(f"{name}: expected labels from 0 to {n_classes - 1}, got {labels.min()} to {labels.max()}")
    return labels.astype(np.int64, copy=False)


def _valid_matrix(matrix: ArrayLike) -> IntArray:
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ConfigError(f"expected a confusion matrix of shape (k, k), got shape {counts.shape}")
    if counts.dtype.kind not in "iu":
        raise ConfigError(f"expected a confusion matrix of counts, got {counts.dtype}")
    if not counts.any() or counts.min() < 0:
        raise ConfigError("expected a confusion matrix with counts of 0 or more, at least one of them above 0")
    return counts.astype(np.int64, copy=False)


def _valid_probabilities(values: ArrayLike) -> FloatArray:
    rows = _valid_log_scores(values, name="probabilities")
    if rows.min() < 0:
        raise ConfigError(f"probabilities: expected values from 0 to 1, got {rows.min():.6g}")
    sums = rows.sum(axis=1)
    worst = int(np.abs(sums - 1).argmax())
    if abs(sums[worst] - 1) > _SUM_TOLERANCE:
        raise ConfigError(f"probabilities: expected rows that sum to 1, row {worst} sums to {sums[worst]:.6g}")
    return rows


def _valid_log_scores(values: ArrayLike, *, name: str = "log-probabilities") -> FloatArray:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 2 or scores.size == 0:
        raise ConfigError(f"{name}: expected shape (n, k), n and k at least 1, got shape {scores.shape}")
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        raise ConfigError(f"{name}: expected finite numbers, row {int(finite.argmin())} has nan or inf")
    return scores


def _require_equal_length(name: str, length: int, other_name: str, other_length: int) -> None:
    if length != other_length:
        raise ConfigError(f"{name}: expected {other_length} values, as many as {other_name}, got {length}")


def _json_number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
