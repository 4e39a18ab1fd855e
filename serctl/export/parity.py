"""Comparison of a converted model with its original: outputs, time and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from serctl.bundle.facts import Cost, Parity
from serctl.errors import DisagreementError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.export.measure import Measured
    from serctl.metrics import Scale

    Probabilities = NDArray[np.floating]


def cost_of(measured: Measured, *, size_bytes: int, window_s: float) -> Cost:
    """Return the time and memory of a model, from measured windows of window_s seconds."""
    return Cost(size_bytes, measured.window_ms / window_s, measured.peak_memory_mb, measured.idle_memory_mb)


SAME_NUMBER = 0.02
"""Numbers that differ by at most this share of their scale are the same answer."""


def compare(
    old: Probabilities, new: Probabilities, *, source: str, before: Cost, after: Cost, scale: Scale | None = None
) -> Parity:
    """Compare calibrated probabilities, shape (windows, outputs); values that are not finite equal nothing.

    Args:
        old: of the original.
        new: of the converted model.
        source: of the windows.
        before: cost of the original.
        after: cost of the converted model.
        scale: of a model of numbers, whose answers are the same within SAME_NUMBER of it; None for emotions.
    """
    same = new.argmax(axis=1) == old.argmax(axis=1)
    if scale:
        same = np.abs(scale.values(new) - scale.values(old)) <= SAME_NUMBER * (scale.high - scale.low)
    equal = np.isfinite(new).all(axis=1) & same
    return Parity(
        windows=len(old),
        source=source,
        largest_difference=float(np.abs(new - old).max()),
        mean_difference=float(np.abs(new - old).mean()),
        equal_labels=float(equal.mean()),
        labels=len(np.unique(old.argmax(axis=1))),
        before=before,
        after=after,
    )


def check_labels(parity: Parity, least: float, *, of: str, end_to_end: bool = False) -> None:
    """Raise DisagreementError if too few labels are equal; of: what they are compared with, least: the least share."""
    if parity.equal_labels < least:
        raise DisagreementError(
            f"{100 * parity.equal_labels:.1f} % of the labels are those of {of}, expected at least {100 * least:g} %: "
            "nothing was written",
            parity,
            end_to_end=end_to_end,
        )
