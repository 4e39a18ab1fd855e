"""The scores of a trained network on the part that was held out, as its bundle tells them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.bundle.facts import TargetFacts
from serctl.learning.calibrate import Learned, predict_samples
from serctl.learning.earlier import base_uar
from serctl.learning.left_out import score_left_out
from serctl.metrics import NumberScores, Scores, score, score_by, score_numbers
from serctl.metrics.facts import NumberPart, ScoredPart
from serctl.records import read_record
from serctl.reports.plots import plot_confusion, plot_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.corpora import Split
    from serctl.learning.dataset import Dataset, Sample
    from serctl.learning.recipe import Recipe
    from serctl.metrics.facts import Leakage

_TITLE = "held-out validation part"


@dataclass(frozen=True)
class HeldOut:
    """A trained network and what was held out; target of the answers: emotions, or numbers where there is a scale."""

    learned: Learned
    dataset: Dataset
    split: Split
    recipe: Recipe

    @cached_property
    def samples(self) -> list[Sample]:
        """What was held out."""
        return [self.dataset.samples[index] for index in self.split.held_out]

    @cached_property
    def scores(self) -> Scores | NumberScores:
        """All scores, with their intervals."""
        groups, seed = [sample.utterance.speaker_id for sample in self.samples], self.recipe.fit.seed
        if self.dataset.scale:
            return score_numbers(self._truth, self._numbers, groups=groups, seed=seed)
        return score(self._truth, self._probabilities, classes=self.dataset.classes, groups=groups, seed=seed)

    def metrics(self, leakage: Leakage, quoted: ScoredPart | None) -> dict[str, ScoredPart]:
        """Return the scores of emotions by the way they were found; empty for numbers.

        Args:
            leakage: what the parts share.
            quoted: a cross-validation.
        """
        if self.dataset.scale:
            return {}
        base = self.recipe.base
        validation = replace(
            read_record(ScoredPart, {**self._values(leakage), **self._by_group()}),
            base_uar=base_uar(base, self.samples, self._truth, self.dataset.classes) if base else None,
        )
        cross_validation = {"cross_validation": quoted} if quoted else {}
        return {"validation": validation, **cross_validation, **self._left_out()}

    def target(self, leakage: Leakage) -> TargetFacts | None:
        """Return the scale of numbers and their scores; None for emotions."""
        if self.dataset.scale is None:
            return None
        return TargetFacts(self.dataset.scale, {"validation": read_record(NumberPart, self._values(leakage))})

    def plot(self, folder: Path) -> None:
        """Draw the confusion of emotions, or predicted numbers against the truth."""
        if isinstance(self.scores, Scores):
            title = f"Confusion on the {_TITLE}"
            plot_confusion(folder / "confusion.png", self.scores.confusion, self.scores.classes, title=title)
        elif self.dataset.scale:
            title = f"Numbers of the {_TITLE}"
            name = self.dataset.scale.name
            plot_numbers(folder / "numbers.png", self._truth, self._numbers, name=name, title=title)

    @cached_property
    def _truth(self) -> NDArray[Any]:
        held_out = list(self.split.held_out)
        return self.dataset.values[held_out] if self.dataset.scale else self.dataset.labels[held_out]

    @cached_property
    def _probabilities(self) -> NDArray[np.float64]:
        return predict_samples(self.learned, self.samples)

    @property
    def _numbers(self) -> NDArray[np.float64]:
        return self.dataset.scale.values(self._probabilities) if self.dataset.scale else np.empty(0)

    def _values(self, leakage: Leakage) -> dict[str, Any]:
        """What emotions and numbers have in common."""
        independent = self.split.speaker_disjoint and not (leakage.speakers_shared or leakage.identical_audio)
        calibrated = not (self.learned.left_out or self.dataset.scale)
        protocol = {
            "name": "validation",
            "speaker_independent": independent,
            "description": f"{self.split.reason}; optimistic: this part selected the epoch"
            + (" and the temperature" if calibrated else ""),
        }
        fitted = self.learned.fitted
        return {
            "protocol": protocol,
            "leakage": asdict(leakage),
            **self.scores.to_dict(),
            "best_epoch": fitted.best_epoch,
            "epochs": len(fitted.history["loss"]),
        }

    def _by_group(self) -> dict[str, Any]:
        classes: Sequence[str] = self.dataset.classes
        return {
            f"per_{name}": score_by(
                [getattr(each.utterance, name) for each in self.samples],
                self._truth,
                self._probabilities,
                classes=classes,
            )
            for name in ("corpus", "language", "gender")
        }

    def _left_out(self) -> dict[str, ScoredPart]:
        """How networks of the other corpora answered on each; empty where none was left out."""
        if not self.learned.left_out:
            return {}
        parts = {}
        for name, adapted in (("left_out", False), ("left_out_adapted", True)):
            values = score_left_out(
                self.learned.left_out, classes=self.dataset.classes, seed=self.recipe.fit.seed, adapted=adapted
            )
            if self.recipe.teachers:
                values["protocol"]["description"] += "; optimistic where the teachers were trained on it"
            parts[name] = read_record(ScoredPart, values)
        return parts
