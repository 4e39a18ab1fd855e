"""The network of the text encoder in keras.ops, for conversion and tests; prediction never imports it.

Source: Devlin et al. 2019, arXiv:1810.04805 (BERT); Wang et al. 2020, arXiv:2002.10957 (MiniLM), with the names
of the weights of sentence-transformers/all-MiniLM-L6-v2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.encoders.text import HEADS, LAYERS, UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    Weights = Mapping[str, NDArray[np.float32]]

EPSILON = 1e-12


def build_encoder(weights: Weights, *, layers: int = LAYERS, dropout: float = 0.0) -> Any:
    """Build the encoder as a Keras model, on any backend.

    Args:
        weights: arrays by name, as in model.safetensors; kernels have shape (outputs, inputs).
        layers: how many are computed.
        dropout: share of the outputs of each part that training sets to 0.

    Returns:
        keras.Model from embedded (texts, tokens, UNITS), the sum of the embeddings of words, places and types, and mask
        (texts, tokens), 1 for a token and 0 for padding, to the states behind the last layer (texts, tokens, UNITS).
    """
    import keras

    embedded = keras.Input((None, UNITS), name="embedded")
    mask = keras.Input((None,), name="mask")
    x = _normalisation(weights, "embeddings.LayerNorm")(embedded)
    for layer in range(layers):
        x = _layer(x, mask, weights, f"encoder.layer.{layer}", dropout)
    return keras.Model([embedded, mask], x)


def layer_weights(encoder: Any) -> dict[str, NDArray[np.float32]]:
    """Return the weights of an encoder by name, as build_encoder takes them."""
    found: dict[str, NDArray[np.float32]] = {}
    for layer in encoder.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            found |= {f"{layer.name}.weight": kernel.T, f"{layer.name}.bias": bias}
    return found


def _layer(x: Any, mask: Any, weights: Weights, name: str, dropout: float) -> Any:
    """Compute one transformer layer: attention, then two dense layers, each with a residual and a normalisation."""
    from keras import layers, ops

    query, key, value = (
        _heads(_dense(weights, f"{name}.attention.self.{part}")(x)) for part in ("query", "key", "value")
    )
    scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) * (UNITS // HEADS) ** -0.5
    scores = ops.softmax(scores + (mask[:, None, None, :] - 1.0) * 1e4, axis=-1)
    mixed = ops.transpose(ops.matmul(scores, value), (0, 2, 1, 3))
    mixed = layers.Reshape((-1, UNITS))(mixed)
    attended = _dense(weights, f"{name}.attention.output.dense")(mixed)
    attended = layers.Dropout(dropout)(attended)
    x = _normalisation(weights, f"{name}.attention.output.LayerNorm")(x + attended)
    hidden = ops.gelu(_dense(weights, f"{name}.intermediate.dense")(x), approximate=False)
    hidden = layers.Dropout(dropout)(_dense(weights, f"{name}.output.dense")(hidden))
    return _normalisation(weights, f"{name}.output.LayerNorm")(x + hidden)


def _heads(x: Any) -> Any:
    """Split (texts, tokens, UNITS) into (texts, HEADS, tokens, UNITS // HEADS)."""
    from keras import layers, ops

    return ops.transpose(layers.Reshape((-1, HEADS, UNITS // HEADS))(x), (0, 2, 1, 3))


def _dense(weights: Weights, name: str) -> Any:
    import keras

    kernel = weights[f"{name}.weight"].T
    layer = keras.layers.Dense(kernel.shape[1], name=name)
    layer.build((None, None, kernel.shape[0]))
    layer.set_weights([kernel, weights[f"{name}.bias"]])
    return layer


def _normalisation(weights: Weights, name: str) -> Any:
    import keras

    layer = keras.layers.LayerNormalization(epsilon=EPSILON, name=name)
    layer.build((None, None, UNITS))
    layer.set_weights([weights[f"{name}.weight"], weights[f"{name}.bias"]])
    return layer


def to_litert(encoder: Any) -> bytes:
    """Convert an encoder to a network of LiteRT for one text of any length, its weights in 8 bits."""
    import tempfile

    import keras
    import tensorflow as tf
    from keras import ops

    embedded = keras.Input(batch_shape=(1, None, UNITS), name="embedded")
    model = keras.Model(embedded, {"states": encoder([embedded, ops.ones_like(embedded[:, :, 0])])})
    signature = [[keras.InputSpec(shape=embedded.shape, dtype="float32", name="embedded")]]
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False, input_signature=signature)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        content: bytes = converter.convert()
    return content
