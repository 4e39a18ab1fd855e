"""Fit a network: class weights, cosine schedule, weight averaging, early stopping on a validation score, resumable.

keras and numpy only, so that it runs on every Keras backend.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.errors import ConfigError, DivergedError, Remedy
from serctl.features import language_input, token_inputs
from serctl.learning.batches import Batches, Example
from serctl.learning.checkpoints import load_checkpoint, save_checkpoint
from serctl.learning.goals import EmotionGoal
from serctl.learning.optimizer import make_optimizer
from serctl.learning.selection import FitState, new_history
from serctl.models import ADAPTER_LAYERS, ATTENTION_LAYER, ModelSpec, build
from serctl.models.lazy import keras

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.features import Features, Normaliser
    from serctl.learning.goals import Goal
    from serctl.learning.options import FitOptions

CHECKPOINT = "checkpoint.npz"

BATCH = 64
"""Windows predicted at once."""


@dataclass(frozen=True)
class EpochScores:
    """What an epoch ended with; epochs count from 1, validation scores are NaN without a validation part.

    score: name of that which selects the epoch: uar, or ccc of numbers.
    """

    epoch: int
    epochs: int
    loss: float
    val_loss: float
    val_score: float
    best_epoch: int
    score: str = "uar"


EpochCallback = Callable[[EpochScores], None]


@dataclass(frozen=True)
class Start:
    """The weights of an earlier network of the same architecture, to start from.

    Attributes:
        weights: Fitted.weights of that network.
        adapter_only: train the adapters of the languages only; all other weights stay as they are.
    """

    weights: Sequence[NDArray[np.floating]]
    adapter_only: bool = False


@dataclass(frozen=True)
class Fitted:
    """The network with the averaged weights of its best epoch, and the scores of every epoch.

    Attributes:
        model: gives a dictionary: probabilities, and attention where the architecture has it.
        weights: of the whole network with its heads for training, as Start takes them.
        history: loss, val_loss and the validation score of every epoch; see FitState.
        best_epoch: counted from 1; 0 for the weights that it started from.
        start_score: validation score of those weights; None where they were not a candidate.
    """

    model: keras.Model
    weights: list[NDArray[np.floating]]
    history: dict[str, list[float]]
    best_epoch: int
    start_score: float | None = None

    @property
    def validation_score(self) -> float:
        """Validation score of the weights, over windows."""
        if self.best_epoch == 0 and self.start_score is not None:
            return self.start_score
        return list(self.history.values())[-1][self.best_epoch - 1]


def fit(
    architecture: str,
    spec: ModelSpec,
    training: Sequence[Example],
    validation: Sequence[Example],
    *,
    normaliser: Normaliser,
    options: FitOptions,
    folder: Path,
    on_epoch: EpochCallback,
    start: Start | None = None,
    goal: Goal | None = None,
) -> Fitted:
    """Fit a new network, or go on with the one that an interrupted call left in folder.

    An interrupted fit that goes on gives the same weights as one that was never interrupted.

    Args:
        architecture: its name.
        spec: what the network is built for.
        training: examples to fit.
        validation: examples that select the epoch among those of the second half; without any, the last epoch stands.
            With weights to start from that have a head for these classes, they select among all epochs and those
            weights, which stand unless an epoch is better by more than chance.
        normaliser: scales the features.
        options: how to fit.
        folder: existing; holds the checkpoint, and belongs to this one run.
        on_epoch: receives the scores of each epoch.
        start: weights to go on from.
        goal: what to answer; None for one of the emotions.

    Raises:
        ConfigError: the base has other weights, or the checkpoint is damaged.
        DivergedError: the loss is not finite.
        OSError: the checkpoint cannot be written.
    """
    keras.utils.set_random_seed(options.seed)
    model = _begin(architecture, spec, start)
    goal = EmotionGoal(spec.n_classes) if goal is None else goal
    batches = Batches(training, model=model, spec=spec, normaliser=normaliser, options=options, goal=goal)
    # Decay would wear away the adapters of the other languages, which get no gradient.
    decay = 0.0 if start and start.adapter_only else options.weight_decay
    optimizer = make_optimizer(len(batches), options, weight_decay=decay)
    model.compile(optimizer=optimizer, loss=[prediction_loss(options) for _ in model.outputs])
    optimizer.build(model.trainable_variables)
    state = _resume(model, folder / CHECKPOINT, goal)
    batches.start_at(state.epochs_done)
    callback = _ValidationCallback(validation, goal, spec, normaliser, options, folder / CHECKPOINT, state, on_epoch)
    if start and state.epochs_done == 0 and _fits(start, model):
        callback.score_start(model)
    if not state.finished:
        # The batches draw their own order, which only depends on the seed and the epoch.
        first = state.epochs_done
        model.fit(batches, initial_epoch=first, epochs=options.epochs, shuffle=False, verbose=0, callbacks=[callback])
    model.set_weights(state.best_weights)
    return Fitted(_for_prediction(model), state.best_weights, state.history, state.best_epoch, state.start_score)


def restore(architecture: str, spec: ModelSpec, weights: Sequence[NDArray[np.floating]]) -> keras.Model:
    """Rebuild the network of an earlier fit.

    Args:
        architecture: its name.
        spec: what the network was built for.
        weights: Fitted.weights.

    Returns:
        The network as Fitted.model holds it.

    Raises:
        ValueError: the weights are not those of such a network.
    """
    model = build(architecture, spec)
    model.set_weights(weights)
    return _for_prediction(model)


def predict_windows(
    model: keras.Model,
    windows: Sequence[Features],
    *,
    normaliser: Normaliser,
    spec: ModelSpec,
    languages: Sequence[str | None],
    call: Callable[[Any], Any] | None = None,
) -> NDArray[np.float32]:
    """Predict the probabilities of windows, before calibration.

    Args:
        model: a network with or without its heads for training.
        windows: features of each window.
        normaliser: scales the features.
        spec: what the network was built for.
        languages: the code of each window's language, or None.
        call: computes the outputs of the model, such as its compiled form; None calls the model.

    Returns:
        float32, shape (windows, classes).
    """
    names = {tensor.name for tensor in model.inputs}
    inputs = normaliser.model_inputs(
        windows, n_frames=spec.n_frames, n_states=spec.n_states, spectrogram="log_mel" in names
    )
    inputs["language"] = language_input(languages, spec.languages)
    if "tokens" in names:
        inputs |= token_inputs(windows)
    # Called, not model.predict: within a fit that would take the weights away from it on the JAX backend.
    compute = call or model
    predicted = [
        _probabilities(compute({name: inputs[name][first : first + BATCH] for name in names}))
        for first in range(0, len(windows), BATCH)
    ]
    return np.concatenate(predicted)


def _probabilities(outputs: Any) -> NDArray[np.float32]:
    """Return the prediction among the outputs: a dictionary, or a list that starts with it and has training heads."""
    first = outputs["probabilities"] if isinstance(outputs, dict) else keras.tree.flatten(outputs)[0]
    array: NDArray[np.float32] = keras.ops.convert_to_numpy(first)
    return array


def _variables(model: keras.Model) -> list[Any]:
    """All that training changes: weights, states of random generators, the optimizer's moments and averages."""
    return [*model.variables, *model.optimizer.variables]


