"""The confusion matrix and the scores that follow from it: recall, precision, F1, UAR, WA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.metrics.check import FloatArray, IntArray, label_pair, valid_matrix

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def confusion_matrix(truth: ArrayLike, predicted: ArrayLike, *, n_classes: int) -> IntArray:
    """Count how often each class (row) was predicted as each class (column).

    Args:
        truth: integers from 0 to n_classes - 1, shape (n,).
        predicted: integers from 0 to n_classes - 1, shape (n,).
        n_classes: number of classes.

    Returns:
        int64, shape (n_classes, n_classes).

    Raises:
        ConfigError: the labels are empty, unequal in number, not whole numbers or out of range.
    """
    true_labels, predicted_labels = label_pair(truth, predicted, n_classes)
    return _count_cells(true_labels * n_classes + predicted_labels, n_classes)


def recall_per_class(matrix: ArrayLike) -> FloatArray:
    """Compute the share of each class that was recognised, float64, shape (k,); NaN for a class without utterances."""
    counts = valid_matrix(matrix)
    return share(counts.diagonal(), counts.sum(axis=1))


def precision_per_class(matrix: ArrayLike) -> FloatArray:
    """Compute the share of the predictions of each class that is right, float64, shape (k,); NaN if there are none."""
    counts = valid_matrix(matrix)
    return share(counts.diagonal(), counts.sum(axis=0))


def f1_per_class(matrix: ArrayLike) -> FloatArray:
    """Compute the harmonic mean of recall and precision, float64, shape (k,).

    0 for a class that was never predicted, NaN for one that is neither in the truth nor among the predictions.
    """
    return _f1(valid_matrix(matrix))


def uar(matrix: ArrayLike) -> float:
    """Compute the unweighted average recall (UA, balanced accuracy): the mean recall of the classes in the truth."""
    return float(uars(valid_matrix(matrix)))


def wa(matrix: ArrayLike) -> float:
    """Compute the weighted accuracy: the share of all utterances that was classified correctly."""
    return float(was(valid_matrix(matrix)))


def macro_f1(matrix: ArrayLike) -> float:
    """Compute the mean F1 of the classes in the truth."""
    return float(macro_f1s(valid_matrix(matrix)))


def uars(matrices: IntArray) -> FloatArray:
    """Compute the UAR of each confusion matrix: shape (..., k, k) to (...)."""
    return _mean_in_truth(share(_hits(matrices), matrices.sum(axis=-1)), matrices)


def was(matrices: IntArray) -> FloatArray:
    """Compute the weighted accuracy of each confusion matrix: shape (..., k, k) to (...)."""
    return np.asarray(_hits(matrices).sum(axis=-1) / matrices.sum(axis=(-2, -1)))


def macro_f1s(matrices: IntArray) -> FloatArray:
    """Compute the macro-F1 of each confusion matrix: shape (..., k, k) to (...)."""
    return _mean_in_truth(_f1(matrices), matrices)


def _hits(matrices: IntArray) -> IntArray:
    return matrices.diagonal(axis1=-2, axis2=-1)


def _mean_in_truth(scores: FloatArray, matrices: IntArray) -> FloatArray:
    """The mean over the classes that occur in the truth; scores of shape (..., k)."""
    return np.asarray(scores.mean(axis=-1, where=matrices.sum(axis=-1) > 0))


def _count_cells(cells: IntArray, n_classes: int) -> IntArray:
    counts = np.bincount(cells, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes).astype(np.int64, copy=False)


def share(part: NDArray[Any], whole: NDArray[Any]) -> FloatArray:
    """Divide, with NaN where the whole is 0."""
    shares = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares


def _f1(counts: IntArray) -> FloatArray:
    return share(2 * _hits(counts), counts.sum(axis=-2) + counts.sum(axis=-1))
