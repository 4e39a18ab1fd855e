"""Hand-made functionals fused with a convolutional network over the log-mel spectrogram.

The functionals (MFCC, prosody, voice quality, formants) know the statistics of a whole window, the convolutions its
local patterns. Each view has a head of its own, trained on the labels; the prediction multiplies their opinions (a
product of experts: Hinton 2002, doi:10.1162/089976602760128018). Trained as one, the quick learner of the two, the
functionals, would keep the other from learning. As they are so quickly learned by heart, several small networks look at
the functionals, and their mean counts. About half a million parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import layers, ops

from serctl.models.blocks import AttentionPooling, conv_block, downsample_mask

if TYPE_CHECKING:
    from serctl.models import ModelSpec

UNITS = 128
STEM_FILTERS, STEM_STRIDES = 32, (4, 2)
BLOCKS = ((48, (1, 2)), (64, (2, 2)), (96, (1, 2)))
TIME_STRIDE = 8

HAND_MADE_EXPERTS = 3
# Hundreds of correlated functionals and few speakers: without this penalty they are learned by heart.
FUNCTIONAL_PENALTY = 0.01


def build(spec: ModelSpec) -> keras.Model:
    """Inputs log_mel (n_frames, n_mels), mask (n_frames,), functionals (n_functionals,).

    Outputs: the probabilities, then those of each view alone, which are only trained.
    """
    log_mel = keras.Input((spec.n_frames, spec.n_mels), name="log_mel")
    mask = keras.Input((spec.n_frames,), name="mask")
    functionals = keras.Input((spec.n_functionals,), name="functionals")
    deep = layers.Dense(spec.n_classes)(_spectrogram_view(log_mel, mask, spec))
    hand_made = [layers.Dense(spec.n_classes)(_functional_view(functionals)) for _ in range(HAND_MADE_EXPERTS)]
    product = ops.stop_gradient(deep + layers.Average()(hand_made))
    outputs = [layers.Softmax(name="probabilities")(product), layers.Softmax(name="deep")(deep)]
    outputs += [layers.Softmax(name=f"hand_made_{number}")(each) for number, each in enumerate(hand_made, start=1)]
    return keras.Model([log_mel, mask, functionals], outputs, name="hybrid")


def _spectrogram_view(log_mel: Any, mask: Any, spec: ModelSpec) -> Any:
    x = layers.Reshape((spec.n_frames, spec.n_mels, 1))(log_mel)
    x = layers.Conv2D(STEM_FILTERS, (7, 5), strides=STEM_STRIDES, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    for filters, strides in BLOCKS:
        x = conv_block(x, filters, strides=strides)
    x = layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]))(x)
    x = layers.Dense(UNITS, activation="relu")(x)
    x = AttentionPooling(64)([x, downsample_mask(mask, TIME_STRIDE)])
    x = layers.Dense(UNITS, activation="relu")(layers.Dropout(0.3)(x))
    return layers.Dropout(0.3)(x)


def _functional_view(functionals: Any) -> Any:
    penalty = keras.regularizers.L2(FUNCTIONAL_PENALTY)
    return layers.Dropout(0.5)(layers.Dense(UNITS, activation="relu", kernel_regularizer=penalty)(functionals))
