"""The statistics of the speech encoder, classified by one linear and two small hidden-layer experts.

A linear classifier transfers best to corpora and languages that training never saw; networks with a hidden layer are
better within known ones. Each expert is trained on the labels by itself; the prediction is the product of their answers
(Hinton 2002, doi:10.1162/089976602760128018): the softmax of their mean logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.errors import ConfigError
from serctl.models.architecture import FUNCTIONALS, Architecture
from serctl.models.blocks import functionals_input
from serctl.models.lazy import keras, layers, ops

if TYPE_CHECKING:
    from serctl.models.architecture import ModelSpec

HIDDEN_EXPERTS, UNITS = 2, 128
INPUT_DROPOUT, DROPOUT = 0.1, 0.5


def build(spec: ModelSpec) -> keras.Model:
    """Build the network.

    Args:
        spec: its functionals end with the features of the speech encoder; the others are not used.

    Returns:
        Input functionals (n_functionals,). Outputs: the probabilities, which nothing trains, then those of each expert,
        which only training uses.

    Raises:
        ConfigError: there are no features of the speech encoder.
    """
    functionals = functionals_input(spec)
    features = functionals[:, _first_feature(spec) :]
    logits = [_linear_expert(features, spec), *(_hidden_expert(features, spec) for _ in range(HIDDEN_EXPERTS))]
    mean = ops.stop_gradient(ops.mean(ops.stack(logits), axis=0))
    outputs = [layers.Softmax(name="probabilities")(mean)]
    outputs += [layers.Softmax(name=f"expert_{number}")(each) for number, each in enumerate(logits, start=1)]
    return keras.Model([functionals], outputs, name="speech")


def _first_feature(spec: ModelSpec) -> int:
    """Column of the first feature of the speech encoder."""
    from serctl.encoders.speech import PREFIX

    found = [column for column, name in enumerate(spec.functionals) if name.startswith(PREFIX)]
    if not found:
        raise ConfigError("expected the features of the speech encoder among the functionals")
    return found[0]


def _linear_expert(features: Any, spec: ModelSpec) -> Any:
    """Logits (batch, n_classes)."""
    return layers.Dense(spec.n_classes, kernel_initializer="zeros")(layers.Dropout(INPUT_DROPOUT)(features))


def _hidden_expert(features: Any, spec: ModelSpec) -> Any:
    """Logits (batch, n_classes) of an expert with one hidden layer."""
    hidden = layers.Dense(UNITS, activation="relu")(layers.Dropout(INPUT_DROPOUT)(features))
    return layers.Dense(spec.n_classes)(layers.Dropout(DROPOUT)(hidden))


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
