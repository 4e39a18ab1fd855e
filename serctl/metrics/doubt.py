"""Labels that a classifier doubts: confident learning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from serctl.metrics.check import FloatArray, IntArray, require_equal_length, valid_labels, valid_probabilities

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def doubtful_labels(labels: ArrayLike, probabilities: ArrayLike) -> tuple[IntArray, IntArray, FloatArray]:
    """Find the labels that are likely to be wrong, by the probabilities of a classifier that never saw them.

    A class is confident for an utterance if its probability reaches the mean that it has over the utterances labelled
    so. A label is doubtful if the likeliest confident class is another one.

    Args:
        labels: given labels, integers, shape (n,).
        probabilities: out of sample, shape (n, k), rows sum to 1.

    Returns:
        The doubtful utterances, the most doubtful first; the class that each seems to be; and the margin: probability
        of the label minus that of this class.

    Raises:
        ConfigError: the arguments do not fit each other.

    Source: Northcutt et al. 2021, Confident Learning, doi:10.1613/jair.1.12125.
    """
    rows = valid_probabilities(probabilities)
    given = valid_labels(labels, n_classes=rows.shape[1], name="labels")
    require_equal_length("labels", len(given), "probabilities", len(rows))
    thresholds = np.array([_mean(rows[given == index, index]) for index in range(rows.shape[1])])
    confident = np.where(rows >= thresholds, rows, -1.0)
    seeming = confident.argmax(axis=1)
    doubtful = np.flatnonzero((confident.max(axis=1) >= 0) & (seeming != given))
    margins = rows[doubtful, given[doubtful]] - rows[doubtful, seeming[doubtful]]
    order = np.argsort(margins, kind="stable")
    return doubtful[order], seeming[doubtful[order]].astype(np.int64), margins[order]


def _mean(values: FloatArray) -> float:
    """The mean; infinity for a class that no label names, so that it is never confident."""
    return float(values.mean()) if len(values) else np.inf
