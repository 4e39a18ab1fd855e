"""Keras architectures, each in a module of its own with the same `build(spec) -> keras.Model`, imported on demand."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from serctl.errors import ConfigError

if TYPE_CHECKING:
    from types import ModuleType

    import keras

ARCHITECTURES = {
    "hybrid": "serctl.models.hybrid",
    "mfcc": "serctl.models.mfcc",
    "cnn": "serctl.models.cnn",
    "attention": "serctl.models.attention",
    "resnet": "serctl.models.resnet",
    "lstm": "serctl.models.lstm",
    "separable": "serctl.models.separable",
    "separable-small": "serctl.models.separable_small",
    "cnn-large": "serctl.models.cnn_large",
    "shared_private": "serctl.models.shared_private",
}

DEFAULT_ARCHITECTURE = "hybrid"

FROM_SPECTROGRAM = ("cnn", "resnet", "lstm", "separable", "separable-small", "cnn-large")
"""Architectures that judge the log-mel spectrogram alone, without functionals."""

WITH_VOICE_ENCODER = frozenset({"hybrid", "attention"})
"""Architectures that judge the deep features of the voice encoder beside the hand-made functionals."""

WITH_ADAPTERS = frozenset({"shared_private"})
"""Architectures that hold an adapter for each language."""

WITH_CAUSAL = frozenset({"lstm"})
"""Architectures that can be built causal, to follow speech while it goes on."""

LANGUAGE_OUTPUT = "adversary"
"""Name of the output that is trained on the languages instead of the emotions."""

ATTENTION_LAYER = "attention"
"""Name of the layer, where a network has it, whose output tells how much each frame counts."""

ADAPTER_LAYERS = ("adapter_down", "adapter_up")
"""Names of the layers that hold what is particular to each language, one block of weights after the other."""


@dataclass(frozen=True)
class ModelSpec:
    """What a network is built for.

    functionals: their names, in the order of the input's columns. languages: those of the training data, in the order
    of the columns of the language input, which is all zeros for any other language. causal: whether an answer may rest
    only on what came before it.
    """

    n_frames: int
    n_mels: int
    functionals: tuple[str, ...]
    n_classes: int
    languages: tuple[str, ...] = ()
    causal: bool = False


def check_architecture(name: str) -> None:
    """Raise ConfigError, listing what there is, for an unknown name."""
    if name not in ARCHITECTURES:
        raise ConfigError(f"no architecture {name}: expected one of {', '.join(ARCHITECTURES)}")


def build(name: str, spec: ModelSpec) -> keras.Model:
    """A new, untrained network of this architecture, with inputs among log_mel, mask, functionals and language.

    Its first output, named probabilities, is the prediction; further ones are heads that only training uses.

    Raises ConfigError for an unknown name.
    """
    model: keras.Model = import_architecture(name).build(spec)
    return model


def import_architecture(name: str) -> ModuleType:
    """Its module, whose import tells keras of the layers that a saved network is made of.

    Raises ConfigError for an unknown name.
    """
    check_architecture(name)
    return import_module(ARCHITECTURES[name])
