"""What a fit is to answer: one of some emotions, or a number on a scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from serctl.metrics import Scale, concordance, confusion_matrix, uar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from serctl.learning.batches import Example

_SMALLEST_PROBABILITY = 1e-7


class Goal(Protocol):
    """The answers that a network is to give."""

    @property
    def score(self) -> str:
        """Name of the score that selects the epoch."""
        ...

    def answers(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Return what the network is to answer, shape (examples, outputs), rows sum to 1."""
        ...

    def weights(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Return how much an answer counts in training, shape (outputs,); their mean over the examples is 1."""
        ...

    def rate(
        self, probabilities: NDArray[np.float32], examples: Sequence[Example]
    ) -> tuple[NDArray[np.float64], float]:
        """Return the loss of each answer, shape (examples,), and their score."""
        ...


@dataclass(frozen=True)
class EmotionGoal:
    """One of n_classes emotions; every emotion that occurs counts alike.

    class_counts: how often each occurs, where the examples are a part of them all; None for their own.
    """

    n_classes: int
    class_counts: NDArray[np.integer] | None = None
    score: str = "uar"

    def answers(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Return one-hot rows; see Goal."""
        return np.eye(self.n_classes, dtype=np.float32)[_labels(examples)]

    def weights(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Return weights that give every emotion that occurs the same say; see Goal."""
        own = np.bincount(_labels(examples), minlength=self.n_classes)
        counts = own if self.class_counts is None else self.class_counts
        present = max(int((counts > 0).sum()), 1)
        return (counts.sum() / (present * np.maximum(counts, 1))).astype(np.float32)

    def rate(
        self, probabilities: NDArray[np.float32], examples: Sequence[Example]
    ) -> tuple[NDArray[np.float64], float]:
        """Return cross-entropies and UAR; see Goal."""
        labels = _labels(examples)
        matrix = confusion_matrix(labels, probabilities.argmax(axis=1), n_classes=self.n_classes)
        return _cross_entropy(self.answers(examples), probabilities), uar(matrix)


@dataclass(frozen=True)
class NumberGoal:
    """A number on a scale; every utterance counts alike."""

    scale: Scale
    score: str = "ccc"

    def answers(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Return histograms of the numbers; see Goal."""
        return self.scale.histograms([example.value for example in examples])

    def weights(self, examples: Sequence[Example]) -> NDArray[np.float32]:  # noqa: ARG002 - as for emotions
        """Return ones; see Goal."""
        return np.ones(self.scale.bins, np.float32)

    def rate(
        self, probabilities: NDArray[np.float32], examples: Sequence[Example]
    ) -> tuple[NDArray[np.float64], float]:
        """Return cross-entropies and CCC, 0 where it is not defined; see Goal."""
        found = concordance([example.value for example in examples], self.scale.values(probabilities))
        return _cross_entropy(self.answers(examples), probabilities), found if math.isfinite(found) else 0.0


def _labels(examples: Sequence[Example]) -> NDArray[np.intp]:
    return np.array([example.label for example in examples], dtype=np.intp)


def _cross_entropy(answers: NDArray[np.float32], probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    logs = np.log(np.maximum(probabilities, _SMALLEST_PROBABILITY), dtype=np.float64)
    losses: NDArray[np.float64] = -(answers * logs).sum(axis=1)
    return losses
