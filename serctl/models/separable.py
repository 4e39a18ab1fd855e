"""Depthwise-separable convolutions over time, the bands of the spectrogram their channels, for small devices.

A depthwise-separable block filters each channel by itself and then mixes the channels: for kernels of nine frames and
three filters a channel, about a third of the weights of a standard convolution. separable-small is the same network
with one filter a channel, cnn-large with standard convolutions.
Sources: Howard et al. 2017, arXiv:1704.04861; over time, with shortcuts: Majumdar and Ginsburg 2020,
doi:10.21437/Interspeech.2020-1058; no activation within a block: Chollet 2017, doi:10.1109/CVPR.2017.195.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.models.architecture import SPECTROGRAM, Architecture
from serctl.models.blocks import attention_pooling, batch_normalisation, downsample_mask, head, spectrogram_inputs
from serctl.models.lazy import keras, layers

if TYPE_CHECKING:
    from collections.abc import Callable

    from serctl.models.architecture import ModelSpec

    Convolution = Callable[[Any], Any]

STEM_FILTERS = 128
TIME_STRIDE = 4
KERNEL = 9
FILTERS = 224
BLOCKS = 3
FILTERS_PER_CHANNEL = 3


def build(spec: ModelSpec) -> keras.Model:
    """Build the network: inputs log_mel (frames, n_mels) and mask (frames,); output the probabilities."""
    return build_with(separable_convolution(FILTERS_PER_CHANNEL), spec)


def build_with(convolution: Convolution, spec: ModelSpec) -> keras.Model:
    """Build the network with the given convolutions, from (batch, time, channels) to (batch, time, FILTERS)."""
    log_mel, mask = spectrogram_inputs(spec)
    x = layers.Conv1D(STEM_FILTERS, KERNEL, strides=TIME_STRIDE, padding="same", use_bias=False)(log_mel)
    x = layers.ReLU()(batch_normalisation()(x))
    x = layers.ReLU()(batch_normalisation()(convolution(x)))
    for _ in range(BLOCKS - 1):
        x = layers.ReLU()(layers.Add()([x, batch_normalisation()(convolution(x))]))
    x = attention_pooling(x, downsample_mask(mask, TIME_STRIDE), units=48)
    return keras.Model([log_mel, mask], head(layers.Dropout(0.4)(x), spec))


def separable_convolution(filters_per_channel: int) -> Convolution:
    """Apply parallel depthwise convolutions of one filter per channel, then a pointwise one that mixes the channels.

    A single convolution with several filters per channel would be equivalent, but LiteRT has no fast one in int8.
    """

    def apply(x: Any) -> Any:
        filtered = [_filtered(x) for _ in range(filters_per_channel)]
        x = layers.Concatenate()(filtered) if filters_per_channel > 1 else filtered[0]
        return layers.Conv1D(FILTERS, 1, use_bias=False)(x)

    return apply


def _filtered(x: Any) -> Any:
    # Normalised so that channels have a similar range: int8 has one scale for all of them.
    return batch_normalisation()(layers.DepthwiseConv1D(KERNEL, padding="same", use_bias=False)(x))


ARCHITECTURE = Architecture(
    name="separable",
    build=build,
    inputs=SPECTROGRAM,
)
