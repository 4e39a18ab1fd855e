"""Convert a Keras model to LiteRT or ONNX."""

from __future__ import annotations

import math
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serctl.bundle.facts import ONNX_MODEL
from serctl.errors import BundleError, ConfigError, MissingExtraError, Remedy
from serctl.models import find_architecture
from serctl.quiet import quiet_stderr
from serctl.runtime.recogniser import load_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import keras
    import numpy as np
    from numpy.typing import NDArray

    from serctl.export.options import Quantize
    from serctl.models import ModelSpec


def to_litert(
    model: keras.Model,
    *,
    n_frames: int,
    quantize: Quantize = "float16",
    representative: Mapping[str, NDArray[np.float32]] | None = None,
    left_in_float: Sequence[str] = (),
) -> bytes:
    """Convert a model to LiteRT's format, for one window at a time; its inputs and outputs are float32.

    Args:
        model: a Keras model.
        n_frames: frames of a window.
        quantize: none keeps weights in float32; float16 halves them and moves probabilities by about 1e-4; dynamic
            stores them in int8; int8 also computes convolutions and matrix products in int8, the rest in float32.
        representative: for int8, inputs by name, one window per row: the range of every tensor is measured on them.
        left_in_float: for int8, LiteRT operators that stay in float32.

    Returns:
        The content of a .tflite file.
    """
    import tensorflow as tf

    with saved_for_one_window(model, n_frames=n_frames) as folder, quiet_conversion():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
        if quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantize == "int8":
            return _quantized(converter, [tensor.name for tensor in model.inputs], representative or {}, left_in_float)
        converted: bytes = converter.convert()
    return converted


@contextmanager
def saved_for_one_window(model: keras.Model, *, n_frames: int) -> Iterator[Path]:
    """Save the model in TensorFlow's format to a temporary folder, for one window of n_frames, recurrence unrolled."""
    single = _for_one_window(model, n_frames, _unrolled)
    with tempfile.TemporaryDirectory() as folder:
        with quiet_conversion():
            _save(single, folder)
        yield Path(folder)


def _save(single: keras.Model, folder: str) -> None:
    """Save as Keras's export does, which traces the network three times where once is enough."""
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        single.export(folder, format="tf_saved_model", verbose=False, input_signature=_signature(single))
        return
    inputs = {tensor.name: tf.TensorSpec(tensor.shape, tf.float32, tensor.name) for tensor in single.inputs}
    saved = tf.Module()
    saved.weights = [variable.value for variable in single.variables]
    traced = tf.function(lambda **values: single(values), autograph=False).get_concrete_function(**inputs)
    tf.saved_model.save(saved, folder, signatures=traced)


def to_onnx(model: keras.Model, *, n_frames: int) -> bytes:
    """Convert a model to ONNX, for one window of n_frames at a time, in float32.

    Raises:
        ConfigError: the converter is not installed, or does not support a part of this model.
    """
    single = _for_one_window(model, n_frames, _with_known_gelu)
    with tempfile.TemporaryDirectory() as folder, quiet_conversion():
        path = Path(folder) / ONNX_MODEL
        try:
            single.export(path, format="onnx", verbose=False, input_signature=_signature(single))
        except ImportError as error:
            raise MissingExtraError(f"ONNX needs more packages ({error}): pip install 'serctl[onnx]'") from error
        _check_onnx(path)
        return path.read_bytes()


def _quantized(
    converter: Any,
    names: Sequence[str],
    representative: Mapping[str, NDArray[np.float32]],
    left_in_float: Sequence[str],
) -> bytes:
    """Convert with weights and activations in int8, except for operators left in float; names: those of the inputs."""
    import tensorflow as tf

    def windows() -> Iterator[dict[str, NDArray[np.float32]]]:
        for row in range(len(representative[names[0]])):
            yield {name: representative[name][row : row + 1] for name in names}

    converter.representative_dataset = windows
    # The converter quantizes all operators or none; only its debugger can exclude some.
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=list(left_in_float))
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=windows, debug_options=options
    )
    converted: bytes = debugger.get_nondebug_quantized_model()
    return converted


def _check_onnx(path: Path) -> None:
    """Raise ConfigError if ONNX Runtime cannot load the model: the converter also writes unsupported operators."""
    try:
        load_network(path)
    except BundleError as error:
        raise ConfigError(
            "the converter to ONNX does not know a part of this architecture, such as the recurrence of a "
            "bidirectional lstm",
            Remedy.LITERT,
        ) from error


def _for_one_window(model: keras.Model, n_frames: int, clone: Callable[[Any], Any]) -> keras.Model:
    """Copy the model with a batch of one and fixed shapes; clone copies each layer."""
    import keras

    fixed = [
        keras.Input(batch_shape=(1, *(size or n_frames for size in tensor.shape[1:])), name=tensor.name)
        for tensor in model.inputs
    ]
    single = keras.models.clone_model(model, input_tensors=fixed, clone_function=clone)
    single.set_weights(model.get_weights())
    return single


def _signature(single: keras.Model) -> list[list[Any]]:
    """Return the fixed input shapes: keras exports a variable batch, and devices compute shapes each time."""
    import keras

    return [[keras.InputSpec(shape=tensor.shape, dtype="float32", name=tensor.name) for tensor in single.inputs]]


def step_to_litert(architecture: str, model: keras.Model, spec: ModelSpec) -> bytes:
    """Convert one step of a trained causal network, its state explicit, to LiteRT's format.

    Raises:
        ConfigError: the architecture cannot be causal.
    """
    build_step = find_architecture(architecture).build_step
    if build_step is None:
        raise ConfigError(f"{architecture} has no step for streams")
    return to_litert(build_step(model, spec), n_frames=spec.n_frames)


def _unrolled(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Copy the layer; a recurrence is unrolled, as the converter does not support its loop."""
    import keras

    copy = type(layer).from_config(layer.get_config())
    if isinstance(copy, keras.layers.Bidirectional):
        copy.forward_layer.unroll = copy.backward_layer.unroll = True
    elif isinstance(copy, keras.layers.RNN):
        copy.unroll = True
    return copy


def _with_known_gelu(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Copy the layer; GELU is replaced by one with erf, as the ONNX converter does not support the erfc of keras."""
    import keras

    copy = type(layer).from_config(layer.get_config())
    if getattr(copy, "activation", None) is keras.activations.gelu:
        copy.activation = lambda x: x * (keras.ops.erf(x / math.sqrt(2)) + 1) / 2
    return copy


@contextmanager
def quiet_conversion() -> Iterator[None]:
    """Silence the converters' messages about their internals, which a user cannot act on."""
    with quiet_stderr(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
        warnings.filterwarnings("ignore", message=r"In the future `np.object`", category=FutureWarning)
        yield