def _resume(model: keras.Model, checkpoint: Path, goal: Goal) -> FitState:
    """Set the variables of the network to those of the checkpoint, if there is one; return the state of the fit."""
    if not checkpoint.exists():
        return FitState(new_history(goal.score))
    facts, arrays = load_checkpoint(checkpoint)
    for variable, value in zip(_variables(model), arrays["variables"], strict=True):
        variable.assign(value)
    return FitState(**facts, best_weights=arrays["best_weights"])


def _begin(architecture: str, spec: ModelSpec, start: Start | None) -> keras.Model:
    """A new network, with what fits of the weights to start from; a head for other classes starts anew."""
    model = build(architecture, spec)
    if start is None:
        return model
    if len(start.weights) != len(model.weights):
        raise ConfigError(
            f"the model to go on from is not of this version's {architecture}: expected {len(model.weights)} arrays of "
            f"weights, received {len(start.weights)}"
        )
    for variable, value in zip(model.weights, start.weights, strict=True):
        if variable.shape == value.shape:
            variable.assign(value)
        elif any(name in variable.path for name in ADAPTER_LAYERS):
            variable.assign(_with_more_languages(keras.ops.convert_to_numpy(variable), value))
    if start.adapter_only:
        for layer in model.layers:
            layer.trainable = layer.name in ADAPTER_LAYERS
    return model


