"""Hand-made functionals fused with the deep features of a voice encoder.

The functionals (MFCC, prosody, voice quality, formants) measure what is known to change with emotion; the encoder was
trained on the voices of thousands of speakers. Each of the two inputs has its own experts, each with its own loss; the
prediction multiplies their probabilities (a product of experts: Hinton 2002, doi:10.1162/089976602760128018), weighted
by a gate that sees both inputs. With one joint loss, the input that is learned faster would keep the other from
learning. Just under a million parameters, the frozen encoder included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.models.architecture import FUNCTIONALS, LEFT_IN_FLOAT, Architecture
from serctl.models.blocks import functional_view, functionals_input, hand_made_and_deep
from serctl.models.lazy import keras, layers, ops

if TYPE_CHECKING:
    from serctl.models.architecture import ModelSpec

HAND_MADE_EXPERTS, DEEP_EXPERTS = 1, 2
UNITS = 64


def build(spec: ModelSpec) -> keras.Model:
    """Build the network.

    Args:
        spec: its functionals end with the deep features of the voice encoder.

    Returns:
        Input functionals (n_functionals,). Outputs: the probabilities, then those of each expert, which only training
        uses.

    Raises:
        ConfigError: there are no deep features.
    """
    functionals = functionals_input(spec)
    hand_made_part, deep_part = hand_made_and_deep(functionals, spec)
    hand_made = _experts(hand_made_part, HAND_MADE_EXPERTS, spec)
    deep = _experts(deep_part, DEEP_EXPERTS, spec)
    outputs = [layers.Softmax(name="probabilities")(_fuse(hand_made, deep))]
    for view, experts in (("hand_made", hand_made), ("deep", deep)):
        outputs += [layers.Softmax(name=f"{view}_{number}")(each) for number, (_, each) in enumerate(experts, start=1)]
    return keras.Model([functionals], outputs, name="hybrid")


def _experts(functionals: Any, number: int, spec: ModelSpec) -> list[tuple[Any, Any]]:
    """Compute the embedding of the functionals, (batch, UNITS), and the logits of each expert, (batch, n_classes)."""
    views = [functional_view(functionals, UNITS) for _ in range(number)]
    return [(view, layers.Dense(spec.n_classes)(view)) for view in views]


def _fuse(hand_made: list[tuple[Any, Any]], deep: list[tuple[Any, Any]]) -> Any:
    """Average the logits of both inputs, each times a learned weight from 0 to 2; no gradient reaches the experts."""
    seen = ops.stop_gradient(layers.Concatenate()([view for view, _ in (*hand_made, *deep)]))
    weights = 2 * layers.Dense(2, activation="sigmoid", kernel_initializer="zeros", name="gate")(seen)
    logits = [ops.mean(ops.stack([each for _, each in experts]), axis=0) for experts in (hand_made, deep)]
    return sum(weights[:, side : side + 1] * ops.stop_gradient(each) for side, each in enumerate(logits))


ARCHITECTURE = Architecture(
    name="hybrid",
    build=build,
    inputs=FUNCTIONALS,
    voice_encoder=True,
    epochs=100,
    patience=40,
    left_in_float=(*LEFT_IN_FLOAT, "LOGISTIC"),
)
