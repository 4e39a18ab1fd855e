"""Scores as bundle.json and metrics.json hold them: typed, with a range for every field."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - read_record needs the types at run time
from dataclasses import dataclass, field

from serctl.records import Count, Measure, Name, Number, Share, Text  # noqa: TC001


@dataclass(frozen=True)
class ProtocolFacts:
    """How scores were found; speaker_independent: None where nobody can tell."""

    name: Name
    description: Text
    speaker_independent: bool | None = None
    validation: Text | None = None


@dataclass(frozen=True)
class IntervalFacts:
    """A confidence interval; unit: what was resampled, groups: how many of those."""

    low: Share | None
    high: Share | None
    unit: Name
    level: Share = 0.95
    groups: Count = 0


@dataclass(frozen=True)
class ClassScores:
    """Scores of one emotion; None where undefined."""

    n: Count
    recall: Share | None = None
    precision: Share | None = None
    f1: Share | None = None


@dataclass(frozen=True)
class GroupScores:
    """Scores of the utterances of one corpus, language or gender; older models have no macro-F1 or ECE."""

    n: Count
    uar: Share
    wa: Share
    macro_f1: Share | None = None
    ece: Share | None = None

    @property
    def rates(self) -> tuple[float, float, float | None]:
        """UAR, WA and macro-F1."""
        return self.uar, self.wa, self.macro_f1


@dataclass(frozen=True)
class Kept:
    """What a threshold on the confidence leaves: the share of utterances, and the share of errors among them."""

    coverage: Share
    risk: Share | None = None


@dataclass(frozen=True)
class Leakage:
    """What test and training share.

    speakers_shared: known speakers in both; speakers: the first of them. training_without_speaker: training utterances
    whose speaker is unknown. identical_audio: test recordings that were trained on, as they are or as augmented copies.
    """

    speakers_shared: Count = 0
    training_without_speaker: Count = 0
    identical_audio: Count = 0
    test_utterances: Count = 0
    speakers: tuple[Text, ...] | None = None


@dataclass(frozen=True)
class ScoredPart:
    """Scores of a model, or of a cross-validation that the card quotes.

    base_uar: that of the model that training started from, on the same utterances. best_epoch: 0 if it was kept.
    """

    protocol: ProtocolFacts
    n: Count
    uar: Share
    wa: Share
    macro_f1: Share
    ece: Share | None
    intervals: Mapping[str, IntervalFacts]
    classes: tuple[Name, ...] = ()
    per_class: Mapping[str, ClassScores] = field(default_factory=dict)
    per_corpus: Mapping[str, GroupScores] = field(default_factory=dict)
    per_language: Mapping[str, GroupScores] = field(default_factory=dict)
    per_gender: Mapping[str, GroupScores] = field(default_factory=dict)
    confusion: tuple[tuple[Count, ...], ...] = ()
    no_speech: tuple[Count, ...] = ()
    thresholds: Mapping[str, Kept] = field(default_factory=dict)
    best_epoch: Count | None = None
    epochs: Count | None = None
    architecture: Name | None = None
    leakage: Leakage | None = None
    base_uar: Share | None = None
    seed: Count | None = None
    command: Text | None = None
    commit: Text | None = None


@dataclass(frozen=True)
class NumberIntervalFacts:
    """A confidence interval of a score of numbers; see IntervalFacts."""

    low: Number | None
    high: Number | None
    unit: Name
    level: Share = 0.95
    groups: Count = 0


@dataclass(frozen=True)
class NumberPart:
    """Scores of a model of numbers: mean absolute error, concordance, correlation; None where undefined."""

    protocol: ProtocolFacts
    n: Count
    mae: Measure | None
    ccc: Number | None
    pearson: Number | None
    intervals: Mapping[str, NumberIntervalFacts]
    no_speech: Count = 0
    best_epoch: Count | None = None
    epochs: Count | None = None
    architecture: Name | None = None
    leakage: Leakage | None = None
    seed: Count | None = None
