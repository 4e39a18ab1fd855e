"""What an explanation is about: the probability of an emotion, or a number on a scale; and how it is written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.bundle.facts import BundleFacts
    from serctl.metrics import Scale


@dataclass(frozen=True)
class Quantity:
    """The quantity that a model answers.

    Attributes:
        labels: names of what the model answers: its emotions, or the one number.
        scale: of the number; None for the probability of an emotion.
    """

    labels: tuple[str, ...]
    scale: Scale | None = None

    @classmethod
    def of(cls, facts: BundleFacts) -> Quantity:
        """Return the quantity that a model answers."""
        scale = facts.target.scale if facts.target else None
        return cls((scale.name,) if scale else facts.labels, scale)

    @property
    def name(self) -> str:
        """What a value is called within a sentence."""
        return self.scale.name if self.scale else "probability"

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest value."""
        return (self.scale.low, self.scale.high) if self.scale else (0.0, 1.0)

    @property
    def points(self) -> str:
        """What a difference is measured in."""
        return f"change of {self.name}" if self.scale else "points of probability"

    def answers(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn the output of a network into answers.

        Args:
            probabilities: of emotions, or of the bins of a number, shape (n, outputs).

        Returns:
            float64, shape (n, labels); NaN where the probabilities are.
        """
        return self.scale.values(probabilities)[:, None] if self.scale else probabilities

    def even(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values of which equal differences count alike: log-odds of probabilities, numbers as they are."""
        return values if self.scale else log_odds(values)

    def shown(self, value: float) -> str:
        """Write a value for readers."""
        return f"{value:.{self._decimals}f}" if self.scale else f"{100 * value:.0f}\u00a0%"

    def in_points(self, difference: float) -> float:
        """Return a difference in the unit that points names."""
        return difference if self.scale else 100 * difference

    def shown_in_points(self, difference: float) -> str:
        """Write a difference for readers, with its sign."""
        return f"{self.in_points(difference):+.{self._decimals if self.scale else 1}f}"

    def mean(self, value: float) -> str:
        """Write the mean of values for readers."""
        return f"{value:.{self._decimals}f}"

    @property
    def _decimals(self) -> int:
        """So many that a hundredth of the range shows."""
        low, high = self.bounds
        return max(0, 2 - math.floor(math.log10(high - low)))


def log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of the odds, in which near certainty still shows small changes."""
    kept = np.clip(probabilities, 1e-6, 1 - 1e-6)
    return np.log(kept / (1 - kept))
