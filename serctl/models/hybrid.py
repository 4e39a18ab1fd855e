"""Hand-made functionals fused with a convolutional network over the log-mel spectrogram.

The functionals (MFCC, prosody, voice quality, formants) know the statistics of a whole window, the convolutions its
local patterns. Each view has heads of its own, trained on the labels; the prediction multiplies their opinions (a
product of experts: Hinton 2002, doi:10.1162/089976602760128018), and a gate that sees both views decides for every
window how much either counts. Trained as one, the quick learner of the two, the functionals, would keep the other from
learning. As they are so quickly learned by heart, several small networks look at the functionals, and their mean
counts. About half a million parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import layers, ops

from serctl.models.blocks import functionals_input, spectrogram_inputs
from serctl.models.cnn import spectrogram_view

if TYPE_CHECKING:
    from serctl.models import ModelSpec

HAND_MADE_EXPERTS = 3
UNITS = 128
# Hundreds of correlated functionals and few speakers: without this penalty they are learned by heart.
FUNCTIONAL_PENALTY = 0.01


def build(spec: ModelSpec) -> keras.Model:
    """Inputs log_mel (frames, n_mels), mask (frames,), functionals (n_functionals,).

    Outputs: the probabilities, then those of each expert alone, which are only trained.
    """
    log_mel, mask = spectrogram_inputs(spec)
    functionals = functionals_input(spec)
    deep = spectrogram_view(log_mel, mask)
    hand_made = [functional_view(functionals) for _ in range(HAND_MADE_EXPERTS)]
    deep_opinion = layers.Dense(spec.n_classes)(deep)
    hand_made_opinions = [layers.Dense(spec.n_classes)(view) for view in hand_made]
    fused = _gate([deep, *hand_made], deep_opinion, layers.Average()(hand_made_opinions))
    outputs = [layers.Softmax(name="probabilities")(fused), layers.Softmax(name="deep")(deep_opinion)]
    outputs += [
        layers.Softmax(name=f"hand_made_{number}")(opinion)
        for number, opinion in enumerate(hand_made_opinions, start=1)
    ]
    return keras.Model([log_mel, mask, functionals], outputs, name="hybrid")


def functional_view(functionals: Any) -> Any:
    """An embedding of the functionals, (batch, UNITS)."""
    penalty = keras.regularizers.L2(FUNCTIONAL_PENALTY)
    return layers.Dropout(0.5)(layers.Dense(UNITS, activation="relu", kernel_regularizer=penalty)(functionals))


def _gate(views: list[Any], deep: Any, hand_made: Any) -> Any:
    """The two opinions, each times a learned weight between 0 and 2; what is learned here leaves the experts alone."""
    seen = ops.stop_gradient(layers.Concatenate()(views))
    weights = 2 * layers.Dense(2, activation="sigmoid", kernel_initializer="zeros", name="gate")(seen)
    return weights[:, :1] * ops.stop_gradient(deep) + weights[:, 1:] * ops.stop_gradient(hand_made)
