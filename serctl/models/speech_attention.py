"""The speech encoder's statistics as in `speech`, beside experts that attend to its states one after the other.

The statistics of a window do not tell its moments apart. An expert here passes each state through a layer, weighs the
results by learned attention, and classifies their mean and deviation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.errors import ConfigError
from serctl.models import speech
from serctl.models.architecture import FUNCTIONALS, STATES, Architecture
from serctl.models.blocks import (
    DROPOUT,
    INPUT_DROPOUT,
    attention_pooling,
    functionals_input,
    mixed_experts,
    speech_statistics,
)
from serctl.models.lazy import keras, layers, ops

if TYPE_CHECKING:
    from serctl.models.architecture import ModelSpec

EXPERTS, UNITS = 2, 128
STATE_DROPOUT = 0.5
"""Share of the states that an expert does not see in a step of training."""


def build(spec: ModelSpec) -> keras.Model:
    """Build the network.

    Args:
        spec: its functionals end with the features of the speech encoder; the others are not used.

    Returns:
        Inputs functionals (n_functionals,), states (n_states, 384) and state_mask (n_states,), 1 for a state and 0 for
        padding. Outputs: see blocks.mixed_experts.

    Raises:
        ConfigError: there are no features of the speech encoder, or no states.
    """
    from serctl.encoders.speech import UNITS as STATE_UNITS

    if not spec.n_states:
        raise ConfigError("expected the states of the speech encoder")
    functionals = functionals_input(spec)
    states = keras.Input((spec.n_states, STATE_UNITS), name="states")
    mask = keras.Input((spec.n_states,), name="state_mask")
    attending = [_attending_expert(states, mask, spec) for _ in range(EXPERTS)]
    outputs = mixed_experts(speech_statistics(functionals, spec), spec, further=attending)
    return keras.Model([functionals, states, mask], outputs, name="speech_attention")


def _attending_expert(states: Any, mask: Any, spec: ModelSpec) -> Any:
    seen = ops.sign(layers.Dropout(STATE_DROPOUT)(mask))
    hidden = layers.Dense(UNITS, activation="gelu")(layers.SpatialDropout1D(INPUT_DROPOUT)(states))
    return layers.Dense(spec.n_classes)(layers.Dropout(DROPOUT)(attention_pooling(hidden, seen)))


ARCHITECTURE = Architecture(
    name="speech-attention",
    build=build,
    inputs=FUNCTIONALS | STATES,
    speech_encoder=True,
    speech_states=True,
    leaves_corpora_out=True,
    epochs=speech.ARCHITECTURE.epochs,
    patience=speech.ARCHITECTURE.patience,
    augmentation=speech.ARCHITECTURE.augmentation,
    fit=speech.ARCHITECTURE.fit,
)
