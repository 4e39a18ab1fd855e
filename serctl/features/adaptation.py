"""Adaptation: functionals normalised by the recordings at hand instead of by the training data alone.

Every room, microphone, language and group of speakers moves the features, most of them more than emotion does. The mean
and the deviation over the recordings at hand measure that without labels. Few recordings measure it badly, and a skewed
mix of emotions moves the mean too: a prior pulls both towards the training data, and a network is trained with the
statistics of small and skewed subsets (learning/batches.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from serctl.features.normaliser import Normaliser

PRIOR_RECORDINGS = 20.0
"""How many recordings the statistics of the training data count for."""

FEWEST_RECORDINGS = 2
"""Fewer recordings say nothing of what they have in common: the training data's statistics stay."""


@dataclass(frozen=True)
class Statistics:
    """Mean and variance of the functionals over recordings, each of which counts once.

    Attributes:
        mean, variance: float64, shape (functionals,).
        recordings: how many were measured.
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    recordings: int

    @classmethod
    def measure(cls, rows: Iterable[NDArray[np.floating]]) -> Statistics | None:
        """Measure recordings in bounded memory.

        Args:
            rows: the mean functionals of each recording, shape (functionals,). Their order changes the last bits.

        Returns:
            The statistics; None for no rows.

        Source: Welford 1962, doi:10.1080/00401706.1962.10490022.
        """
        count, mean, squares = 0, np.zeros(1), np.zeros(1)
        for row in rows:
            count += 1
            change = row.astype(np.float64) - mean
            mean = mean + change / count
            squares = squares + change * (row - mean)
        return cls(mean, squares / count, count) if count else None


def adapt(normaliser: Normaliser, found: Statistics | None, *, prior: float = PRIOR_RECORDINGS) -> Normaliser:
    """Return the normaliser with its functionals' mean and deviation pulled towards those of the recordings at hand.

    Args:
        normaliser: of the training data.
        found: what was measured; None or fewer than FEWEST_RECORDINGS leave the normaliser as it is.
        prior: recordings that the training data counts for.

    Source: posterior of a Gaussian's mean and variance, Murphy 2007, Conjugate Bayesian analysis of the Gaussian.
    """
    if found is None or found.recordings < FEWEST_RECORDINGS:
        return normaliser
    share = found.recordings / (found.recordings + prior)
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
