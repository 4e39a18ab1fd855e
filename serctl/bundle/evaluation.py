"""What metrics.json says of an evaluation: typed, with a version, and read back with every field checked."""

from __future__ import annotations

import json
from collections.abc import Mapping  # noqa: TC003 - read_record needs the types at run time
from dataclasses import dataclass, field, fields
from pathlib import Path  # noqa: TC003
from typing import Annotated, Any

from serctl.bundle.facts import GroupScores, Measure, ScoredPart
from serctl.bundle.federation import Count, Name, Share, Text  # noqa: TC001
from serctl.errors import ConfigError
from serctl.files import open_input
from serctl.records import Between, read_record

METRICS = "metrics.json"
METRICS_VERSION = 1
"""Version of metrics.json; a file without one is of version 1."""


@dataclass(frozen=True)
class FoldFacts:
    """How a fold was trained, and its scores; history: loss, val_loss and val_uar of each epoch."""

    fold: Text
    n_train: Count
    n_validation: Count
    n_test: Count
    uar: Share
    wa: Share
    ece: Share | None
    best_epoch: Count
    epochs: Count
    temperature: Measure
    validation: Text
    validation_uar: Share | None
    parameters: Count
    history: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class EvaluationFacts(ScoredPart):
    """The scores of an evaluation, and what they were measured on.

    model: of an evaluation of a model; per_fold, fit, augmentation, features, base, teachers: of a cross-validation.
    """

    version: Annotated[int, Between(1, METRICS_VERSION)] = METRICS_VERSION
    corpus: tuple[Text, ...] = ()
    left_out: Mapping[str, Count] = field(default_factory=dict)
    parameters: Count | None = None
    model: Name | None = None
    adapted: bool = False
    transductive: bool = False
    per_speaker: Mapping[str, GroupScores] = field(default_factory=dict)
    risk_at_coverage: Mapping[str, Share] = field(default_factory=dict)
    uar_fold_mean: Share | None = None
    per_fold: tuple[FoldFacts, ...] = ()
    base: Name | None = None
    teachers: tuple[Name, ...] = ()
    fit: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Mapping[str, Any] = field(default_factory=dict)
    features: Mapping[str, Any] = field(default_factory=dict)
    package_version: Text = ""
    packages: Mapping[str, Text] = field(default_factory=dict)
    created: Text = ""

    def part(self) -> ScoredPart:
        """Return the scores as a bundle quotes them, without the confusion matrix."""
        values = {each.name: getattr(self, each.name) for each in fields(ScoredPart)}
        return ScoredPart(**{**values, "confusion": ()})


def read_evaluation(folder: Path) -> EvaluationFacts:
    """Read metrics.json of an evaluation, of this version of serctl or an earlier one.

    Args:
        folder: of the evaluation.

    Returns:
        What it says.

    Raises:
        ConfigError: there is none, or a field is missing, of another type, out of range, or of a later version.
    """
    try:
        with open_input(folder / METRICS) as stream:
            return read_record(EvaluationFacts, json.load(stream))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder} is no evaluation: {METRICS}: {error}") from error
