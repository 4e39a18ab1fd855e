"""Convert a Keras model to LiteRT."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from serctl.quiet import quiet_stderr

if TYPE_CHECKING:
    import keras

    from serctl.models import ModelSpec


def to_litert(model: keras.Model, *, n_frames: int) -> bytes:
    """The model in LiteRT's format, for one window of n_frames at a time, weights in float16 and arithmetic in float32.

    Weights in float16 halve the file; probabilities move by about 1e-4.
    """
    import keras
    import tensorflow as tf

    fixed = [
        keras.Input(batch_shape=(1, *(size or n_frames for size in tensor.shape[1:])), name=tensor.name)
        for tensor in model.inputs
    ]
    single = keras.models.clone_model(model, input_tensors=fixed, clone_function=_unrolled)
    single.set_weights(model.get_weights())
    with tempfile.TemporaryDirectory() as folder, quiet_stderr():
        single.export(folder, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
        converted: bytes = converter.convert()
    return converted


def step_to_litert(model: keras.Model, spec: ModelSpec) -> bytes:
    """One step of a causal network, its state explicit, in LiteRT's format."""
    from serctl.models.lstm import build_step

    return to_litert(build_step(model, spec), n_frames=spec.n_frames)


def _unrolled(layer: keras.layers.Layer) -> keras.layers.Layer:
    """A copy of the layer; a recurrence is laid out step by step, since the converter knows no loop of this kind."""
    import keras

    copy = type(layer).from_config(layer.get_config())
    if isinstance(copy, keras.layers.Bidirectional):
        copy.forward_layer.unroll = copy.backward_layer.unroll = True
    elif isinstance(copy, keras.layers.RNN):
        copy.unroll = True
    return copy
