"""Depthwise-separable convolutions over the log-mel spectrogram, for small devices.

A depthwise-separable block filters each channel alone and then mixes the channels: for 3x3 kernels about a ninth of the
weights of a standard convolution. cnn-large is the same network with standard convolutions.
Source: Howard et al. 2017, arXiv:1704.04861.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import layers

from serctl.models.blocks import (
    as_frames,
    as_image,
    attention_pooling,
    conv_block,
    downsample_mask,
    head,
    spectrogram_inputs,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from serctl.models import ModelSpec

    Block = Callable[[Any, int, tuple[int, int]], Any]

STEM_FILTERS, STEM_KERNEL, STEM_STRIDES = 32, (7, 5), (4, 2)
BLOCKS = ((64, (1, 2)), (96, (2, 2)), (128, (1, 2)), (192, (2, 2)), (224, (1, 1)), (256, (1, 1)))
TIME_STRIDE = 16


def build(spec: ModelSpec) -> keras.Model:
    """Inputs log_mel (frames, n_mels) and mask (frames,); output the probabilities."""
    return build_with(_separable_block, spec)


def build_with(block: Block, spec: ModelSpec) -> keras.Model:
    """The network with blocks of this kind: block(x, filters, strides)."""
    log_mel, mask = spectrogram_inputs(spec)
    x = as_image(log_mel, mask)
    x = conv_block(x, STEM_FILTERS, kernel=STEM_KERNEL, strides=STEM_STRIDES)
    for filters, strides in BLOCKS:
        x = block(x, filters, strides)
    x = as_frames(x)
    x = attention_pooling(x, downsample_mask(mask, TIME_STRIDE), units=48)
    return keras.Model([log_mel, mask], head(layers.Dropout(0.4)(x), spec))


def _separable_block(x: Any, filters: int, strides: tuple[int, int]) -> Any:
    # A depthwise kernel may only stride alike in both directions on some backends, so averages do the striding.
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    if strides != (1, 1):
        x = layers.AveragePooling2D(strides, padding="same")(x)
    return conv_block(x, filters, kernel=(1, 1))
