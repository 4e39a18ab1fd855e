"""A 3D convolutional network over overlapping segments of the log-mel spectrogram, its delta and delta-delta.

The speech stream of coattention, by itself. Sources: Kim et al. 2017, doi:10.1145/3123266.3123353 and Chen et al. 2018,
doi:10.1109/LSP.2018.2860246.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.models.architecture import LEFT_IN_FLOAT, SPECTROGRAM, Architecture
from serctl.models.blocks import attention_pooling, batch_normalisation, head, spectrogram_inputs
from serctl.models.lazy import keras, layers, ops

if TYPE_CHECKING:
    from serctl.models.architecture import ModelSpec

UNITS = 128
SEGMENT, HOP = 40, 20
"""Frames of a segment, and from the start of one to that of the next: 0.4 and 0.2 s."""

BLOCKS = ((16, (3, 5, 5), (1, 4, 2)), (32, (3, 3, 3), (1, 2, 2)), (64, (1, 3, 3), (1, 2, 2)))
"""Filters, kernel and strides over segments, frames and bands of each convolution."""

IN_FLOAT = (*LEFT_IN_FLOAT, "CONV_3D")
"""LiteRT has no 3D convolution in int8."""

_DROPOUT = 0.3


def build(spec: ModelSpec) -> keras.Model:
    """Build the network: inputs log_mel (frames, n_mels) and mask (frames,); output the probabilities."""
    log_mel, mask = spectrogram_inputs(spec)
    return keras.Model([log_mel, mask], head(embed(speech_stream(log_mel, mask), segment_mask(mask)), spec))


def embed(stream: Any, mask: Any) -> Any:
    """Pool a stream of embeddings, (batch, segments, channels), to one; mask: (batch, segments). (batch, UNITS)."""
    pooled = layers.Dropout(_DROPOUT)(attention_pooling(stream, mask))
    return layers.Dropout(_DROPOUT)(layers.Dense(UNITS, activation="relu")(pooled))


def speech_stream(log_mel: Any, mask: Any) -> Any:
    """Compute an embedding of each segment, (batch, segments, UNITS)."""
    return layers.Dense(UNITS, activation="relu")(convolved_segments(log_mel, mask))


def segment_mask(mask: Any) -> Any:
    """Tell the segments that start in speech from padding, 1 or 0; (batch, time) to (batch, segments)."""
    return mask[:, ::HOP]


def convolved_segments(log_mel: Any, mask: Any) -> Any:
    """Convolve the spectrogram and its differences over overlapping segments; (batch, segments, channels)."""
    spoken = log_mel * ops.expand_dims(mask, axis=-1)
    delta = differences(spoken)
    x = segments(ops.stack([spoken, delta, differences(delta)], axis=-1))
    for filters, kernel, strides in BLOCKS:
        x = layers.Conv3D(filters, kernel, strides=strides, padding="same", use_bias=False)(x)
        x = layers.ReLU()(batch_normalisation()(x))
    x = ops.mean(x, axis=2)
    return layers.Reshape((-1, x.shape[2] * x.shape[3]))(x)


def differences(frames: Any) -> Any:
    """Compute half the difference of the frames after and before each; (batch, time, bands)."""
    padded = layers.ZeroPadding1D(1)(frames)
    return (padded[:, 2:] - padded[:, :-2]) / 2


def segments(stacked: Any) -> Any:
    """Cut (batch, time, bands, channels) into overlapping segments: (batch, segments, SEGMENT, bands, channels)."""
    padded = layers.ZeroPadding2D(((0, SEGMENT - 1), (0, 0)))(stacked)
    # Each slice has as many frames as there were, so that all give the same number of segments.
    shifted = [padded[:, first : (first + 1 - SEGMENT) or None] for first in range(SEGMENT)]
    return ops.stack([each[:, ::HOP] for each in shifted], axis=2)


ARCHITECTURE = Architecture(
    name="cnn3d",
    build=build,
    inputs=SPECTROGRAM,
    left_in_float=IN_FLOAT,
)
