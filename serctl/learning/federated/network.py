"""The network of a party with its compiled steps, kept from round to round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.errors import ConfigError
from serctl.learning.fit import prediction_loss
from serctl.models import build
from serctl.models.lazy import keras, ops

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from serctl.learning.options import FitOptions
    from serctl.models import ModelSpec

    Arrays = list[NDArray[np.floating]]


@dataclass(frozen=True)
class Weights:
    """The weights of a network: those that gradients change, and the statistics of its batch normalisation."""

    trainable: Arrays
    statistics: Arrays


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

    def begin(self, variables: Sequence[Any], correction: Arrays | None, pull: float, step: int) -> None:
        """Prepare a round that starts from the variables as they are.

        Args:
            variables: the weights.
            correction: added to each gradient; None for nothing.
            pull: strength of the pull towards the start.
            step: number of steps before it.
        """
        for index, variable in enumerate(variables):
            self.anchor[index].assign(variable)
            nothing = ops.zeros_like(variable)
            self.correction[index].assign(nothing if correction is None else correction[index])
            self.gradient_sum[index].assign(nothing)
        self.pull.assign(pull)
        self.iterations.assign(step)


class LocalNetwork:
    """A network and its optimizer. A round gives it all that it has to know, so parties in one process may share one.

    Args:
        architecture: its name.
        spec: what the network is built for.
        options: how to fit; the learning rate is given with every step.

    Attributes:
        model: the network.
        spec: what it is built for.

    Raises:
        ConfigError: Keras does not run on TensorFlow.
    """

    def __init__(self, architecture: str, spec: ModelSpec, options: FitOptions) -> None:
        if keras.backend.backend() != "tensorflow":
            raise ConfigError(f"federated training: expected Keras on tensorflow. Received: {keras.backend.backend()}")
        import tensorflow as tf

        self.spec, self.model = spec, build(architecture, spec)
        self._optimizer = LocalOptimizer(options.lr, weight_decay=options.weight_decay)
        self._optimizer.build(self.model.trainable_variables)
        self._loss = prediction_loss(options)
        weights = {id(each) for each in self.model.non_trainable_weights}
        self._seeds = [each for each in self.model.non_trainable_variables if id(each) not in weights]
        self._last: Arrays | None = None
        self._loaded: Weights | None = None
        # Compiled, for calling a layer or assigning a variable by itself costs more than the arithmetic.
        self._step, self._begin, self._load, self._restore, self._predict = (
            tf.function(each, reduce_retracing=True)
            for each in (self._take_step, self._begin_round, self._assign_weights, self._assign_state, self.model)
        )

    def fresh(self, seed: int) -> Arrays:
        """Return the state before the first round; seed draws the dropout."""
        rng = np.random.default_rng(seed)
        moments: Arrays = [np.zeros(each.shape, np.float32) for each in self._optimizer.moments]
        return [*moments, *(np.array([rng.integers(2**31), 0], each.dtype) for each in self._seeds)]

    @property
    def state(self) -> Arrays:
        """What the training of a round leaves for the next besides the weights: moments of Adam, seeds of dropout."""
        self._last = _values([*self._optimizer.moments, *self._seeds])
        return self._last

    @property
    def weights(self) -> Weights:
        """The weights as they are."""
        return Weights(_values(self.model.trainable_weights), _values(self.model.non_trainable_weights))

    @property
    def gradient_sum(self) -> Arrays:
        """Sum of the uncorrected gradients since the round began."""
        return _values(self._optimizer.gradient_sum)

    def load(self, weights: Weights) -> None:
        """Set the weights."""
        if weights is not self._loaded:
            self._load(weights.trainable, weights.statistics)
        self._loaded = weights

    def begin(self, start: Weights, state: Arrays, *, step: int, correction: Arrays | None, pull: float) -> None:
        """Prepare a round.

        Args:
            start: the weights that it starts from.
            state: of the training.
            step: number of steps before it.
            correction: added to each gradient; None for nothing.
            pull: strength of the pull towards the weights that it starts from.
        """
        if state is not self._last:
            self._restore(state)
        self.load(start)
        self._begin(correction, np.float32(pull), np.int64(step))
        self._last = self._loaded = None  # the steps change both

    def step(self, batch: Any, rate: float) -> float:
        """Take a step with a learning rate on a batch of learning.batches; returns the loss of the prediction."""
        return float(self._step(*batch, np.float32(rate)))

    def predict(self, inputs: Mapping[str, Any]) -> Any:
        """Compute the outputs of the model."""
        return self._predict(inputs)

    def _take_step(self, inputs: Any, targets: Any, weights: Any, rate: Any) -> Any:
        import tensorflow as tf

        self._optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            outputs = keras.tree.flatten(self.model(inputs, training=True))
            losses = [self._loss(*each) for each in zip(targets, outputs, weights, strict=True)]
            total = sum([*losses, *self.model.losses])
        variables = self.model.trainable_variables
        self._optimizer.apply(tape.gradient(total, [each.value for each in variables]), variables)
        return losses[0]

    def _begin_round(self, correction: Arrays | None, pull: Any, step: Any) -> None:
        self._optimizer.begin(self.model.trainable_variables, correction, pull, step)

    def _assign_weights(self, trainable: Sequence[Any], statistics: Sequence[Any]) -> None:
        _assign(self.model.trainable_weights, trainable)
        _assign(self.model.non_trainable_weights, statistics)

    def _assign_state(self, state: Sequence[Any]) -> None:
        _assign([*self._optimizer.moments, *self._seeds], state)


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
    _assign([*model.trainable_weights, *model.non_trainable_weights], [*weights.trainable, *weights.statistics])
    return _values(model.weights)


def _assign(variables: Sequence[Any], values: Sequence[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _values(variables: Sequence[Any]) -> Arrays:
    return [each.value.numpy() for each in variables]
