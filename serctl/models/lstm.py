"""A bidirectional LSTM over the log-mel frames, pooled by attention: the classic starting point.

Source: Mirsamadi et al. 2017, doi:10.1109/ICASSP.2017.7952552.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
from keras import layers, ops

from serctl.models.blocks import attention_pooling, downsample_mask, head, spectrogram_inputs

if TYPE_CHECKING:
    from serctl.models import ModelSpec

FILTERS = 96
UNITS = 96
TIME_STRIDE = 4


def build(spec: ModelSpec) -> keras.Model:
    """Inputs log_mel (frames, n_mels) and mask (frames,); output the probabilities.

    A strided convolution hands the recurrence a step every TIME_STRIDE frames, which makes it that much shorter.
    """
    log_mel, mask = spectrogram_inputs(spec)
    x = layers.Conv1D(FILTERS, 2 * TIME_STRIDE + 1, strides=TIME_STRIDE, padding="same", use_bias=False)(log_mel)
    x = layers.Dropout(0.2)(layers.ReLU()(layers.BatchNormalization()(x)))
    steps = downsample_mask(mask, TIME_STRIDE)
    x = layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True))(x * ops.expand_dims(steps, axis=-1))
    x = attention_pooling(layers.Dropout(0.3)(x), steps)
    return keras.Model([log_mel, mask], head(layers.Dropout(0.3)(x), spec))
