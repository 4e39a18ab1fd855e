"""Convert a Keras model to LiteRT."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras


def to_litert(model: keras.Model) -> bytes:
    """The model in LiteRT's format, with a batch of one, weights in float16 and arithmetic in float32.

    Weights in float16 halve the file; probabilities move by about 1e-4.
    """
    import keras
    import tensorflow as tf

    fixed = [keras.Input(batch_shape=(1, *tensor.shape[1:]), name=tensor.name) for tensor in model.inputs]
    single = keras.Model(fixed, model(fixed))
    with tempfile.TemporaryDirectory() as folder, _quiet_stderr():
        single.export(folder, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
        converted: bytes = converter.convert()
    return converted


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep what the converter's C++ code logs from a terminal with a progress bar; a failure is raised anyway."""
    saved = os.dup(2)
    with Path(os.devnull).open("w") as sink:
        os.dup2(sink.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
