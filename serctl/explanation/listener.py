"""Ask a model about changed samples: the window of a recording that is explained, changed in many ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from serctl.explanation.quantity import Quantity
from serctl.features.compute import compute_windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from serctl.features import FeatureConfig, Features
    from serctl.runtime.recogniser import Recogniser

    Samples = NDArray[np.float32]

_AT_ONCE = 16


@dataclass(frozen=True)
class Listener:
    """A model that is asked for the probability of one emotion, or for its number.

    Attributes:
        recogniser: the model.
        target: index of the emotion among its labels; 0 for a number.
        language: code of the language spoken, or None.
    """

    recogniser: Recogniser
    target: int
    language: str | None = None

    @property
    def config(self) -> FeatureConfig:
        """The features of the model."""
        return self.recogniser.bundle.facts.features

    @property
    def quantity(self) -> Quantity:
        """What the model answers."""
        return Quantity.of(self.recogniser.bundle.facts)

    def all_answers(self, windows: Sequence[Samples]) -> NDArray[np.float64]:
        """Compute the calibrated probabilities of windows of samples, or their numbers.

        Args:
            windows: at least one, each mono float32, shape (n,), at the rate of the features.

        Returns:
            float64, shape (windows, labels).
        """
        groups = [windows[first : first + _AT_ONCE] for first in range(0, len(windows), _AT_ONCE)]
        return np.concatenate([self.of_features(compute_windows(group, self.config)) for group in groups])

    def of_features(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Compute the answers to features, float64, shape (windows, labels)."""
        return self.quantity.answers(self.recogniser.probabilities(features, [self.language] * len(features)))

    def __call__(self, windows: Sequence[Samples]) -> NDArray[np.float64]:
        """Compute the probability of the target emotion, or the number, in windows of samples; float64, (windows,)."""
        return self.all_answers(windows)[:, self.target]
