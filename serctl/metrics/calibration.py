"""Calibration: does the confidence of predictions agree with their accuracy?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import ConfigError
from serctl.metrics.check import (
    FloatArray,
    IntArray,
    require_equal_length,
    valid_labels,
    valid_log_scores,
    valid_probabilities,
)
from serctl.metrics.counts import share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


_TEMPERATURE_BOUNDS = (0.05, 20.0)


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """Confidence against accuracy in equal-width bins of confidence; each array has shape (bins,).

    Attributes:
        centre: the middle of each bin.
        confidence: mean confidence, NaN in an empty bin.
        accuracy: share of correct predictions, NaN in an empty bin.
        count: number of predictions.
    """

    centre: FloatArray
    confidence: FloatArray
    accuracy: FloatArray
    count: IntArray


def reliability_curve(probabilities: ArrayLike, truth: ArrayLike, *, bins: int = 15) -> ReliabilityCurve:
    """Compute the accuracy of predictions as a function of their confidence.

    Args:
        probabilities: shape (n, k), rows sum to 1.
        truth: integers, shape (n,).
        bins: number of equal-width bins (low, high] of the highest probability of each row.

    Returns:
        The curve.

    Raises:
        ConfigError: the arguments do not fit each other.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
    """
    confidence, correct = _confidence_and_correctness(probabilities, truth)
    edges = _bin_edges(bins)
    bin_of = confidence_bins(confidence, bins=bins)
    count = np.bincount(bin_of, minlength=bins)
    return ReliabilityCurve(
        centre=(edges[:-1] + edges[1:]) / 2,
        confidence=share(np.bincount(bin_of, weights=confidence, minlength=bins), count),
        accuracy=share(np.bincount(bin_of, weights=correct, minlength=bins), count),
        count=count.astype(np.int64),
    )


def expected_calibration_error(probabilities: ArrayLike, truth: ArrayLike, *, bins: int = 15) -> float:
    """Compute the mean difference of confidence and accuracy over the bins of the reliability curve, by their counts.

    Args:
        probabilities: shape (n, k), rows sum to 1.
        truth: integers, shape (n,).
        bins: number of equal-width bins of confidence.

    Returns:
        The error, 0 to 1.

    Raises:
        ConfigError: the arguments do not fit each other.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
    """
    curve = reliability_curve(probabilities, truth, bins=bins)
    gaps = np.abs(curve.accuracy - curve.confidence)
    return float(np.nansum(gaps * curve.count) / curve.count.sum())


def coverage_risk(probabilities: ArrayLike, truth: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Compute the share of errors (risk) among the predictions that each confidence threshold keeps (coverage).

    Args:
        probabilities: shape (n, k), rows sum to 1.
        truth: integers, shape (n,).

    Returns:
        Coverage, rising to 1, and risk: float64, one point for each distinct confidence. Predictions of equal
        confidence are kept or rejected together, so the curve does not depend on the order of the rows.

    Raises:
        ConfigError: the arguments do not fit each other.

    Source: El-Yaniv & Wiener 2010, On the Foundations of Noise-free Selective Classification, JMLR 11.
    """
    confidence, correct = _confidence_and_correctness(probabilities, truth)
    order = np.argsort(-confidence, kind="stable")
    kept = np.arange(1, len(order) + 1)
    errors = np.cumsum(~correct[order])
    reachable = np.append(np.diff(confidence[order]) != 0, True)
    return (kept / len(order))[reachable], (errors / kept)[reachable]


def kept_above(probabilities: ArrayLike, truth: ArrayLike, thresholds: Sequence[float]) -> dict[str, dict[str, float]]:
    """Compute what thresholds on the confidence leave.

    Args:
        probabilities: shape (n, k), rows sum to 1.
        truth: integers, shape (n,).
        thresholds: least confidences.

    Returns:
        By threshold: coverage, the share of predictions kept, and, where any is kept, risk, the share of errors among
        them.
    """
    confidence, correct = _confidence_and_correctness(probabilities, truth)
    found = {}
    for threshold in thresholds:
        kept = correct[confidence >= threshold]
        risk = {"risk": float(1 - kept.mean())} if kept.size else {}
        found[f"{threshold:g}"] = {"coverage": len(kept) / max(len(correct), 1), **risk}
    return found


def temperature_scale(scores: ArrayLike, temperature: float) -> FloatArray:
    """Soften (temperature > 1) or sharpen (< 1) predictions; the most likely class stays the same.

    Args:
        scores: finite logits or log-probabilities, shape (n, k).
        temperature: divides the scores, above 0.

    Returns:
        Probabilities, float64, shape (n, k).

    Raises:
        ConfigError: a score is not finite (limit probabilities from below before taking their logarithm), or the
            temperature is not a positive number.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(f"expected a positive temperature. Received: {temperature}")
    return np.exp(_log_softmax(valid_log_scores(scores) / temperature))


def fit_temperature(log_probabilities: ArrayLike, truth: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Find the temperature, between 0.05 and 20, that gives the truth the highest likelihood.

    Args:
        log_probabilities: finite logits or log-probabilities, shape (n, k).
        truth: integers, shape (n,).
        weights: how much each row counts, shape (n,), not all 0; None for all alike.

    Returns:
        The temperature.

    Raises:
        ConfigError: a score is not finite or a label is out of range.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
    """
    from scipy.optimize import minimize_scalar

    scores = valid_log_scores(log_probabilities)
    labels = valid_labels(truth, n_classes=scores.shape[1], name="truth")
    require_equal_length("truth", len(labels), "log-probabilities", len(scores))
    rows = np.arange(len(labels))
    shares = None if weights is None else np.asarray(weights, dtype=np.float64)

    def negative_log_likelihood(log_temperature: float) -> float:
        logs = _log_softmax(scores / math.exp(log_temperature))[rows, labels]
        return float(-np.average(logs, weights=shares))

    low, high = _TEMPERATURE_BOUNDS
    found = minimize_scalar(negative_log_likelihood, bounds=(math.log(low), math.log(high)), method="bounded")
    return math.exp(found.x)


def _log_softmax(scores: FloatArray) -> FloatArray:
    shifted: FloatArray = scores - scores.max(axis=1, keepdims=True)
    logs: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


def confidence_bins(confidence: FloatArray, *, bins: int = 15) -> NDArray[np.intp]:
    """Return the bin (low, high] of equal width that each confidence is in, from 0 on."""
    return np.searchsorted(_bin_edges(bins)[1:-1], confidence, side="left")


def _bin_edges(bins: int) -> FloatArray:
    if bins < 1:
        raise ConfigError(f"expected at least 1 bin. Received: {bins}")
    return np.linspace(0, 1, bins + 1)


def _confidence_and_correctness(probabilities: ArrayLike, truth: ArrayLike) -> tuple[FloatArray, NDArray[np.bool_]]:
    rows = valid_probabilities(probabilities)
    labels = valid_labels(truth, n_classes=rows.shape[1], name="truth")
    require_equal_length("truth", len(labels), "probabilities", len(rows))
    return rows.max(axis=1), rows.argmax(axis=1) == labels