def _fits(start: Start, model: keras.Model) -> bool:
    """Whether the network answers as the one that the weights are of: no head is new. Adapters may be."""
    pairs = zip(model.weights, start.weights, strict=True)
    return all(
        variable.shape == value.shape or any(name in variable.path for name in ADAPTER_LAYERS)
        for variable, value in pairs
    )


def _with_more_languages(new: NDArray[np.floating], old: NDArray[np.floating]) -> NDArray[np.floating]:
    """The old languages' weights before those of the languages that were added."""
    grown = new.copy()
    grown[tuple(slice(size) for size in old.shape)] = old
    return grown


def _for_prediction(model: keras.Model) -> keras.Model:
    outputs = {"probabilities": model.outputs[0]}
    if ATTENTION_LAYER in [layer.name for layer in model.layers]:
        outputs[ATTENTION_LAYER] = model.get_layer(ATTENTION_LAYER).output
    return keras.Model(model.inputs, outputs)


def prediction_loss(options: FitOptions) -> keras.losses.Loss:
    """Return the loss of each output of a network."""
    return keras.losses.CategoricalCrossentropy(label_smoothing=options.label_smoothing)


class _ValidationCallback(keras.callbacks.Callback):
    """Scores the averaged weights after each epoch, keeps the best, writes the checkpoint, stops the fit."""

    def __init__(
        self,
        validation: Sequence[Example],
        goal: Goal,
        spec: ModelSpec,
        normaliser: Normaliser,
        options: FitOptions,
        checkpoint: Path,
        state: FitState,
        on_epoch: EpochCallback,
    ) -> None:
        super().__init__()
        self._windows = [example.variants[0] for example in validation]
        self._languages = [example.language for example in validation]
        self._examples = validation
        self._goal = goal
        self._spec = spec
        self._normaliser = normaliser
        self._options = options
        self._checkpoint = checkpoint
        self._state = state
        self._on_epoch = on_epoch

    def score_start(self, model: keras.Model) -> None:
        """Make the weights that the fit starts from a candidate: epoch 0."""
        if self._windows:
            losses, self._state.start_score = self._scores(model)
            self._state.start_losses = losses.tolist()
            self._state.best_weights = model.get_weights()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by keras; epoch counts from 0."""
        raw = [keras.ops.convert_to_numpy(variable.value) for variable in self.model.trainable_variables]
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        losses, val_score = self._scores(self.model)
        self._state.record(self._loss_of_prediction(logs or {}), losses, val_score, self._options)
        if self._state.best_epoch == epoch + 1:
            self._state.best_weights = self.model.get_weights()
        for variable, value in zip(self.model.trainable_variables, raw, strict=True):
            variable.assign(value)
        self._save()
        self._report()
        if self._state.finished:
            self.model.stop_training = True

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by keras after each step."""
        loss = float((logs or {})["loss"])
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss of step {batch + 1} in epoch {self._state.epochs_done + 1} is {loss}: expected a number. "
                f"The learning rate {self._options.lr:g} is too high",
                Remedy.LEARNING_RATE,
            )

    def _loss_of_prediction(self, logs: dict[str, Any]) -> float:
        """The loss of the first output; keras names it so where there are others."""
        return float(logs.get(f"{self.model.output_names[0]}_loss", logs["loss"]))

    def _scores(self, model: keras.Model) -> tuple[NDArray[np.float64], float]:
        """Loss of each validation window, shape (windows,), and their score."""
        if not self._windows:
            return np.empty(0), float("nan")
        probabilities = predict_windows(
            model, self._windows, normaliser=self._normaliser, spec=self._spec, languages=self._languages
        )
        return self._goal.rate(probabilities, self._examples)

    def _save(self) -> None:
        facts = {name: value for name, value in vars(self._state).items() if name != "best_weights"}
        variables = [keras.ops.convert_to_numpy(variable) for variable in _variables(self.model)]
        arrays = {"variables": variables, "best_weights": self._state.best_weights}
        save_checkpoint(self._checkpoint, facts, arrays)

    def _report(self) -> None:
        loss, val_loss, val_score = (values[-1] for values in self._state.history.values())
        done, best = self._state.epochs_done, self._state.best_epoch
        self._on_epoch(
            EpochScores(done, self._options.epochs, loss, val_loss, val_score, best_epoch=best, score=self._goal.score)
        )
