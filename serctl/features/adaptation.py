"""Adaptation: functionals normalised by the recordings at hand instead of by the training data alone.

Every room, microphone, language and group of speakers moves the features, most of them more than emotion does. The mean
and the deviation over the recordings at hand measure that without labels. Few recordings measure it badly, and a skewed
mix of emotions moves the mean too: a prior pulls both towards the training data, classes can be balanced by a first
prediction, and a network is trained with the statistics of small and skewed subsets (learning/batches.py).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import ConfigError, NpzError
from serctl.npz import read_npz

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.features.config import FeatureConfig
    from serctl.features.normaliser import Normaliser

PRIOR_RECORDINGS = 20.0
"""How many recordings the statistics of the training data count for, where the mix of emotions is even."""

EVENNESS_POWER = 4
"""How fast the prior grows as the mix of emotions becomes less even."""

FEWEST_RECORDINGS = 2
"""Fewer recordings say nothing of what they have in common: the training data's statistics stay."""

_MOST_BYTES = 1 << 22


@dataclass(frozen=True)
class Statistics:
    """Mean and variance of the functionals over recordings.

    Attributes:
        mean, variance: float64, shape (functionals,).
        recordings: how many were measured.
        prior: how many recordings the training data counts for beside them.
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    recordings: int
    prior: float = PRIOR_RECORDINGS

    @classmethod
    def measure(cls, rows: Iterable[NDArray[np.floating]]) -> Statistics | None:
        """Measure recordings that each count once.

        Args:
            rows: the mean functionals of each recording, shape (functionals,).

        Returns:
            The statistics; None for no rows.
        """
        sums = ClassSums(1)
        for row in rows:
            sums.add(row, np.ones(1))
        return sums.statistics()

    @property
    def digest(self) -> str:
        """Hex digest of the numbers."""
        parts = (self.mean.tobytes(), self.variance.tobytes(), repr((self.recordings, self.prior)).encode())
        return hashlib.blake2b(b"".join(parts), digest_size=8).hexdigest()

    def save(self, path: Path, *, config: FeatureConfig) -> None:
        """Write an npz file of numbers; config: of the features that were measured."""
        with path.open("wb") as file:
            np.savez(
                file,
                mean=self.mean,
                variance=self.variance,
                recordings=np.array([self.recordings, self.prior]),
                config=np.frombuffer(bytes.fromhex(config.digest()), np.uint8).astype(np.float64),
            )

    @classmethod
    def load(cls, path: Path, *, config: FeatureConfig) -> Statistics:
        """Read a file that save wrote.

        Args:
            path: the npz file.
            config: of the features that are wanted.

        Returns:
            The statistics.

        Raises:
            ConfigError: the file is not a profile, is damaged, or was measured for a model with other features.
        """
        try:
            arrays = read_npz(path, most_bytes=_MOST_BYTES)
            measured_for = arrays["config"].astype(np.uint8).tobytes().hex()
            recordings, prior = map(float, arrays["recordings"])
            found = cls(arrays["mean"], arrays["variance"], int(recordings), prior)
        except (NpzError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}: expected a profile of recordings: {error}") from error
        if measured_for != config.digest():
            raise ConfigError(f"{path}: expected a profile for the features of this model, not of another one")
        found._check(path)
        return found

    def _check(self, path: Path) -> None:
        finite = np.isfinite(self.mean).all() and np.isfinite(self.variance).all()
        if (
            not finite
            or self.mean.shape != self.variance.shape
            or (self.variance < 0).any()
            or min(self.recordings, self.prior) <= 0
        ):
            raise ConfigError(f"{path}: expected finite means and variances of 0 or more, of the same shape")


class ClassSums:
    """Sums over recordings by the emotion that a first, unadapted prediction gives them; in bounded memory."""

    def __init__(self, classes: int) -> None:
        self._weights = np.zeros(classes)
        self._first: NDArray[np.float64] | None = None
        self._second: NDArray[np.float64] | None = None
        self._recordings = 0

    def add(self, row: NDArray[np.floating], probabilities: NDArray[np.float64]) -> None:
        """Add a recording.

        Args:
            row: its mean functionals, shape (functionals,).
            probabilities: of each class, shape (classes,), their sum 1.
        """
        values = row.astype(np.float64)
        if self._first is None or self._second is None:
            shape = (len(self._weights), len(values))
            self._first, self._second = np.zeros(shape), np.zeros(shape)
        self._weights += probabilities
        self._first += probabilities[:, None] * values
        self._second += probabilities[:, None] * np.square(values)
        self._recordings += 1

    def statistics(self, *, balanced: bool = False) -> Statistics | None:
        """Return the statistics of all that was added; None for nothing.

        Args:
            balanced: whether every class counts alike instead of every recording, so that a skewed mix of emotions is
                not taken for the sound of the line; the prior then grows with the skew.
        """
        if self._first is None or self._second is None:
            return None
        shares = (self._weights + 1) / (self._recordings + len(self._weights))
        factors = 1 / shares if balanced else np.ones_like(shares)
        total = float(factors @ self._weights)
        mean = factors @ self._first / total
        variance = np.maximum(factors @ self._second / total - np.square(mean), 0)
        prior = PRIOR_RECORDINGS / self._evenness() ** EVENNESS_POWER if balanced else PRIOR_RECORDINGS
        return Statistics(mean, variance, self._recordings, prior)

    def _evenness(self) -> float:
        """The exponential of the entropy of the mean prediction over the number of classes: 1 for an even mix."""
        mean = self._weights / self._weights.sum()
        entropy = -float(np.sum(mean * np.log(np.maximum(mean, 1e-12))))
        return float(np.exp(entropy)) / len(mean)


def adapt(normaliser: Normaliser, found: Statistics | None) -> Normaliser:
    """Return the normaliser with its functionals' mean and deviation pulled towards those of the recordings at hand.

    Args:
        normaliser: of the training data.
        found: what was measured; None or fewer than FEWEST_RECORDINGS leave the normaliser as it is.

    Source: posterior of a Gaussian's mean and variance, Murphy 2007, Conjugate Bayesian analysis of the Gaussian.
    """
    if found is None or found.recordings < FEWEST_RECORDINGS:
        return normaliser
    share = found.recordings / (found.recordings + found.prior)
    mean = share * found.mean + (1 - share) * normaliser.functional_mean
    variance = share * found.variance + (1 - share) * np.square(normaliser.functional_sd, dtype=np.float64)
    return replace(
        normaliser, functional_mean=mean.astype(np.float32), functional_sd=np.sqrt(variance).astype(np.float32)
    )


def draw_subset(labels: NDArray[np.intp], rng: np.random.Generator, *, smallest: int = 8) -> NDArray[np.intp]:
    """Draw recordings as a user may bring them: few or many, their mix of emotions even or skewed.

    Args:
        labels: the class of each recording, shape (recordings,).
        rng: random numbers.
        smallest: least size, if there are as many; sizes are log-uniform up to all of them.

    Returns:
        Indices, drawn with replacement.
    """
    size = int(np.exp(rng.uniform(np.log(min(smallest, len(labels))), np.log(len(labels)))))
    classes, counts = np.unique(labels, return_counts=True)
    skewed = rng.random() < 0.5
    mix = rng.dirichlet(np.full(len(classes), 1.5)) if skewed else np.full(len(classes), 1 / len(classes))
    chance = (mix / counts)[np.searchsorted(classes, labels)]
    return rng.choice(len(labels), size, p=chance / chance.sum())
