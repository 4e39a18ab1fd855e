"""What a federated training gives: the scores of a round, what each party sent, and the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.learning.federated.parties import TEMPERATURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serctl.features import Normaliser
    from serctl.learning.federated.network import Weights
    from serctl.learning.federated.parties import Description, HeldOutScores
    from serctl.learning.federated.plan import Plan
    from serctl.models import ModelSpec


@dataclass(frozen=True)
class RoundScores:
    """How a round went; validation scores are those of the weights that it started from, NaN for the first.

    Attributes:
        number, rounds: of this round, from 1, and of all.
        loss: of training, mean over the parties' examples.
        val_loss, val_uar: over the validation windows of all parties.
        parties: whose updates were taken.
        refused: why an update was not, by party.
    """

    number: int
    rounds: int
    loss: float
    val_loss: float
    val_uar: float
    parties: tuple[str, ...]
    refused: Mapping[str, str]


RoundCallback = Callable[[RoundScores], None]


@dataclass
class Traffic:
    """What a party sent: bytes of arrays by their meaning, and in how many rounds its update was taken."""

    sent: dict[str, int] = field(default_factory=dict)
    rounds: int = 0

    def count(self, content: Any) -> None:
        """Count the arrays of a message."""
        for name, record in content.array_records.items():
            size = sum(len(array.data) for array in record.values())
            self.sent[name] = self.sent.get(name, 0) + size


@dataclass(frozen=True)
class Federated:
    """A finished federated training.

    Attributes:
        plan: with the classes of all parties.
        spec: what the network is built for.
        normaliser: of all parties.
        weights: those of the best round.
        temperature: of all parties' validation windows.
        history: loss, val_loss and val_uar of every round.
        best_round: counted from 1.
        parties: what each said of its data.
        traffic: what each sent.
        refused: what was refused: round, party, reason.
        scores: of the calibrated network on each party's held-out utterances.
    """

    plan: Plan
    spec: ModelSpec
    normaliser: Normaliser
    weights: Weights
    temperature: float
    history: dict[str, list[float]]
    best_round: int
    parties: tuple[Description, ...]
    traffic: Mapping[str, Traffic]
    refused: tuple[tuple[int, str, str], ...]
    scores: Mapping[str, HeldOutScores]


def best_temperature(losses: Any) -> float:
    """Find the temperature of the least loss, by a parabola through the best of TEMPERATURES and its neighbours.

    Args:
        losses: at each of TEMPERATURES, float64, shape (temperatures,).
    """
    best = int(np.argmin(losses))
    if best in (0, len(losses) - 1):
        return float(TEMPERATURES[best])
    before, at, after = losses[best - 1 : best + 2]
    curvature = before - 2 * at + after
    shift = 0.5 * (before - after) / curvature if curvature > 0 else 0.0
    step = np.log(TEMPERATURES[1] / TEMPERATURES[0])
    return float(TEMPERATURES[best] * np.exp(shift * step))
