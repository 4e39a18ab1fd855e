"""Hand-made functionals fused with a convolutional network over the log-mel spectrogram.

The functionals (MFCC, prosody, voice quality) know the statistics of the whole window, the convolutions its local
patterns; a gate weighs the two views. About half a million parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import layers

from serctl.models.blocks import AttentionPooling, conv_block, downsample_mask, gated_fusion

if TYPE_CHECKING:
    from serctl.models import ModelSpec

TIME_STRIDE = 4
FILTERS = (64, 96, 128)
UNITS = 128


def build(spec: ModelSpec) -> keras.Model:
    """Inputs log_mel (n_frames, n_mels), mask (n_frames,), functionals (n_functionals,); output: probabilities."""
    log_mel = keras.Input((spec.n_frames, spec.n_mels), name="log_mel")
    mask = keras.Input((spec.n_frames,), name="mask")
    functionals = keras.Input((spec.n_functionals,), name="functionals")
    deep = layers.Dropout(0.3)(_spectrogram_view(log_mel, mask, spec))
    fused = gated_fusion(deep, _functional_view(functionals), UNITS)
    probabilities = layers.Dense(spec.n_classes, activation="softmax", name="probabilities")(layers.Dropout(0.4)(fused))
    return keras.Model([log_mel, mask, functionals], probabilities, name="hybrid")


def _spectrogram_view(log_mel: Any, mask: Any, spec: ModelSpec) -> Any:
    x = layers.Reshape((spec.n_frames, spec.n_mels, 1))(log_mel)
    x = layers.Conv2D(32, (7, 5), strides=(TIME_STRIDE, 2), padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    for filters in FILTERS:
        x = conv_block(x, filters, strides=(1, 2), dropout=0.1)
    x = layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]))(x)
    x = layers.Dense(UNITS, activation="relu")(x)
    return AttentionPooling(64)([x, downsample_mask(mask, TIME_STRIDE)])


def _functional_view(functionals: Any) -> Any:
    x = layers.Dense(UNITS, activation="relu")(layers.Dropout(0.5)(functionals))
    return layers.Dropout(0.5)(x)
