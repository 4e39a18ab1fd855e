"""Layers that Keras does not have; imported when a network that needs one is built."""

from __future__ import annotations

from typing import Any

from serctl.models.lazy import keras, layers, ops


@keras.saving.register_keras_serializable("serctl")
class AttentionWeights(layers.Layer):
    """Learned weights of frames, shape (batch, time); they sum to 1 and are 0 for padded frames.

    Inputs: frames (batch, time, channels), their mask (batch, time), 1 for speech and 0 for padding, and optionally an
    utterance-level context (batch, channels) that influences the weights.
    """

    def __init__(self, units: int = 64, **options: Any) -> None:
        super().__init__(**options)
        self.units = units
        self.hidden = layers.Dense(units)
        self.context = layers.Dense(units, use_bias=False)
        self.score = layers.Dense(1, use_bias=False)  # softmax is invariant to a bias

    def build(self, input_shape: Any) -> None:
        """Create the layer's variables for inputs of these shapes."""
        frames = input_shape[0]
        self.hidden.build(frames)
        if len(input_shape) > 2:
            self.context.build(input_shape[2])
        self.score.build((*frames[:-1], self.units))
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Compute the weights from (frames, mask) or (frames, mask, context)."""
        frames, mask, *context = inputs
        hidden = self.hidden(frames)
        if context:
            hidden = hidden + ops.expand_dims(self.context(context[0]), axis=1)
        scores = ops.squeeze(self.score(ops.tanh(hidden)), axis=-1) + (mask - 1) * 1e4
        return ops.softmax(scores, axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Return (batch, time)."""
        return tuple(input_shape[0][:2])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("serctl")
class WeightedSum(layers.Layer):
    """Sum over time of (batch, time, channels), weighted by (batch, time)."""

    def call(self, inputs: Any) -> Any:
        """Compute the sum from (values, weights)."""
        values, weights = inputs
        return ops.sum(ops.expand_dims(weights, axis=-1) * values, axis=1)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Return (batch, channels)."""
        return (input_shape[0][0], input_shape[0][-1])
