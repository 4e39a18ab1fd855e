"""Novelty: how unlike the training recordings a window is, by the distance of its features.

The training windows are described by a Gaussian of low rank: the directions in which they vary most, the variance along
each, and one variance for all other directions together. The distance of a window from it becomes a number from 0 to 1
by comparison with recordings that were held out of training: the share of them that are nearer. Beyond 95 % of them the
share follows an exponential tail of the log-distance, so that it still grows where no held-out recording reaches.

Sources: Tipping & Bishop 1999, doi:10.1111/1467-9868.00196 (the Gaussian); Pickands 1975, doi:10.1214/aos/1176343003
(the tail); Halko et al. 2011, doi:10.1137/090771806 (the directions).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import BundleError, NpzError
from serctl.npz import read_npz

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.features.compute import Features
    from serctl.features.normaliser import Normaliser
    from serctl.features.spectral import FloatArray

NOVELTY_VERSION = 1
"""Raise it where the same numbers would mean something else."""

RANK = 32
"""Most directions that are kept: 32 times the number of functionals, in float16, is some 200 KB."""

SHARES = np.linspace(0, 0.95, 20)
"""Shares of the held-out recordings whose log-distances are kept; the tail begins at the last."""

_SMALLEST_VARIANCE = 1e-6
_SMALLEST_TAIL = 0.01
_MOST_BYTES = 1 << 22
_ROUNDS = 6
_SPARE = 8


@dataclass(frozen=True)
class Novelty:
    """What training windows vary in, and how far held-out recordings are from them; all in standard deviations.

    Attributes:
        mean: float32, shape (functionals,).
        directions: float16, shape (rank, functionals), orthonormal; rank may be 0.
        variances: float32, shape (rank,).
        rest: variance of every other direction, float32, shape (1,).
        quantiles: log-distances of held-out recordings at SHARES, float64, shape (20,).
        tail: mean excess of the log-distance over the last quantile, float64, shape (1,).
    """

    mean: FloatArray
    directions: NDArray[np.float16]
    variances: FloatArray
    rest: FloatArray
    quantiles: NDArray[np.float64]
    tail: NDArray[np.float64]

    @classmethod
    def fit(
        cls, training: Sequence[Features], held_out: Sequence[Sequence[Features]], normaliser: Normaliser
    ) -> Novelty:
        """Measure training windows, and compare held-out recordings with them.

        Args:
            training: windows with speech, at least one.
            held_out: the windows with speech of each held-out recording; recordings without any do not count.
            normaliser: of the training data.
        """
        rows = normaliser.scaled_functionals(training)
        mean = rows.mean(axis=0)
        rows -= mean
        directions, variances, rest = _principal(rows)
        empty = np.zeros(len(SHARES))
        found = cls(mean, directions.astype(np.float16), variances, np.array([rest], np.float32), empty, empty[:1])
        distances = np.array([found.log_distances(each, normaliser).mean() for each in held_out if each])
        distances = distances if len(distances) else found.log_distances(training, normaliser)
        quantiles = np.quantile(distances, SHARES)
        excess = distances[distances > quantiles[-1]] - quantiles[-1]
        tail = max(float(excess.mean()) if len(excess) else 0.0, _SMALLEST_TAIL)
        return cls(mean, found.directions, variances, found.rest, quantiles, np.array([tail]))

    def log_distances(self, windows: Sequence[Features], normaliser: Normaliser) -> NDArray[np.float64]:
        """Compute the logarithm of each window's mean squared deviation; 0 is that of the average training window.

        Args:
            windows: at least one.
            normaliser: of the training data.

        Returns:
            float64, shape (windows,).
        """
        rows = normaliser.scaled_functionals(windows) - self.mean
        along = rows @ self.directions.T.astype(np.float32)
        others = np.maximum(np.square(rows).sum(axis=1) - np.square(along).sum(axis=1), 0)
        squared = (np.square(along) / self.variances).sum(axis=1) + others / self.rest
        return np.log(np.maximum(squared.astype(np.float64) / rows.shape[1], 1e-9))

    def of(self, windows: Sequence[Features], normaliser: Normaliser) -> NDArray[np.float64]:
        """Compute the novelty of windows with speech.

        Args:
            windows: at least one.
            normaliser: of the training data.

        Returns:
            float64, shape (windows,), from 0 to 1: the share of held-out recordings that are nearer.
        """
        distances = self.log_distances(windows, normaliser)
        beyond = np.maximum(distances - self.quantiles[-1], 0) / self.tail
        return np.interp(distances, self.quantiles, SHARES) + (1 - SHARES[-1]) * -np.expm1(-beyond)

    def save(self, path: Path) -> None:
        """Write an npz file of numbers."""
        np.savez(path, allow_pickle=False, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path, *, n_functionals: int) -> Novelty:
        """Read a file that save wrote.

        Raises:
            BundleError: the file is damaged, something else, or for another number of functionals.
        """
        try:
            arrays = read_npz(path, most_bytes=_MOST_BYTES)
            found = cls(*(arrays[field.name] for field in fields(cls)))
        except (NpzError, KeyError) as error:
            raise BundleError(f"{path}: expected the statistics of novelty: {error}") from error
        if not found._is_sound(n_functionals):
            raise BundleError(f"{path}: expected finite statistics of novelty for {n_functionals} functionals")
        return found

    def _is_sound(self, n_functionals: int) -> bool:
        rank = len(self.variances) if self.variances.ndim == 1 else -1
        shapes = [getattr(self, field.name).shape for field in fields(self)]
        expected = [(n_functionals,), (rank, n_functionals), (rank,), (1,), (len(SHARES),), (1,)]
        return (
            shapes == expected
            and all(np.isfinite(getattr(self, field.name)).all() for field in fields(self))
            and all((each > 0).all() for each in (self.variances, self.rest, self.tail))
            and bool((np.diff(self.quantiles) >= 0).all())
        )


def _principal(rows: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """The directions of largest variance of centred rows, the variance along each, and that of each other one."""
    n, width = rows.shape
    rank = max(min(RANK, n - 1, width - 1), 0)
    basis = np.random.default_rng(0).standard_normal((width, min(rank + _SPARE, width)), dtype=np.float32)
    for _ in range(_ROUNDS):
        basis = np.linalg.qr(rows.T @ (rows @ basis))[0]
    _, scales, turned = np.linalg.svd(rows @ basis, full_matrices=False)
    directions = (turned[:rank] @ basis.T).astype(np.float32)
    variances = np.maximum(np.square(scales[:rank]) / n, _SMALLEST_VARIANCE).astype(np.float32)
    total = float(np.square(rows).sum(dtype=np.float64)) / n
    rest = max((total - float(variances.sum())) / (width - rank), _SMALLEST_VARIANCE)
    return directions, variances, rest
