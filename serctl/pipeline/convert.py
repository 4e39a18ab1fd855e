"""Convert a Keras model to LiteRT."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from serctl.quiet import quiet_stderr

if TYPE_CHECKING:
    import keras


def to_litert(model: keras.Model) -> bytes:
    """The model in LiteRT's format, with a batch of one, weights in float16 and arithmetic in float32.

    Weights in float16 halve the file; probabilities move by about 1e-4.
    """
    import keras
    import tensorflow as tf

    fixed = [keras.Input(batch_shape=(1, *tensor.shape[1:]), name=tensor.name) for tensor in model.inputs]
    single = keras.Model(fixed, model(fixed))
    with tempfile.TemporaryDirectory() as folder, quiet_stderr():
        single.export(folder, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
        converted: bytes = converter.convert()
    return converted
