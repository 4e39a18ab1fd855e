"""Building blocks that architectures share; keras and keras.ops only, so that they run on every backend."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


def conv_block(x: Any, filters: int, *, strides: tuple[int, int] = (1, 1)) -> Any:
    """3x3 convolution, batch normalisation, ReLU; x: (batch, time, band, channels)."""
    x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.ReLU()(x)


@keras.saving.register_keras_serializable("serctl")
class AttentionPooling(layers.Layer):
    """Weighted mean and standard deviation over time, the weights learned; padded frames get none.

    Inputs: frames (batch, time, channels) and their mask (batch, time), 1 for speech and 0 for padding.
    Returns (batch, 2 * channels).
    Source: Okabe et al. 2018, doi:10.21437/Interspeech.2018-993.
    """

    def __init__(self, units: int = 64, **options: Any) -> None:
        super().__init__(**options)
        self.units = units
        self.hidden = layers.Dense(units, activation="tanh")
        self.score = layers.Dense(1)

    def build(self, input_shape: Any) -> None:
        """Create the weights for inputs of these shapes."""
        frames = input_shape[0]
        self.hidden.build(frames)
        self.score.build((*frames[:-1], self.units))
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Pool (frames, mask) over time."""
        frames, mask = inputs
        scores = ops.squeeze(self.score(self.hidden(frames)), axis=-1) + (mask - 1) * 1e4
        weights = ops.expand_dims(ops.softmax(scores, axis=-1), axis=-1)
        mean = ops.sum(weights * frames, axis=1)
        variance = ops.sum(weights * ops.square(frames - ops.expand_dims(mean, axis=1)), axis=1)
        return ops.concatenate([mean, ops.sqrt(ops.maximum(variance, 1e-5))], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """(batch, 2 * channels)."""
        frames = input_shape[0]
        return (frames[0], 2 * frames[-1])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "units": self.units}


def downsample_mask(mask: Any, factor: int) -> Any:
    """The mask of the frames that convolutions of such a stride leave; (batch, time) to (batch, time / factor)."""
    return mask[:, ::factor]
