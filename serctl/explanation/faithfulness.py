"""How far an explanation can be trusted, measured on the model itself.

Attributions of speech models often miss what the model really uses (arXiv:2505.16406), so each explanation comes with
three measurements. Deletion and insertion: hiding the most important parts first must lower the probability faster
than hiding parts in random order, and showing them first must raise it faster (Petsiuk et al. 2018, arXiv:1806.07421).
Agreement: the parts that matter to occlusion matter as well when the voice is changed there instead. Stability: noise
that nobody hears leaves the importance as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from serctl.explanation.occlusion import hide_each, try_orders

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.explanation.listener import Listener, Samples
    from serctl.explanation.occlusion import Occluder, Orders

INAUDIBLE_DB = -60.0
"""Level of the added noise beside the speech."""


@dataclass(frozen=True)
class Faithfulness:
    """Measurements of one explanation; a probability is that of the emotion explained, or the number itself.

    Attributes:
        deletion, insertion: probability after 0, 1, ... parts were hidden or shown, the most important first.
        random: mean of the probability along random orders of hiding.
        deletion_auc, insertion_auc, random_auc: mean height of these curves. A faithful explanation has the first
            below the third, and the second above it.
        agreement: rank correlation, over the parts, of what hiding costs and what changing the voice there costs; None
            where one of them is the same everywhere.
        stability: correlation of what hiding each part costs, with and without inaudible noise; None likewise.
    """

    deletion: tuple[float, ...]
    insertion: tuple[float, ...]
    random: tuple[float, ...]
    deletion_auc: float
    insertion_auc: float
    random_auc: float
    agreement: float | None
    stability: float | None

    @property
    def better_than_random(self) -> bool:
        """Whether hiding the most important parts first costs more than hiding parts in random order."""
        return self.deletion_auc < self.random_auc


def measure(
    occluder: Occluder, listener: Listener, orders: Orders, *, changed: Samples | None, rng: np.random.Generator
) -> Faithfulness:
    """Measure the importance that random orders gave.

    Args:
        occluder: of the window.
        listener: the model.
        orders: random orders.
        changed: the window with its voice changed, of the same length; None to leave the agreement out.
        rng: draws the inaudible noise.
    """
    best_first = np.argsort(-orders.importance(), kind="stable")
    deletion, backwards = try_orders(occluder, listener, [best_first, best_first[::-1]]).curves
    insertion, random = backwards[::-1], orders.curves.mean(axis=0)
    agreement, stability = _agreement_and_stability(occluder, listener, changed, rng)
    return Faithfulness(
        deletion=tuple(deletion.tolist()),
        insertion=tuple(insertion.tolist()),
        random=tuple(random.tolist()),
        deletion_auc=_height(deletion),
        insertion_auc=_height(insertion),
        random_auc=_height(random),
        agreement=agreement,
        stability=stability,
    )


def _height(curve: NDArray[np.float64]) -> float:
    return float(np.trapezoid(curve)) / (len(curve) - 1)


def _agreement_and_stability(
    occluder: Occluder, listener: Listener, changed: Samples | None, rng: np.random.Generator
) -> tuple[float | None, float | None]:
    costs = _costs(occluder, listener)
    agreement = None if changed is None else correlation(ranks(costs), ranks(_costs(occluder, listener, changed)))
    return agreement, correlation(costs, _costs(_with_inaudible_noise(occluder, rng), listener))


def _costs(occluder: Occluder, listener: Listener, instead: Samples | None = None) -> NDArray[np.float64]:
    """What replacing each part alone costs, in log-odds or in the unit of a number, shape (parts,)."""
    even = listener.quantity.even
    return even(listener([occluder.samples])) - even(hide_each(occluder, listener, instead))


def _with_inaudible_noise(occluder: Occluder, rng: np.random.Generator) -> Occluder:
    samples = occluder.samples
    noise = rng.standard_normal(len(samples), dtype=np.float32)
    noisy = samples + noise * np.float32(np.sqrt(np.mean(np.square(samples))) * 10 ** (INAUDIBLE_DB / 20))
    return type(occluder)(noisy, occluder.noise, occluder.edges, occluder.config)


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of every value, shape (n,), from 0 on; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + last - 1) / 2)[place]


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Return the correlation of two series, or None if one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else None
