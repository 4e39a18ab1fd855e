"""The training of one party: some epochs from given weights, by a network that is kept from round to round."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.errors import DivergedError, Remedy
from serctl.learning.batches import Batches
from serctl.learning.fit import predict_windows, prediction_loss
from serctl.learning.optimizer import learning_rates
from serctl.metrics import confusion_matrix
from serctl.models import build
from serctl.models.lazy import keras, ops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from serctl.features import Normaliser
    from serctl.learning.batches import Example
    from serctl.learning.options import FitOptions
    from serctl.models import ModelSpec

    Arrays = list[NDArray[np.floating]]

_SMALLEST_PROBABILITY = 1e-7


@dataclass(frozen=True)
class Weights:
    """The weights of a network: those that gradients change, and the statistics of its batch normalisation."""

    trainable: Arrays
    statistics: Arrays


@dataclass(frozen=True)
class LocalResult:
    """What some epochs of local training gave.

    Attributes:
        weights: after them.
        mean_gradient: mean of the gradients of all steps, before any correction.
        steps: how many there were.
        loss: mean over the steps.
    """

    weights: Weights
    mean_gradient: Arrays
    steps: int
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


class LocalOptimizer(keras.optimizers.AdamW):
    """AdamW on corrected gradients, which keeps the sum of the uncorrected ones.

    A step uses gradient + correction + pull * (weights - anchor).

    Sources: Karimireddy et al. 2020, arXiv:1910.06378 (SCAFFOLD: the correction); Li et al. 2020, arXiv:1812.06127
    (FedProx: the pull towards the weights that a round starts from).
    """

    def build(self, variables: Sequence[Any]) -> None:
        """Add what belongs to each variable; called by keras."""
        super().build(variables)
        for name in ("correction", "anchor", "gradient_sum"):
            made = [self.add_variable_from_reference(each, name=name) for each in variables]
            setattr(self, name, made)
        self.pull = self.add_variable(shape=(), name="pull", initializer="zeros")

    @property
    def moments(self) -> list[Any]:
        """The variables of the moments of Adam."""
        return [*self._momentums, *self._velocities]

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Take a step; called by keras."""
        variables = list(trainable_variables or self._trainable_variables)
        corrected = []
        for index, (gradient, variable) in enumerate(zip(grads, variables, strict=True)):
            raw = ops.zeros_like(variable) if gradient is None else gradient
            self.gradient_sum[index].assign(self.gradient_sum[index] + raw)
            corrected.append(raw + self.correction[index] + self.pull * (variable - self.anchor[index]))
        super().apply(corrected, variables)

    def begin(self, anchor: Arrays, correction: Arrays | None, pull: float, step: int) -> None:
        """Prepare a round.

        Args:
            anchor: the weights that it starts from.
            correction: added to each gradient; None for nothing.
            pull: strength of the pull towards the anchor.
            step: number of steps before it, which the learning rate follows.
        """
        for index, values in enumerate(anchor):
            self.anchor[index].assign(values)
            self.correction[index].assign(np.zeros_like(values) if correction is None else correction[index])
            self.gradient_sum[index].assign(np.zeros_like(values))
        self.pull.assign(pull)
        self.iterations.assign(step)


