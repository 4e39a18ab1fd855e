"""Network architectures, one a file: a record of its facts and `build(spec) -> keras.Model`.

Keras is imported when a network is built, not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from serctl.errors import ConfigError
from serctl.models import (
    acoustic,
    attention,
    cnn,
    cnn3d,
    cnn_large,
    coattention,
    hybrid,
    lstm,
    mfcc,
    resnet,
    separable,
    separable_small,
    shared_private,
    speech,
    speech_attention,
)
from serctl.models.architecture import ADAPTER_LAYERS, ATTENTION_LAYER, LANGUAGE_OUTPUT, Architecture, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from serctl.models.lazy import keras

__all__ = [
    "ADAPTER_LAYERS",
    "ARCHITECTURES",
    "ATTENTION_LAYER",
    "DEFAULT_ARCHITECTURE",
    "LANGUAGE_OUTPUT",
    "Architecture",
    "ModelSpec",
    "architecture_names",
    "build",
    "find_architecture",
]

ARCHITECTURES = {
    module.ARCHITECTURE.name: module.ARCHITECTURE
    for module in (
        *(speech_attention, speech, hybrid, mfcc, cnn, attention, resnet, lstm),
        *(separable, separable_small, cnn_large, shared_private, acoustic, cnn3d, coattention),
    )
}
"""Every architecture by its name, in the order that lists show."""

DEFAULT_ARCHITECTURE = speech_attention.ARCHITECTURE.name


def find_architecture(name: str) -> Architecture:
    """Return the record of an architecture.

    Raises:
        ConfigError: there is none of this name; the message lists those there are.
    """
    if name not in ARCHITECTURES:
        raise ConfigError(f"no architecture {name}: expected one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def architecture_names(condition: Callable[[Architecture], bool]) -> tuple[str, ...]:
    """Return the names of the architectures whose record meets the condition."""
    return tuple(name for name, architecture in ARCHITECTURES.items() if condition(architecture))


def build(name: str, spec: ModelSpec) -> keras.Model:
    """Build a new, untrained network; see Architecture.build.

    Raises:
        ConfigError: there is no architecture of this name, or it cannot be built for this spec.
    """
    return find_architecture(name).build(spec)
