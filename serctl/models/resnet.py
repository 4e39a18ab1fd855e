"""A two-dimensional residual network on the log-mel spectrogram: the classic starting point.

Source: He et al. 2016, doi:10.1109/CVPR.2016.90.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.models.architecture import SPECTROGRAM, Architecture
from serctl.models.blocks import (
    as_frames,
    as_image,
    attention_pooling,
    batch_normalisation,
    conv_block,
    downsample_mask,
    head,
    spectrogram_inputs,
)
from serctl.models.lazy import keras, layers

if TYPE_CHECKING:
    from serctl.models.architecture import ModelSpec

STEM_FILTERS, STEM_KERNEL, STEM_STRIDES = 24, (7, 5), (4, 2)
STAGES = ((32, (1, 2)), (48, (2, 2)), (64, (1, 2)), (96, (2, 2)))
TIME_STRIDE = 16


def build(spec: ModelSpec) -> keras.Model:
    """Build the network: inputs log_mel (frames, n_mels) and mask (frames,); output the probabilities."""
    log_mel, mask = spectrogram_inputs(spec)
    x = as_image(log_mel, mask)
    x = conv_block(x, STEM_FILTERS, kernel=STEM_KERNEL, strides=STEM_STRIDES)
    for filters, strides in STAGES:
        x = _residual_block(x, filters, strides)
    x = as_frames(x)
    x = attention_pooling(x, downsample_mask(mask, TIME_STRIDE))
    return keras.Model([log_mel, mask], head(layers.Dropout(0.4)(x), spec))


def _residual_block(x: Any, filters: int, strides: tuple[int, int]) -> Any:
    """Apply two convolutions with a shortcut, which a strided 1x1 convolution fits to the new shape."""
    y = conv_block(x, filters, strides=strides)
    y = batch_normalisation()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(y))
    shortcut = layers.Conv2D(filters, 1, strides=strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.Add()([batch_normalisation()(shortcut), y]))


ARCHITECTURE = Architecture(
    name="resnet",
    build=build,
    inputs=SPECTROGRAM,
)
