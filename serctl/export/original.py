"""The network that an export starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serctl.bundle.facts import WEIGHTS
from serctl.errors import BundleError
from serctl.features import functional_names
from serctl.models import ModelSpec

if TYPE_CHECKING:
    import keras

    from serctl.bundle.store import Bundle


def rebuild(model: Bundle) -> keras.Model:
    """Rebuild the Keras network that training made.

    Args:
        model: a bundle that holds its weights.

    Returns:
        The network, whose outputs are a dictionary with the probabilities.

    Raises:
        BundleError: the bundle holds no weights, or not those of this version's architecture.
    """
    from serctl.learning.fit import restore

    model.require_weights()
    facts = model.facts
    spec = ModelSpec(
        n_frames=facts.n_frames,
        n_mels=facts.features.n_mels,
        functionals=functional_names(facts.features),
        n_classes=facts.n_outputs,
        languages=facts.languages,
        causal=model.causal,
        n_states=facts.features.n_states,
    )
    try:
        return restore(facts.architecture, spec, model.weights())
    except ValueError as error:
        raise BundleError(
            f"{model.folder / WEIGHTS}: not the weights of this version's {facts.architecture}: train the model again, "
            "or export it with the version of serctl that trained it"
        ) from error
