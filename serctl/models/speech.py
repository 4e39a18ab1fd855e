"""The statistics of the speech encoder, classified by one linear and two small hidden-layer experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serctl.models.architecture import FUNCTIONALS, Architecture
from serctl.models.blocks import functionals_input, mixed_experts, speech_statistics
from serctl.models.lazy import keras

if TYPE_CHECKING:
    from serctl.models.architecture import ModelSpec


def build(spec: ModelSpec) -> keras.Model:
    """Build the network.

    Args:
        spec: its functionals end with the features of the speech encoder; the others are not used.

    Returns:
        Input functionals (n_functionals,). Outputs: see blocks.mixed_experts.

    Raises:
        ConfigError: there are no features of the speech encoder.
    """
    functionals = functionals_input(spec)
    return keras.Model([functionals], mixed_experts(speech_statistics(functionals, spec), spec), name="speech")


ARCHITECTURE = Architecture(
    name="speech",
    build=build,
    inputs=FUNCTIONALS,
    speech_encoder=True,
    leaves_corpora_out=True,
    epochs=30,
    patience=30,
    augmentation={"copies": 0, "degraded_copies": 1},
    fit={"batch_size": 64, "lr": 2e-3, "weight_decay": 0.3, "functional_noise": 0.0, "adapted_share": 0.5},
)
