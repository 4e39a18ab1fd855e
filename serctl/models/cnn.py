"""A convolutional network over the log-mel spectrogram, its frames pooled by attention: the second baseline.

shared_private uses `spectrogram_view` in its encoder, attention starts with `convolved_frames`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.models.architecture import SPECTROGRAM, Architecture
from serctl.models.blocks import (
    as_frames,
    as_image,
    attention_pooling,
    conv_block,
    downsample_mask,
    head,
    spectrogram_inputs,
)
from serctl.models.lazy import keras, layers

if TYPE_CHECKING:
    from serctl.models.architecture import ModelSpec

UNITS = 128
STEM_FILTERS, STEM_KERNEL, STEM_STRIDES = 32, (7, 5), (4, 2)
BLOCKS = ((48, (1, 2)), (64, (2, 2)), (96, (1, 2)))
TIME_STRIDE = 8


def build(spec: ModelSpec) -> keras.Model:
    """Build the network: inputs log_mel (frames, n_mels) and mask (frames,); output the probabilities."""
    log_mel, mask = spectrogram_inputs(spec)
    return keras.Model([log_mel, mask], head(spectrogram_view(log_mel, mask), spec))


def spectrogram_view(log_mel: Any, mask: Any) -> Any:
    """Compute an embedding of the spectrogram, (batch, UNITS)."""
    x = layers.Dense(UNITS, activation="relu")(convolved_frames(log_mel, mask))
    x = attention_pooling(x, downsample_mask(mask, TIME_STRIDE))
    x = layers.Dense(UNITS, activation="relu")(layers.Dropout(0.3)(x))
    return layers.Dropout(0.3)(x)


def convolved_frames(log_mel: Any, mask: Any) -> Any:
    """Convolve the spectrogram to one frame for every TIME_STRIDE frames; (batch, time, channels)."""
    x = conv_block(as_image(log_mel, mask), STEM_FILTERS, kernel=STEM_KERNEL, strides=STEM_STRIDES)
    for filters, strides in BLOCKS:
        x = conv_block(x, filters, strides=strides)
    return as_frames(x)


ARCHITECTURE = Architecture(
    name="cnn",
    build=build,
    inputs=SPECTROGRAM,
)
