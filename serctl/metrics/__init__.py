"""Scores of a classifier, or of predicted numbers, their uncertainty and their calibration.

Labels are class indices (0 to k - 1), probabilities are rows of shape (k,) that sum to 1, and a confusion matrix has
the truth in its rows. Every public function checks its arguments first and raises ConfigError with what was expected
and what was received.
"""

from serctl.metrics.calibration import (
    ReliabilityCurve,
    confidence_bins,
    coverage_risk,
    expected_calibration_error,
    fit_temperature,
    kept_above,
    reliability_curve,
    temperature_scale,
)
from serctl.metrics.counts import (
    confusion_matrix,
    f1_per_class,
    macro_f1,
    precision_per_class,
    recall_per_class,
    uar,
    wa,
)
from serctl.metrics.doubt import doubtful_labels
from serctl.metrics.intervals import Interval, bootstrap_interval
from serctl.metrics.numbers import NumberScores, concordance, score_numbers, score_numbers_by
from serctl.metrics.paired import Comparison, Difference, paired_differences, paired_number_differences
from serctl.metrics.scale import Scale
from serctl.metrics.scores import Scores, score, score_by, score_counts

__all__ = [
    "Comparison",
    "Difference",
    "Interval",
    "NumberScores",
    "ReliabilityCurve",
    "Scale",
    "Scores",
    "bootstrap_interval",
    "concordance",
    "confidence_bins",
    "confusion_matrix",
    "coverage_risk",
    "doubtful_labels",
    "expected_calibration_error",
    "f1_per_class",
    "fit_temperature",
    "kept_above",
    "macro_f1",
    "paired_differences",
    "paired_number_differences",
    "precision_per_class",
    "recall_per_class",
    "reliability_curve",
    "score",
    "score_by",
    "score_counts",
    "score_numbers",
    "score_numbers_by",
    "temperature_scale",
    "uar",
    "wa",
]
