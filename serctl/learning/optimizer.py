"""The optimizer of a fit: AdamW with a warm-up, a cosine schedule and averaged weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from serctl.models.lazy import keras

if TYPE_CHECKING:
    from serctl.learning.options import FitOptions

FIRST_SHARE = 0.05
"""Share of the highest learning rate that the warm-up begins with."""
WARM_UP_SHARE = 0.05
"""Share of the steps that the warm-up takes."""
AVERAGED_SHARE = 0.1
"""Share of the steps that the averaged weights span at most; more would keep some of the random weights."""


class WarmUpCosine(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A learning rate that rises linearly over the warm-up and falls to zero along a cosine.

    The values are those of keras's CosineDecay. That one has branches, and the TensorFlow backend traces the schedule
    once for each weight that decays: a fifth of the time until the first step of the cnn.

    Args:
        peak: highest learning rate.
        warm_up: steps until the peak, at least 1.
        steps: steps in all.

    Source: Loshchilov & Hutter 2017, SGDR, arXiv:1608.03983.
    """

    def __init__(self, peak: float, *, warm_up: int, steps: int) -> None:
        self.peak, self.warm_up, self.steps = peak, warm_up, steps

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of a step, counted from 0."""
        step = keras.ops.cast(step, "float32")
        rise = FIRST_SHARE + (1 - FIRST_SHARE) * step / self.warm_up
        fallen = keras.ops.clip((step - self.warm_up) / max(self.steps - self.warm_up, 1), 0, 1)
        return self.peak * keras.ops.minimum(rise, 0.5 * (1 + keras.ops.cos(math.pi * fallen)))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the schedule."""
        return {"peak": self.peak, "warm_up": self.warm_up, "steps": self.steps}


def learning_rates(steps: int, options: FitOptions) -> WarmUpCosine:
    """Return the learning rate of each of so many steps."""
    return WarmUpCosine(options.lr, warm_up=max(round(WARM_UP_SHARE * steps), 1), steps=steps)


def make_optimizer(steps_per_epoch: int, options: FitOptions, *, weight_decay: float) -> keras.optimizers.Optimizer:
    """Return the optimizer of a fit.

    Args:
        steps_per_epoch: batches of an epoch.
        options: how to fit.
        weight_decay: decay of the weights, decoupled from the gradient.
    """
    steps = steps_per_epoch * options.epochs
    return keras.optimizers.AdamW(
        learning_rates(steps, options),
        weight_decay=weight_decay,
        use_ema=options.weight_average > 0,
        ema_momentum=min(options.weight_average, max(1 - 1 / (AVERAGED_SHARE * steps), 0)),
    )
