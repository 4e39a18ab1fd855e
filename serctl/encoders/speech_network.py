"""The network of the speech encoder in keras.ops, for conversion to LiteRT and for tests; prediction never imports it.

Source: Radford et al. 2022, arXiv:2212.04356 (Whisper), with the weights' names of CTranslate2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.encoders.speech import HEADS, LAYERS, N_MELS, UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Weights = Mapping[str, NDArray[np.float32]]


def build_encoder(weights: Weights, *, layers: int = LAYERS) -> Any:
    """Build the encoder as a Keras model, on any backend.

    Args:
        weights: arrays by name, as in whisper-tiny-en-encoder.npz; kernels have shape (outputs, inputs[, taps]).
        layers: how many transformer layers are computed.

    Returns:
        keras.Model from bands (1, frames, 1, N_MELS) and positions (1, frames // 2, UNITS) to layer_1 ... layer_N, each
        (1, frames // 2, UNITS): the residual stream behind each layer.
    """
    import keras

    bands = keras.Input(batch_shape=(1, None, 1, N_MELS), name="bands")
    positions = keras.Input(batch_shape=(1, None, UNITS), name="positions")
    states = _states(bands, positions, weights, layers)
    return keras.Model([bands, positions], {f"layer_{number}": state for number, state in enumerate(states, 1)})


def to_litert(model: Any) -> bytes:
    """Convert the encoder to LiteRT with weights in float16 and arithmetic in float32."""
    import tempfile

    import keras
    import tensorflow as tf

    signature = [[keras.InputSpec(shape=each.shape, dtype="float32", name=each.name) for each in model.inputs]]
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False, input_signature=signature)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
        content: bytes = converter.convert()
    return content


def _states(bands: Any, positions: Any, weights: Weights, layers: int) -> list[Any]:
    from keras import ops

    x = _convolution(_convolution(bands, weights, "conv1", stride=1), weights, "conv2", stride=2)
    x = ops.reshape(x, (1, -1, UNITS)) + positions
    states = []
    for layer in range(layers):
        attention, feed_forward = f"layer_{layer}.self_attention", f"layer_{layer}.ffn"
        x = x + _attention(_normalise(x, weights, attention), weights, attention)
        x = x + _feed_forward(_normalise(x, weights, feed_forward), weights, feed_forward)
        states.append(x)
    return states


def _convolution(x: Any, weights: Weights, name: str, *, stride: int) -> Any:
    """Convolve with three taps over time, zeros beyond the edges, then GELU; (1, frames, 1, channels)."""
    from keras import ops

    kernel = np.transpose(weights[f"{name}.weight"], (2, 1, 0))[:, None]
    x = ops.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    x = ops.conv(x, kernel, strides=(stride, 1), padding="valid", data_format="channels_last")
    return ops.gelu(x + weights[f"{name}.bias"], approximate=False)


def _normalise(x: Any, weights: Weights, name: str) -> Any:
    from keras import ops

    centred = x - ops.mean(x, axis=-1, keepdims=True)
    scale = ops.rsqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True) + 1e-5)
    return centred * scale * weights[f"{name}.layer_norm.gamma"] + weights[f"{name}.layer_norm.beta"]


def _attention(x: Any, weights: Weights, name: str) -> Any:
    from keras import ops

    kernel, bias = weights[f"{name}.linear_0.weight"], weights[f"{name}.linear_0.bias"]
    query, key, value = (
        _heads(ops.matmul(x, kernel[first : first + UNITS].T) + bias[first : first + UNITS])
        for first in (0, UNITS, 2 * UNITS)
    )
    scores = ops.matmul(query * (UNITS // HEADS) ** -0.5, ops.transpose(key, (0, 1, 3, 2)))
    mixed = ops.transpose(ops.matmul(ops.softmax(scores, axis=-1), value), (0, 2, 1, 3))
    return _linear(ops.reshape(mixed, (1, -1, UNITS)), weights, f"{name}.linear_1")


def _heads(x: Any) -> Any:
    """Split (1, tokens, UNITS) into (1, HEADS, tokens, UNITS // HEADS)."""
    from keras import ops

    return ops.transpose(ops.reshape(x, (1, -1, HEADS, UNITS // HEADS)), (0, 2, 1, 3))


def _feed_forward(x: Any, weights: Weights, name: str) -> Any:
    from keras import ops

    hidden = ops.gelu(_linear(x, weights, f"{name}.linear_0"), approximate=False)
    return _linear(hidden, weights, f"{name}.linear_1")


def _linear(x: Any, weights: Weights, name: str) -> Any:
    from keras import ops

    return ops.matmul(x, weights[f"{name}.weight"].T) + weights[f"{name}.bias"]
