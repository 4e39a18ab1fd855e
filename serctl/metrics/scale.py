"""A numeric target as a network answers it: a probability for each bin of a scale, whose mean is the number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

BINS = 25

_MOST_BINS = 1_000
_MARGIN = 2
"""Bins beyond either end: without them, the mean of a bell curve at the end would lie further inside."""

_SPREAD = 0.75
"""Standard deviation of the bell curve around a number, in bins: the value of the source."""


@dataclass(frozen=True)
class Scale:
    """The scale of a numeric target.

    To answer a number by bins keeps every architecture as it is, and is learned at least as well as by a squared error.

    Attributes:
        name: of the target, and of its column in reports.
        low, high: least and largest number of the training data.
        bins: how many a network tells apart.

    Raises:
        ConfigError: there is no range.

    Source: Imani & White 2018, arXiv:1806.04613 (histogram loss); Farebrother et al. 2024, arXiv:2403.03950.
    """

    name: str
    low: float
    high: float
    bins: int = BINS

    def __post_init__(self) -> None:
        if not (
            np.isfinite([self.low, self.high]).all()
            and self.low < self.high
            and 2 * _MARGIN + 1 < self.bins <= _MOST_BINS
        ):
            raise ConfigError(f"expected a range of {self.name}. Received: {self.low:g} to {self.high:g}")

    @property
    def _width(self) -> float:
        return (self.high - self.low) / (self.bins - 1 - 2 * _MARGIN)

    @property
    def centres(self) -> NDArray[np.float64]:
        """The number that each bin stands for, float64, shape (bins,)."""
        return self.low + self._width * (np.arange(self.bins, dtype=np.float64) - _MARGIN)

    def histograms(self, values: ArrayLike) -> NDArray[np.float32]:
        """Spread numbers over the bins, as a network learns them.

        Args:
            values: numbers within the scale, shape (n,); what is beyond counts as its end.

        Returns:
            float32, shape (n, bins), rows sum to 1.
        """
        clipped = np.clip(np.asarray(values, np.float64), self.low, self.high)
        bells = np.exp(-0.5 * np.square((clipped[:, None] - self.centres) / (_SPREAD * self._width)))
        return (bells / bells.sum(axis=1, keepdims=True)).astype(np.float32)

    def values(self, probabilities: ArrayLike) -> NDArray[np.float64]:
        """Return the numbers that probabilities stand for.

        Args:
            probabilities: of the bins, shape (n, bins); rows of NaN for an utterance without speech.

        Returns:
            float64, shape (n,), from low to high; NaN without speech.
        """
        found: NDArray[np.float64] = np.asarray(probabilities, np.float64) @ self.centres
        return np.clip(found, self.low, self.high)