class LocalTrainer:
    """A network with the data of one party; model, spec, validation and examples (number to fit) can be read.

    Args:
        architecture: its name.
        spec: what the network is built for.
        training: examples to fit.
        validation: examples to score.
        normaliser: scales the features; that of all parties.
        options: how to fit; epochs counts those of all rounds.
        class_counts: training examples of each class at all parties.
    """

    def __init__(
        self,
        architecture: str,
        spec: ModelSpec,
        training: Sequence[Example],
        validation: Sequence[Example],
        *,
        normaliser: Normaliser,
        options: FitOptions,
        class_counts: NDArray[np.integer],
    ) -> None:
        keras.utils.set_random_seed(options.seed)
        # The server averages over rounds.
        options = replace(options, weight_average=0.0)
        self.model = build(architecture, spec)
        self._batches = Batches(
            training,
            model=self.model,
            spec=spec,
            normaliser=normaliser,
            options=options,
            class_counts=class_counts,
        )
        steps = len(self._batches) * options.epochs
        self._optimizer = LocalOptimizer(learning_rates(steps, options), weight_decay=options.weight_decay)
        self.model.compile(optimizer=self._optimizer, loss=[prediction_loss(options) for _ in self.model.outputs])
        self._optimizer.build(self.model.trainable_variables)
        weights = {id(each) for each in self.model.non_trainable_weights}
        seeds = [each for each in self.model.non_trainable_variables if id(each) not in weights]
        self._variables = [*self._optimizer.moments, *seeds]
        self.fresh = self.state
        self._normaliser = normaliser
        self.validation, self.spec, self.examples = validation, spec, len(training)

    @property
    def state(self) -> Arrays:
        """What the training of a round leaves for the next besides the weights: moments of Adam, seeds of dropout."""
        return _values(self._variables)

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        for variable, values in zip(self._variables, state, strict=True):
            variable.assign(values)

    @property
    def weights(self) -> Weights:
        """The weights as they are."""
        return Weights(_values(self.model.trainable_weights), _values(self.model.non_trainable_weights))

    def train(
        self, start: Weights, *, first_epoch: int, epochs: int, correction: Arrays | None = None, pull: float = 0.0
    ) -> LocalResult:
        """Train from the given weights.

        Args:
            start: of the network of all parties.
            first_epoch: how many epochs this party has trained before.
            epochs: how many to train.
            correction: added to every gradient (SCAFFOLD); None for nothing.
            pull: strength of the pull towards the given weights (FedProx).

        Returns:
            The weights after it, and what the steps had in common.

        Raises:
            DivergedError: the loss is not a number.
        """
        _assign(self.model, start)
        self._optimizer.begin(start.trainable, correction, pull, step=first_epoch * len(self._batches))
        losses = []
        for epoch in range(first_epoch, first_epoch + epochs):
            self._batches.start_at(epoch)
            losses += [self._step(self._batches[index]) for index in range(len(self._batches))]
        mean_gradient: Arrays = [each / len(losses) for each in _values(self._optimizer.gradient_sum)]
        return LocalResult(self.weights, mean_gradient, len(losses), float(np.mean(losses)))

    def _step(self, batch: Any) -> float:
        inputs, targets, weights = batch
        found = self.model.train_on_batch(inputs, list(targets), sample_weight=list(weights))
        loss = float(np.ravel(found)[0])
        if not math.isfinite(loss):
            raise DivergedError(f"the loss is {loss}: expected a number", Remedy.LEARNING_RATE)
        return loss

    def score(self, weights: Weights) -> WindowScores:
        """Score the validation windows with the given weights."""
        k = self.spec.n_classes
        if not self.validation:
            return WindowScores(0.0, np.zeros((k, k), np.int64))
        _assign(self.model, weights)
        probabilities = self.predict(self.validation)
        labels = np.array([each.label for each in self.validation], dtype=np.intp)
        of_truth = probabilities[np.arange(len(labels)), labels]
        loss = -np.log(np.maximum(of_truth, _SMALLEST_PROBABILITY), dtype=np.float64).sum()
        return WindowScores(float(loss), confusion_matrix(labels, probabilities.argmax(axis=1), n_classes=k))

    def predict(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Compute uncalibrated probabilities with the weights as they are, shape (examples, classes)."""
        return predict_windows(
            self.model,
            [each.variants[0] for each in examples],
            normaliser=self._normaliser,
            spec=self.spec,
            languages=[each.language for each in examples],
        )


def new_weights(architecture: str, spec: ModelSpec, *, seed: int) -> tuple[Weights, dict[int, int]]:
    """Draw the weights that the first round starts from.

    Returns:
        The weights, and for the index of each variance among the statistics, that of the mean which belongs to it.
    """
    keras.utils.set_random_seed(seed)
    model = build(architecture, spec)
    paths = [each.path for each in model.non_trainable_weights]
    variances = {
        index: paths.index(path.replace("moving_variance", "moving_mean"))
        for index, path in enumerate(paths)
        if path.endswith("moving_variance")
    }
    return Weights(_values(model.trainable_weights), _values(model.non_trainable_weights)), variances


def in_order(architecture: str, spec: ModelSpec, weights: Weights) -> Arrays:
    """Return weights in the order of the network, as learning.fit.restore takes them."""
    model = build(architecture, spec)
    _assign(model, weights)
    return _values(model.weights)


def _assign(model: keras.Model, weights: Weights) -> None:
    for variables, values in (
        (model.trainable_weights, weights.trainable),
        (model.non_trainable_weights, weights.statistics),
    ):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _values(variables: Sequence[Any]) -> Arrays:
    return [np.array(ops.convert_to_numpy(each)) for each in variables]
