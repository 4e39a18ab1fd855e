"""The training of one party: some epochs from given weights, by a network that is kept from round to round."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.errors import DivergedError, Remedy
from serctl.learning.batches import Batches
from serctl.learning.fit import predict_windows
from serctl.learning.optimizer import learning_rates
from serctl.metrics import confusion_matrix
from serctl.models.lazy import ops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from serctl.features import Normaliser
    from serctl.learning.batches import Example
    from serctl.learning.federated.network import Arrays, LocalNetwork, Weights
    from serctl.learning.options import FitOptions

_SMALLEST_PROBABILITY = 1e-7


@dataclass(frozen=True)
class LocalResult:
    """What some epochs of local training gave.

    Attributes:
        weights: after them.
        state: what they leave for the next round besides the weights.
        mean_gradient: mean of the gradients of all steps, before any correction; empty where there was none.
        loss: mean over the steps.
    """

    weights: Weights
    state: Arrays
    mean_gradient: Arrays
    loss: float


@dataclass(frozen=True)
class WindowScores:
    """How a network does on windows: sums that parties can add up.

    Attributes:
        loss: sum over the windows.
        confusion: counts, shape (classes, classes), the truth in rows.
    """

    loss: float
    confusion: NDArray[np.int64]


class LocalTrainer:
    """A network with the data of one party; network, validation and examples (number to fit) can be read.

    Args:
        network: which may be that of other parties too.
        training: examples to fit.
        validation: examples to score.
        normaliser: scales the features; that of all parties.
        options: how to fit; epochs counts those of all rounds.
        class_counts: training examples of each class at all parties.
    """

    def __init__(
        self,
        network: LocalNetwork,
        training: Sequence[Example],
        validation: Sequence[Example],
        *,
        normaliser: Normaliser,
        options: FitOptions,
        class_counts: NDArray[np.integer],
    ) -> None:
        self.network = network
        self._batches = Batches(
            training,
            model=network.model,
            spec=network.spec,
            normaliser=normaliser,
            options=options,
            class_counts=class_counts,
        )
        self._rates = learning_rates(len(self._batches) * options.epochs, options)
        self.fresh = network.fresh(options.seed)
        self._normaliser = normaliser
        self.validation, self.examples = validation, len(training)

    def train(
        self,
        start: Weights,
        state: Arrays,
        *,
        first_epoch: int,
        epochs: int,
        correction: Arrays | None = None,
        pull: float = 0.0,
    ) -> LocalResult:
        """Train from the given weights.

        Args:
            start: of the network of all parties.
            state: that the round before left; fresh for the first.
            first_epoch: how many epochs this party has trained before.
            epochs: how many to train.
            correction: added to every gradient (SCAFFOLD); None for nothing.
            pull: strength of the pull towards the given weights (FedProx).

        Returns:
            The weights after it, and what the steps had in common.

        Raises:
            DivergedError: the loss is not a number.
        """
        size = len(self._batches)
        first = first_epoch * size
        self.network.begin(start, state, step=first, correction=correction, pull=pull)
        rates = ops.convert_to_numpy(self._rates(np.arange(first, first + epochs * size)))
        losses = []
        for step, rate in enumerate(rates):
            if step % size == 0:
                self._batches.start_at(first_epoch + step // size)
            losses.append(self._step(self._batches[step % size], float(rate)))
        sums = [] if correction is None else self.network.gradient_sum
        mean_gradient = [each / np.float32(len(losses)) for each in sums]
        return LocalResult(self.network.weights, self.network.state, mean_gradient, float(np.mean(losses)))

    def _step(self, batch: Any, rate: float) -> float:
        loss = self.network.step(batch, rate)
        if not math.isfinite(loss):
            raise DivergedError(f"the loss is {loss}: expected a number", Remedy.LEARNING_RATE)
        return loss

    def score(self, weights: Weights) -> WindowScores:
        """Score the validation windows with the given weights."""
        k = self.network.spec.n_classes
        if not self.validation:
            return WindowScores(0.0, np.zeros((k, k), np.int64))
        self.network.load(weights)
        probabilities = self.predict(self.validation)
        labels = np.array([each.label for each in self.validation], dtype=np.intp)
        of_truth = probabilities[np.arange(len(labels)), labels]
        loss = -np.log(np.maximum(of_truth, _SMALLEST_PROBABILITY), dtype=np.float64).sum()
        return WindowScores(float(loss), confusion_matrix(labels, probabilities.argmax(axis=1), n_classes=k))

    def predict(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Compute uncalibrated probabilities with the weights as they are, shape (examples, classes)."""
        return predict_windows(
            self.network.model,
            [each.variants[0] for each in examples],
            normaliser=self._normaliser,
            spec=self.network.spec,
            languages=[each.language for each in examples],
            call=self.network.predict,
        )
