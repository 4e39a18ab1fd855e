"""Which epoch of a fit is kept: a small state, recorded epoch by epoch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from serctl.learning.options import FitOptions
from serctl.learning.selection import FitState


def state_after(uars: list[float], losses: list[np.ndarray], state: FitState | None = None) -> FitState:
    """The state of a fit of at most ten epochs after epochs with these validation UARs and losses of windows."""
    state = state or FitState()
    for uar, each in zip(uars, losses, strict=True):
        state.record(1.0, each, uar, FitOptions(epochs=10, patience=2))
    return state


@pytest.mark.parametrize(
    ("uars", "best_epoch", "finished"),
    [
        ([0.9, 0.2], 2, False),  # the first half of the ten epochs never counts
        ([0.2] * 5 + [0.5, 0.6, 0.6], 8, False),
        ([0.2] * 5 + [0.5, 0.7, 0.6], 7, False),
        ([0.2] * 5 + [0.5, 0.7, 0.6, 0.6], 7, True),
        ([0.2] * 5 + [0.1, 0.2, 0.3, 0.4, 0.5], 10, True),
    ],
)
def test_validation_chooses_the_epoch_and_stops_when_it_no_longer_gains(
    uars: list[float], best_epoch: int, finished: bool
) -> None:
    state = state_after(uars, [np.ones(2)] * len(uars))
    assert (state.best_epoch, state.finished) == (best_epoch, finished)
    assert state.history["val_uar"] == uars


def test_without_a_validation_part_the_last_epoch_stands() -> None:
    state = state_after([math.nan] * 9, [np.empty(0)] * 9)
    assert (state.best_epoch, state.finished) == (9, False)


@pytest.mark.parametrize(
    ("uars", "losses", "best_epoch"),
    [
        ([0.8, 0.8, 0.8], [0.5, 0.3, 0.4], 2),  # the lowest loss
        ([0.4, 0.8], [0.3, 0.5], 2),  # a UAR below that of the start never counts
        ([0.8, 0.8], [1.0, 1.2], 0),
        ([0.8, 0.8], [0.95, 0.97], 0),  # lower, but not by more than chance
    ],
)
def test_an_early_epoch_counts_where_it_beats_the_start(
    uars: list[float], losses: list[float], best_epoch: int
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, 20)
    noise -= noise.mean()
    state = state_after(uars, [loss + noise for loss in losses], FitState(start_score=0.5, start_losses=[1.0] * 20))
    assert state.best_epoch == best_epoch
