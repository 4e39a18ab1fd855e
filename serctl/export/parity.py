"""How a converted model compares with what it was made of: what it says, and what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import DisagreementError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.export.measure import Measured

    Probabilities = NDArray[np.floating]


@dataclass(frozen=True)
class Cost:
    """What a model takes: its file, its time for a second of audio, its process at most and before it is loaded."""

    size_bytes: int
    ms_per_audio_s: float
    peak_memory_mb: float | None
    idle_memory_mb: float | None

    @classmethod
    def of(cls, measured: Measured, *, size_bytes: int, window_s: float) -> Cost:
        """From measured windows of window_s seconds."""
        return cls(size_bytes, measured.window_ms / window_s, measured.peak_memory_mb, measured.idle_memory_mb)


@dataclass(frozen=True)
class Parity:
    """What a model says and takes before and after a conversion, on the same windows.

    equal_labels: share of windows with the same likeliest emotion. labels: how many emotions are the likeliest of some
    window, before; where it is one, equal labels prove little. largest_difference,
    mean_difference: of calibrated probabilities.
    """

    windows: int
    source: str
    largest_difference: float
    mean_difference: float
    equal_labels: float
    labels: int
    before: Cost
    after: Cost

    @classmethod
    def of(cls, old: Probabilities, new: Probabilities, *, source: str, before: Cost, after: Cost) -> Parity:
        """From calibrated probabilities, shape (windows, labels); what is not finite equals nothing."""
        equal = np.isfinite(new).all(axis=1) & (new.argmax(axis=1) == old.argmax(axis=1))
        return cls(
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
    """Raise DisagreementError if too few labels are equal; of: whose they should be, least: share of them."""
    if parity.equal_labels < least:
        raise DisagreementError(
            f"{100 * parity.equal_labels:.1f} % of the labels are those of {of}, expected at least {100 * least:g} %: "
            "nothing was written",
            parity,
            end_to_end=end_to_end,
        )
