"""What the metrics accept: labels, confusion matrices, probabilities. Each check raises ConfigError."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serctl.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]

# Softmax outputs are float32, or come from an int8 model: their sums differ from 1 by rounding.
_SUM_TOLERANCE = 1e-3


def label_pair(truth: ArrayLike, predicted: ArrayLike, n_classes: int) -> tuple[IntArray, IntArray]:
    """Check true and predicted labels and return both as int64, shape (n,)."""
    true_labels = valid_labels(truth, n_classes=n_classes, name="truth")
    predicted_labels = valid_labels(predicted, n_classes=n_classes, name="predicted")
    require_equal_length("predicted", len(predicted_labels), "truth", len(true_labels))
    return true_labels, predicted_labels


def labels_and_predictions(
    truth: ArrayLike, probabilities: ArrayLike, classes: Sequence[str]
) -> tuple[IntArray, IntArray]:
    """Return labels and predictions; a row that is all NaN ("no speech") is predicted as len(classes)."""
    rows = np.asarray(probabilities, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(classes):
        raise ConfigError(f"expected probabilities of {len(classes)} classes. Received: the shape {rows.shape}")
    spoken = ~np.isnan(rows).all(axis=1)
    predicted = np.full(len(rows), len(classes))
    if spoken.any() or not len(rows):
        predicted[spoken] = valid_probabilities(rows[spoken]).argmax(axis=1)
    valid_labels(truth, n_classes=len(classes), name="truth")
    return label_pair(truth, predicted, len(classes) + 1)


def valid_labels(values: ArrayLike, *, n_classes: int, name: str) -> IntArray:
    """Check labels, whole numbers from 0 to n_classes - 1, shape (n,), and return them as int64."""
    labels = np.asarray(values)
    if labels.ndim != 1 or labels.size == 0:
        raise ConfigError(f"{name}: expected labels of shape (n,), n at least 1. Received: shape {labels.shape}")
    if labels.dtype.kind not in "iu":
        raise ConfigError(f"{name}: expected whole numbers (class indices). Received: {labels.dtype}")
    if labels.min() < 0 or labels.max() >= n_classes:
        raise ConfigError(
            f"{name}: expected labels from 0 to {n_classes - 1}. Received: {labels.min()} to {labels.max()}"
        )
    return labels.astype(np.int64, copy=False)


def valid_matrix(matrix: ArrayLike) -> IntArray:
    """Check a confusion matrix, counts of shape (k, k), and return it as int64."""
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ConfigError(f"expected a confusion matrix of shape (k, k). Received: shape {counts.shape}")
    if counts.dtype.kind not in "iu":
        raise ConfigError(f"expected a confusion matrix of counts. Received: {counts.dtype}")
    if not counts.any() or counts.min() < 0:
        raise ConfigError("expected a confusion matrix with counts of 0 or more, at least one of them above 0")
    return counts.astype(np.int64, copy=False)


def valid_probabilities(values: ArrayLike) -> FloatArray:
    """Check probabilities, rows of shape (n, k) that sum to 1, and return them as float64."""
    rows = valid_log_scores(values, name="probabilities")
    if rows.min() < 0:
        raise ConfigError(f"probabilities: expected values from 0 to 1. Received: {rows.min():.6g}")
    sums = rows.sum(axis=1)
    worst = int(np.abs(sums - 1).argmax())
    if abs(sums[worst] - 1) > _SUM_TOLERANCE:
        raise ConfigError(f"probabilities: expected rows that sum to 1, row {worst} sums to {sums[worst]:.6g}")
    return rows


def valid_log_scores(values: ArrayLike, *, name: str = "log-probabilities") -> FloatArray:
    """Check scores, finite numbers of shape (n, k), and return them as float64."""
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 2 or scores.size == 0:
        raise ConfigError(f"{name}: expected shape (n, k), n and k at least 1. Received: shape {scores.shape}")
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        raise ConfigError(f"{name}: expected finite numbers, row {int(finite.argmin())} has nan or inf")
    return scores


def require_equal_length(name: str, length: int, other_name: str, other_length: int) -> None:
    """Raise ConfigError unless two arguments have equally many values."""
    if length != other_length:
        raise ConfigError(f"{name}: expected {other_length} values, as many as {other_name}. Received: {length}")
