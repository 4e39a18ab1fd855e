"""A multilayer perceptron on the functionals of the MFCC: the single-feature baseline of the field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serctl.models.architecture import FUNCTIONALS, Architecture
from serctl.models.blocks import functionals_input, head
from serctl.models.lazy import keras, layers, ops

if TYPE_CHECKING:
    from serctl.models.architecture import ModelSpec

UNITS = (256, 128)


def build(spec: ModelSpec) -> keras.Model:
    """Build the network: input functionals (n_functionals,), of which it uses the MFCC; output the probabilities."""
    functionals = functionals_input(spec)
    chosen = [column for column, name in enumerate(spec.functionals) if name.startswith("mfcc_")]
    x = ops.take(functionals, chosen, axis=1)
    for units in UNITS:
        x = layers.Dropout(0.5)(layers.Dense(units, activation="relu")(x))
    return keras.Model([functionals], head(x, spec))


ARCHITECTURE = Architecture(
    name="mfcc",
    build=build,
    inputs=FUNCTIONALS,
)
