"""Mix the channels of a recording so that a dead one or one in opposite phase does not spoil the sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

DEAD_BELOW_LOUDEST = 1e-4
"""A channel of less than this share of the loudest one's power (-40 dB) is dead."""

FAINT_BELOW_LOUDEST = 1e-2
"""A channel of less than this share of the loudest one's power (-20 dB) hardly counts in the mean."""

OPPOSITE_CORRELATION = -0.7
"""A channel whose correlation with the loudest one is below this is in opposite phase: the sum would lose 8 dB."""


@dataclass(frozen=True)
class Mix:
    """How channels become one: their weights, float32, shape (channels,), and what is unusual about them."""

    weights: NDArray[np.float32]
    notes: tuple[str, ...] = ()

    def apply(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mix a block, float32 (n, channels), into mono, float32 (n,)."""
        return block[:, 0] if len(self.weights) == 1 else block @ self.weights


def mean_of(channels: int) -> Mix:
    """The mean of the channels."""
    return Mix(np.full(channels, 1 / channels, np.float32))


def find_mix(blocks: Iterable[NDArray[np.float32]], channels: int) -> Mix:
    """Choose the mix of a recording by all of its blocks, each float32 (n, channels).

    The mean of the channels, without those that are dead beside the loudest one, and with those in opposite phase to it
    inverted.
    """
    covariance = _covariance(blocks, channels)
    powers = np.maximum(np.diag(covariance), 0)
    loudest = int(powers.argmax())
    if powers[loudest] <= 0:
        return mean_of(channels)
    dead = powers < DEAD_BELOW_LOUDEST * powers[loudest]
    opposite = ~dead & (covariance[loudest] < OPPOSITE_CORRELATION * np.sqrt(powers * powers[loudest]))
    faint = ~dead & (powers < FAINT_BELOW_LOUDEST * powers[loudest])
    signs = np.where(dead, 0.0, np.where(opposite, -1.0, 1.0))
    weights = (signs / np.count_nonzero(signs)).astype(np.float32)
    notes = (
        *_notes(dead, "silent: left out of the mix"),
        *_notes(faint, f"over 20 dB below channel {loudest + 1}: it hardly counts in the mix"),
        *_notes(opposite, _opposite_to(loudest)),
    )
    return Mix(weights, notes)


def _covariance(blocks: Iterable[NDArray[np.float32]], channels: int) -> NDArray[np.float64]:
    count, total, products = 0, np.zeros(channels), np.zeros((channels, channels))
    for block in blocks:
        count += len(block)
        total += block.sum(axis=0, dtype=np.float64)
        exact = block.astype(np.float64)
        products += exact.T @ exact
    means = total / count
    return products / count - np.outer(means, means)


def _opposite_to(loudest: int) -> str:
    return f"in opposite phase to channel {loudest + 1}: inverted in the mix"


def _notes(chosen: NDArray[np.bool_], what: str) -> tuple[str, ...]:
    numbers = [str(index + 1) for index in np.flatnonzero(chosen)]
    if not numbers:
        return ()
    return (f"channel {numbers[0]} is {what}" if len(numbers) == 1 else f"channels {', '.join(numbers)} are {what}",)
