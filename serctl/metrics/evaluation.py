"""What metrics.json says of an evaluation: typed, with a version, and read back with every field checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping  # noqa: TC003 - read_record needs the types at run time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path  # noqa: TC003
from typing import Annotated, Any, TypeAlias, TypeVar

from serctl.errors import ConfigError
from serctl.files import open_input
from serctl.metrics.facts import GroupScores, NumberPart, ScoredPart
from serctl.records import Between, Count, Measure, Name, Number, Share, Text, read_record

METRICS = "metrics.json"
METRICS_VERSION = 1
"""Version of metrics.json; a file without one is of version 1."""


@dataclass(frozen=True)
class FoldFacts:
    """How a fold was trained; history: loss, val_loss and the validation score of each epoch, None where undefined."""

    fold: Text
    n_train: Count
    n_validation: Count
    n_test: Count
    best_epoch: Count
    epochs: Count
    temperature: Measure
    validation: Text
    parameters: Count
    history: Mapping[str, tuple[float | None, ...]]


@dataclass(frozen=True)
class EmotionFold(FoldFacts):
    """A fold with the scores of its emotions."""

    uar: Share
    wa: Share
    ece: Share | None
    validation_uar: Share | None


@dataclass(frozen=True)
class NumberFold(FoldFacts):
    """A fold with the scores of its numbers."""

    mae: Measure | None
    ccc: Number | None
    pearson: Number | None
    validation_ccc: Number | None


@dataclass(frozen=True)
class NumberGroup:
    """Scores of the numbers of one speaker, corpus, language or gender; None where undefined."""

    n: Count
    mae: Measure | None
    ccc: Number | None
    pearson: Number | None


@dataclass(frozen=True)
class Circumstances:
    """What an evaluation was made of and with.

    model: of an evaluation of a model; fit, augmentation, features, base, teachers: of a cross-validation. text: how
    many utterances have words, by what was found of them.
    """

    version: Annotated[int, Between(1, METRICS_VERSION)] = METRICS_VERSION
    corpus: tuple[Text, ...] = ()
    left_out: Mapping[str, Count] = field(default_factory=dict)
    parameters: Count | None = None
    model: Name | None = None
    adapted: bool = False
    transductive: bool = False
    text: Mapping[str, Count] = field(default_factory=dict)
    base: Name | None = None
    teachers: tuple[Name, ...] = ()
    fit: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Mapping[str, Any] = field(default_factory=dict)
    features: Mapping[str, Any] = field(default_factory=dict)
    package_version: Text = ""
    packages: Mapping[str, Text] = field(default_factory=dict)
    created: Text = ""


@dataclass(frozen=True)
class EvaluationFacts(Circumstances, ScoredPart):
    """The scores of an evaluation of emotions, and what they were measured on; per_fold: of a cross-validation."""

    per_speaker: Mapping[str, GroupScores] = field(default_factory=dict)
    risk_at_coverage: Mapping[str, Share] = field(default_factory=dict)
    uar_fold_mean: Share | None = None
    per_fold: tuple[EmotionFold, ...] = ()

    def part(self) -> ScoredPart:
        """Return the scores as a bundle quotes them, without the confusion matrix."""
        values = {each.name: getattr(self, each.name) for each in fields(ScoredPart)}
        return ScoredPart(**{**values, "confusion": ()})


@dataclass(frozen=True)
class NumberEvaluationFacts(Circumstances, NumberPart):
    """The scores of an evaluation of numbers, and what they were measured on; target: the name of the numbers."""

    target: Name = ""
    per_speaker: Mapping[str, NumberGroup] = field(default_factory=dict)
    per_corpus: Mapping[str, NumberGroup] = field(default_factory=dict)
    per_language: Mapping[str, NumberGroup] = field(default_factory=dict)
    per_gender: Mapping[str, NumberGroup] = field(default_factory=dict)
    per_fold: tuple[NumberFold, ...] = ()
    command: Text | None = None
    commit: Text | None = None


AnyEvaluation: TypeAlias = EvaluationFacts | NumberEvaluationFacts
_Facts = TypeVar("_Facts", EvaluationFacts, NumberEvaluationFacts, AnyEvaluation)


def evaluation_dict(facts: AnyEvaluation) -> dict[str, Any]:
    """Return the facts as metrics.json holds them: every field, an undefined or unknown one as None."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(facts)))
    return values


def read_evaluation(folder: Path) -> EvaluationFacts:
    """Read metrics.json of an evaluation of emotions, of this version of serctl or an earlier one.

    Args:
        folder: of the evaluation.

    Returns:
        What it says.

    Raises:
        ConfigError: there is none, or a field is missing, of another type, out of range, or of a later version.
    """
    return _read(folder, lambda _: EvaluationFacts)


def read_any_evaluation(folder: Path) -> AnyEvaluation:
    """Read metrics.json of an evaluation of emotions or of numbers; see read_evaluation."""
    return _read(folder, _kind_of)


def _kind_of(content: Any) -> type[EvaluationFacts] | type[NumberEvaluationFacts]:
    return NumberEvaluationFacts if isinstance(content, dict) and content.get("target") else EvaluationFacts


def _read(folder: Path, kind_of: Callable[[Any], type[_Facts]]) -> _Facts:
    try:
        with open_input(folder / METRICS) as stream:
            content = json.load(stream)
            return read_record(kind_of(content), content)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder} is no evaluation: {METRICS}: {error}") from error
