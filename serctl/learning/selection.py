"""Which epoch of a fit is kept, and when it stops."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.learning.options import FitOptions

_ONE_SIDED_5_PERCENT = 1.645


@dataclass
class FitState:
    """How far a fit is.

    Attributes:
        history: loss, val_loss and val_uar of every epoch; NaN without a validation part.
        best_epoch: counted from 1; 0 for none so far, or for the weights that the fit started from.
        finished: whether it is to stop.
        start_uar: validation UAR of the weights that it starts from; None where they are no candidate.
        start_losses: their loss of each validation window.
        best_weights: averaged weights of the best epoch.
    """

    history: dict[str, list[float]] = field(default_factory=lambda: {"loss": [], "val_loss": [], "val_uar": []})
    best_epoch: int = 0
    finished: bool = False
    start_uar: float | None = None
    start_losses: list[float] = field(default_factory=list)
    best_weights: list[NDArray[np.floating]] = field(default_factory=list)

    @property
    def epochs_done(self) -> int:
        """How many epochs were recorded."""
        return len(self.history["loss"])

    def record(self, loss: float, losses: NDArray[np.float64], val_uar: float, options: FitOptions) -> None:
        """Take in an epoch, and choose.

        In the first half the learning rate is too high, and the validation part too small, to tell a lucky epoch. Where
        the weights to start from are a candidate, early epochs count too: they are the closest to those.

        Args:
            loss: of the training part.
            losses: of each validation window, shape (windows,); empty without any, where the last epoch stands.
            val_uar: UAR of the validation part.
            options: most epochs, and patience.
        """
        val_loss = float(losses.mean()) if len(losses) else math.nan
        for name, value in (("loss", loss), ("val_loss", val_loss), ("val_uar", val_uar)):
            self.history[name].append(value)
        first = options.epochs // 2 if self.start_uar is None else 0
        if len(losses) == 0 or self._is_best(losses, first):
            self.best_epoch = self.epochs_done
        exhausted = self.epochs_done - max(self.best_epoch, first) >= options.patience
        self.finished = exhausted or self.epochs_done >= options.epochs

    def _is_best(self, losses: NDArray[np.float64], first: int) -> bool:
        """Whether the last epoch is the best so far; the first ones do not count."""
        *_, val_uar = self.history["val_uar"]
        if self.start_uar is None:
            return val_uar >= max(self.history["val_uar"][first:], default=0.0)
        least = self.history["val_loss"][self.best_epoch - 1] if self.best_epoch else math.inf
        beats_start = val_uar >= self.start_uar and lower_by_more_than_chance(losses, np.array(self.start_losses))
        return beats_start and float(losses.mean()) <= least


def lower_by_more_than_chance(losses: NDArray[np.float64], before: NDArray[np.float64]) -> bool:
    """Tell whether losses are lower than before by more than chance: paired test, one-sided at the 5 % level.

    Losses tell it sooner than right and wrong answers do, of which a few held-out speakers give too few.

    Args:
        losses: of each window now, shape (windows,).
        before: of the same windows before.
    """
    gains = before - losses
    return float(gains.mean()) > _ONE_SIDED_5_PERCENT * float(gains.std()) / math.sqrt(len(gains))
