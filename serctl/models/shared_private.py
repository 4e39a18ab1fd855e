"""One encoder shared by all languages and a private adapter for each.

The encoder (convolutions over the spectrogram, and the functionals) is trained adversarially, so that its embedding
does not reveal the language. An adapter adds language-specific information through a gate. A language that was not in
training uses the shared path only, until a later training fits an adapter to a few utterances of it.
Sources: Ganin et al. 2016, arXiv:1505.07818 (adversary); Houlsby et al. 2019, arXiv:1902.00751 (adapters).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.errors import ConfigError
from serctl.models.architecture import (
    ADAPTER_LAYERS,
    FUNCTIONALS,
    LANGUAGE_OUTPUT,
    LEFT_IN_FLOAT,
    SPECTROGRAM,
    Architecture,
)
from serctl.models.blocks import functional_view, functionals_input, reverse_gradient, spectrogram_inputs
from serctl.models.cnn import spectrogram_view
from serctl.models.lazy import keras, layers, ops

if TYPE_CHECKING:
    from serctl.models.architecture import ModelSpec

ADAPTER_UNITS = 16
ADVERSARY_STRENGTH = 0.1


def build(spec: ModelSpec) -> keras.Model:
    """Build the network.

    Returns:
        Inputs log_mel (frames, n_mels), mask (frames,), functionals (n_functionals,) and language (n_languages,),
        one-hot or all zeros for a language that was not in training. Outputs: the probabilities, then those of the
        shared path and those of the languages, which only training uses.

    Raises:
        ConfigError: there is no language.
    """
    if not spec.languages:
        raise ConfigError("shared_private: expected at least one language, found none")
    log_mel, mask = spectrogram_inputs(spec)
    functionals = functionals_input(spec)
    language = keras.Input((len(spec.languages),), name="language")
    shared = layers.Concatenate()([spectrogram_view(log_mel, mask), functional_view(functionals)])
    classify = layers.Dense(spec.n_classes)
    adversary = layers.Dense(64, activation="relu")(reverse_gradient(shared, ADVERSARY_STRENGTH))
    outputs = [
        layers.Softmax(name="probabilities")(classify(shared + _private(shared, language))),
        layers.Softmax(name="shared")(classify(shared)),
        layers.Dense(len(spec.languages), activation="softmax", name=LANGUAGE_OUTPUT)(adversary),
    ]
    return keras.Model([log_mel, mask, functionals, language], outputs, name="shared_private")


def _private(shared: Any, language: Any) -> Any:
    """Compute the gated output of the language's adapter: zero for an unknown language."""
    n_languages = language.shape[1]
    hidden = layers.Dense(n_languages * ADAPTER_UNITS, activation="relu", name=ADAPTER_LAYERS[0])(shared)
    hidden = layers.Reshape((n_languages, ADAPTER_UNITS))(hidden) * ops.expand_dims(language, axis=-1)
    private = layers.Dense(shared.shape[1], use_bias=False, name=ADAPTER_LAYERS[1])(layers.Flatten()(hidden))
    gate = layers.Dense(shared.shape[1], activation="sigmoid")(layers.Concatenate()([shared, private]))
    return gate * private


ARCHITECTURE = Architecture(
    name="shared_private",
    build=build,
    inputs=SPECTROGRAM | FUNCTIONALS | {"language"},
    adapters=True,
    left_in_float=(*LEFT_IN_FLOAT, "LOGISTIC"),
)
