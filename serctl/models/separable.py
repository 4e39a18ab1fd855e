"""Depthwise-separable convolutions over the log-mel spectrogram, for small devices.

A depthwise-separable block filters each channel alone and then mixes the channels: for 3x3 kernels about a ninth of the
weights of a standard convolution. cnn-large is the same network with standard convolutions.
Source: Howard et al. 2017, arXiv:1704.04861.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
from keras import layers

from serctl.models.blocks import (
    as_frames,
    attention_pooling,
    batch_normalisation,
    conv_block,
    downsample_mask,
    head,
    spectrogram_inputs,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from serctl.models import ModelSpec

    Block = Callable[[Any, int, int], Any]

BANDS_TOGETHER = 4
"""Neighbouring bands enter as channels of the first convolution: few long sums are quicker than many short ones."""

STEM_FILTERS, STEM_KERNEL, STEM_STRIDES = 32, (7, 3), (4, 1)
BLOCKS = ((64, 2), (128, 1), (192, 2), (192, 1), (192, 1), (224, 1))
TIME_STRIDE = 16


def build(spec: ModelSpec) -> keras.Model:
    """Inputs log_mel (frames, n_mels) and mask (frames,); output the probabilities."""
    return build_with(_separable_block, spec)


def build_with(block: Block, spec: ModelSpec) -> keras.Model:
    """The network with blocks of this kind: block(x, filters, stride)."""
    log_mel, mask = spectrogram_inputs(spec)
    together = math.gcd(BANDS_TOGETHER, spec.n_mels)
    x = layers.Reshape((-1, spec.n_mels // together, together))(log_mel)
    x = conv_block(x, STEM_FILTERS, kernel=STEM_KERNEL, strides=STEM_STRIDES)
    for filters, stride in BLOCKS:
        x = block(x, filters, stride)
    x = as_frames(x)
    x = attention_pooling(x, downsample_mask(mask, TIME_STRIDE), units=48)
    return keras.Model([log_mel, mask], head(layers.Dropout(0.4)(x), spec))


def _separable_block(x: Any, filters: int, stride: int) -> Any:
    x = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x)
    x = layers.ReLU()(batch_normalisation()(x))
    return conv_block(x, filters, kernel=(1, 1))
