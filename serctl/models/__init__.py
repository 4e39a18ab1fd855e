"""Keras architectures, each in a module of its own with the same `build(spec) -> keras.Model`, imported on demand."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from serctl.errors import ConfigError

if TYPE_CHECKING:
    import keras

ARCHITECTURES = {"hybrid": "serctl.models.hybrid"}


@dataclass(frozen=True)
class ModelSpec:
    """The shapes that a network is built for."""

    n_frames: int
    n_mels: int
    n_functionals: int
    n_classes: int


def check_architecture(name: str) -> None:
    """Raise ConfigError, listing what there is, for an unknown name."""
    if name not in ARCHITECTURES:
        raise ConfigError(f"no architecture {name}: expected one of {', '.join(ARCHITECTURES)}")


def build(name: str, spec: ModelSpec) -> keras.Model:
    """A new, untrained network of this architecture, with inputs named log_mel, mask and functionals (or some of them).

    Its first output is the prediction; further ones are heads that only training uses.

    Raises ConfigError for an unknown name.
    """
    check_architecture(name)
    model: keras.Model = import_module(ARCHITECTURES[name]).build(spec)
    return model
