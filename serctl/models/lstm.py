"""LSTMs over the log-mel frames: bidirectional and pooled by attention, or causal, for streaming.

Source: Mirsamadi et al. 2017, doi:10.1109/ICASSP.2017.7952552.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from serctl.models.architecture import LEFT_IN_FLOAT, SPECTROGRAM, Architecture
from serctl.models.blocks import attention_pooling, batch_normalisation, downsample_mask, head, spectrogram_inputs
from serctl.models.lazy import keras, layers, ops

if TYPE_CHECKING:
    from serctl.models.architecture import ModelSpec

FILTERS = 96
UNITS = 96
TIME_STRIDE = 4

STEP_FRAMES = 5
"""Frames between two outputs of the causal network."""

STEP_LAYERS = ("step_convolution", "step_normalisation", "step_recurrence", "step_answer")
"""Names of the layers that a causal network and its step share."""

STEP_CONTEXT = 2 * STEP_FRAMES
"""Latest frames that an output depends on, besides the state."""


def build(spec: ModelSpec) -> keras.Model:
    """Build the network: inputs log_mel (frames, n_mels) and mask (frames,); output the probabilities.

    A strided convolution shortens the sequence for the recurrence. The causal network has an output at every step: its
    prediction is the last one; the mean of all, a second output that only training uses, rewards early decisions.
    """
    return _build_causal(spec) if spec.causal else _build_bidirectional(spec)


def _build_bidirectional(spec: ModelSpec) -> keras.Model:
    log_mel, mask = spectrogram_inputs(spec)
    x = layers.Conv1D(FILTERS, 2 * TIME_STRIDE + 1, strides=TIME_STRIDE, padding="same", use_bias=False)(log_mel)
    x = layers.Dropout(0.2)(layers.ReLU()(batch_normalisation()(x)))
    steps = downsample_mask(mask, TIME_STRIDE)
    x = layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True))(x * ops.expand_dims(steps, axis=-1))
    x = attention_pooling(layers.Dropout(0.3)(x), steps)
    return keras.Model([log_mel, mask], head(layers.Dropout(0.3)(x), spec))


def _build_causal(spec: ModelSpec) -> keras.Model:
    from serctl.models.custom_layers import WeightedSum

    log_mel, mask = spectrogram_inputs(spec)
    x = layers.Conv1D(
        FILTERS, STEP_CONTEXT, strides=STEP_FRAMES, padding="causal", use_bias=False, name=STEP_LAYERS[0]
    )(log_mel)
    x = layers.ReLU()(batch_normalisation(name=STEP_LAYERS[1])(x))
    x = layers.LSTM(UNITS, return_sequences=True, name=STEP_LAYERS[2])(layers.Dropout(0.2)(x))
    answers = layers.Dense(spec.n_classes, activation="softmax", name=STEP_LAYERS[3])(layers.Dropout(0.3)(x))
    steps = downsample_mask(mask, STEP_FRAMES)
    later = ops.concatenate([steps[:, 1:], ops.zeros_like(steps[:, :1])], axis=1)
    outputs = [
        WeightedSum(name="probabilities")([answers, steps - later]),
        WeightedSum(name="all_answers")([answers, steps / ops.sum(steps, axis=1, keepdims=True)]),
    ]
    return keras.Model([log_mel, mask], outputs)


def build_step(trained: keras.Model, spec: ModelSpec) -> keras.Model:
    """Build one step of a trained causal network with explicit state.

    Returns:
        Inputs frames (STEP_CONTEXT, n_mels), the latest ones, zeros before the first; hidden and cell (UNITS,), zeros
        at the start. Outputs probabilities (n_classes,), hidden, cell.
    """
    frames = keras.Input((STEP_CONTEXT, spec.n_mels), name="frames")
    hidden, cell = keras.Input((UNITS,), name="hidden"), keras.Input((UNITS,), name="cell")
    convolution = layers.Conv1D(FILTERS, STEP_CONTEXT, use_bias=False, name=STEP_LAYERS[0])
    normalisation = batch_normalisation(name=STEP_LAYERS[1])
    recurrence = layers.LSTMCell(UNITS, name=STEP_LAYERS[2])
    answer = layers.Dense(spec.n_classes, activation="softmax", name=STEP_LAYERS[3])
    x = layers.Flatten()(layers.ReLU()(normalisation(convolution(frames))))
    x, (next_hidden, next_cell) = recurrence(x, [hidden, cell])
    outputs = {"probabilities": answer(x), "next_hidden": next_hidden, "next_cell": next_cell}
    step = keras.Model([frames, hidden, cell], outputs)
    for layer in (convolution, normalisation, recurrence, answer):
        layer.set_weights(trained.get_layer(layer.name).get_weights())
    return step


ARCHITECTURE = Architecture(
    name="lstm",
    build=build,
    inputs=SPECTROGRAM,
    build_step=build_step,
    left_in_float=(*LEFT_IN_FLOAT, "LOGISTIC"),
)
