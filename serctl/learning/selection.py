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
        history: loss, val_loss and the validation score (val_uar, or val_ccc of numbers) of every epoch; NaN without a
            validation part.
        best_epoch: counted from 1; 0 for none so far, or for the weights that the fit started from.
        finished: whether it is to stop.
        start_score: validation score of the weights that it starts from; None where they are no candidate.
        start_losses: their loss of each validation window.
        best_weights: averaged weights of the best epoch.
    """

    history: dict[str, list[float]] = field(default_factory=lambda: new_history("uar"))
    best_epoch: int = 0
    finished: bool = False
    start_score: float | None = None
    start_losses: list[float] = field(default_factory=list)
    best_weights: list[NDArray[np.floating]] = field(default_factory=list)

    @property
    def epochs_done(self) -> int:
        """How many epochs were recorded."""
        return len(self.history["loss"])

    @property
    def scores(self) -> list[float]:
        """The validation score of every epoch: the last column of the history."""
        return list(self.history.values())[-1]

    def record(self, loss: float, losses: NDArray[np.float64], val_score: float, options: FitOptions) -> None:
        """Take in an epoch, and choose.

        In the first half the learning rate is too high, and the validation part too small, to tell a lucky epoch. Where
        the weights to start from are a candidate, early epochs count too: they are the closest to those.

        Args:
            loss: of the training part.
            losses: of each validation window, shape (windows,); empty without any, where the last epoch stands.
            val_score: of the validation part.
            options: most epochs, and patience.
        """
        val_loss = float(losses.mean()) if len(losses) else math.nan
        for values, value in zip(self.history.values(), (loss, val_loss, val_score), strict=True):
            values.append(value)
        first = options.epochs // 2 if self.start_score is None else 0
        if len(losses) == 0 or self._is_best(losses, first):
            self.best_epoch = self.epochs_done
        exhausted = self.epochs_done - max(self.best_epoch, first) >= options.patience
        self.finished = exhausted or self.epochs_done >= options.epochs

    def _is_best(self, losses: NDArray[np.float64], first: int) -> bool:
        """Whether the last epoch is the best so far; the first ones do not count."""
        *_, val_score = self.scores
        if self.start_score is None:
            return val_score >= max(self.scores[first:], default=-1.0)
        least = self.history["val_loss"][self.best_epoch - 1] if self.best_epoch else math.inf
        beats_start = val_score >= self.start_score and lower_by_more_than_chance(losses, np.array(self.start_losses))
        return beats_start and float(losses.mean()) <= least


def new_history(score: str) -> dict[str, list[float]]:
    """Return the history of a fit that did not begin.

    Args:
        score: name of the one that selects the epoch.
    """
    return {"loss": [], "val_loss": [], f"val_{score}": []}


def lower_by_more_than_chance(losses: NDArray[np.float64], before: NDArray[np.float64]) -> bool:
    """Tell whether losses are lower than before by more than chance: paired test, one-sided at the 5 % level.

    Losses tell it sooner than right and wrong answers do, of which a few held-out speakers give too few.

    Args:
        losses: of each window now, shape (windows,).
        before: of the same windows before.
    """
    gains = before - losses
    return float(gains.mean()) > _ONE_SIDED_5_PERCENT * float(gains.std()) / math.sqrt(len(gains))
