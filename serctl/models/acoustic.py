"""All hand-made functionals, classified by the experts of `speech`: faster, for it needs no encoder.

Meant to be distilled from a model with an encoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from serctl.models.architecture import FUNCTIONALS, Architecture
from serctl.models.blocks import functionals_input, mixed_experts
from serctl.models.lazy import keras

if TYPE_CHECKING:
    from serctl.models.architecture import ModelSpec


def build(spec: ModelSpec) -> keras.Model:
    """Build the network: input functionals (n_functionals,); for its outputs see blocks.mixed_experts."""
    functionals = functionals_input(spec)
    return keras.Model([functionals], mixed_experts(functionals, spec), name="acoustic")


ARCHITECTURE = Architecture(
    name="acoustic",
    build=build,
    inputs=FUNCTIONALS,
    leaves_corpora_out=True,
    epochs=30,
    patience=30,
    augmentation={"copies": 0, "degraded_copies": 1},
    fit={"batch_size": 64, "lr": 2e-3, "weight_decay": 0.3, "functional_noise": 0.0, "adapted_share": 0.5},
)
