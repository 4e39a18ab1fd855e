"""Multi-head self-attention over frames (local), joined with utterance-level context (global).

Convolutions make frames of the spectrogram; in two transformer blocks every frame attends to the others. The
functionals of the whole utterance take part in saying which frames count, and their opinion is multiplied with that of
the frames.
The layer `attention` gives the weights of the frames, which a bundle keeps to explain a prediction.
Source: Vaswani et al. 2017, arXiv:1706.03762.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import layers, ops

from serctl.models import ATTENTION_LAYER
from serctl.models.blocks import (
    AttentionWeights,
    downsample_mask,
    functional_view,
    functionals_input,
    spectrogram_inputs,
    weighted_statistics,
)
from serctl.models.cnn import TIME_STRIDE, convolved_frames

if TYPE_CHECKING:
    from serctl.models import ModelSpec

UNITS, HEADS, LAYERS = 128, 4, 2


def build(spec: ModelSpec) -> keras.Model:
    """Inputs log_mel (frames, n_mels), mask (frames,), functionals (n_functionals,).

    Outputs: the probabilities, then those of the local and of the global half, which are only trained.
    """
    log_mel, mask = spectrogram_inputs(spec)
    functionals = functionals_input(spec)
    frame_mask = downsample_mask(mask, TIME_STRIDE)
    context = functional_view(functionals)
    frames = layers.Dense(UNITS)(convolved_frames(log_mel, mask))
    for _ in range(LAYERS):
        frames = _transformer_block(frames, frame_mask)
    weights = AttentionWeights(64, name=ATTENTION_LAYER)([frames, frame_mask, ops.stop_gradient(context)])
    pooled = layers.Dropout(0.3)(weighted_statistics(frames, weights))
    local_opinion = layers.Dense(spec.n_classes)(layers.Dropout(0.3)(layers.Dense(UNITS, activation="relu")(pooled)))
    global_opinion = layers.Dense(spec.n_classes)(context)
    joined = ops.stop_gradient(local_opinion + global_opinion)
    outputs = [
        layers.Softmax(name="probabilities")(joined),
        layers.Softmax(name="local")(local_opinion),
        layers.Softmax(name="global")(global_opinion),
    ]
    return keras.Model([log_mel, mask, functionals], outputs, name="attention")


def _transformer_block(x: Any, frame_mask: Any) -> Any:
    """Self-attention, then a feed-forward layer, each around a shortcut and after a normalisation."""
    y = layers.LayerNormalization()(x)
    attended = layers.MultiHeadAttention(HEADS, UNITS // HEADS, dropout=0.1)(
        y, y, attention_mask=ops.expand_dims(frame_mask, axis=1) > 0
    )
    x = x + layers.Dropout(0.1)(attended)
    y = layers.Dense(2 * UNITS, activation="gelu")(layers.LayerNormalization()(x))
    return x + layers.Dropout(0.1)(layers.Dense(UNITS)(y))
