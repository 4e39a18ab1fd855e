"""Multi-head self-attention over frames (local), joined with utterance-level context (global).

Convolutions turn the spectrogram into frames; in two transformer blocks every frame attends to the others. The context
consists of the functionals of the whole utterance and the deep features of the voice encoder: it influences the weights
of the frames, and its probabilities are multiplied with those of the frames.
The layer `attention` outputs the weights of the frames, which a bundle keeps to explain a prediction.
Source: Vaswani et al. 2017, arXiv:1706.03762.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.models.architecture import ATTENTION_LAYER, FUNCTIONALS, LEFT_IN_FLOAT, SPECTROGRAM, Architecture
from serctl.models.blocks import (
    attention_weights,
    downsample_mask,
    functional_view,
    functionals_input,
    hand_made_and_deep,
    spectrogram_inputs,
    weighted_statistics,
)
from serctl.models.cnn import TIME_STRIDE, convolved_frames
from serctl.models.lazy import keras, layers, ops

if TYPE_CHECKING:
    from serctl.models.architecture import ModelSpec

UNITS, HEADS, LAYERS = 128, 4, 2
CONTEXT_UNITS = 256
CONTEXT_PENALTY = 0.001


def build(spec: ModelSpec) -> keras.Model:
    """Build the network.

    Args:
        spec: its functionals end with the deep features of the voice encoder.

    Returns:
        Inputs log_mel (frames, n_mels), mask (frames,) and functionals (n_functionals,). Outputs: the probabilities,
        then those of the frames and of each part of the context, which only training uses.

    Raises:
        ConfigError: there are no deep features.
    """
    log_mel, mask = spectrogram_inputs(spec)
    functionals = functionals_input(spec)
    hand_made, deep = hand_made_and_deep(functionals, spec)
    parts = (hand_made, deep, deep)  # two experts on the most informative view
    context = [functional_view(part, CONTEXT_UNITS, penalty=CONTEXT_PENALTY) for part in parts]
    pooled = _attended(log_mel, mask, ops.stop_gradient(layers.Concatenate()(context)))
    local = layers.Dropout(0.3)(layers.Dense(UNITS, activation="relu")(pooled))
    logits = [layers.Dense(spec.n_classes)(each) for each in (local, *context)]
    names = ("local", "hand_made", "deep_1", "deep_2")
    outputs = [
        layers.Softmax(name="probabilities")(ops.stop_gradient(sum(logits))),
        *(layers.Softmax(name=name)(each) for name, each in zip(names, logits, strict=True)),
    ]
    return keras.Model([log_mel, mask, functionals], outputs, name="attention")


def _attended(log_mel: Any, mask: Any, context: Any) -> Any:
    """Pool the frames by their attention weights; (batch, 2 * UNITS)."""
    frame_mask = downsample_mask(mask, TIME_STRIDE)
    frames = layers.Dense(UNITS)(convolved_frames(log_mel, mask))
    for _ in range(LAYERS):
        frames = _transformer_block(frames, frame_mask)
    weights = attention_weights(64, name=ATTENTION_LAYER)([frames, frame_mask, context])
    return layers.Dropout(0.3)(weighted_statistics(frames, weights))


def _transformer_block(x: Any, frame_mask: Any) -> Any:
    """Apply self-attention, then a feed-forward layer, each with a shortcut and a normalisation before it."""
    y = layers.LayerNormalization()(x)
    attended = layers.MultiHeadAttention(HEADS, UNITS // HEADS, dropout=0.1)(
        y, y, attention_mask=ops.expand_dims(frame_mask, axis=1) > 0
    )
    x = x + layers.Dropout(0.1)(attended)
    y = layers.Dense(2 * UNITS, activation="gelu")(layers.LayerNormalization()(x))
    return x + layers.Dropout(0.1)(layers.Dense(UNITS)(y))


ARCHITECTURE = Architecture(
    name="attention",
    build=build,
    inputs=SPECTROGRAM | FUNCTIONALS,
    voice_encoder=True,
    left_in_float=(*LEFT_IN_FLOAT, "GELU"),
)
