"""Lazy import of Keras with serctl's settings: architecture records are read without it."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from serctl.errors import ConfigError

__all__ = ["import_keras", "keras", "layers", "ops"]

_BACKENDS = ("tensorflow", "jax")


@lru_cache(maxsize=1)
def import_keras() -> Any:
    """Import Keras with the settings of serctl, whatever keras.json and KERAS_BACKEND say.

    Raises:
        ConfigError: Keras was imported before, on a backend that serctl does not support.
    """
    asked = os.environ.get("KERAS_BACKEND", "")
    if "keras" not in sys.modules and not (asked in _BACKENDS and find_spec(asked)):
        os.environ["KERAS_BACKEND"] = _BACKENDS[0]
    import keras

    if keras.config.backend() not in _BACKENDS:
        raise ConfigError(f"expected Keras on {' or '.join(_BACKENDS)}. Received: {keras.config.backend()}")
    keras.config.set_image_data_format("channels_last")
    keras.config.set_epsilon(1e-7)
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    return keras


if TYPE_CHECKING:
    import keras
    from keras import layers, ops
else:

    class _Lazy:
        """Keras, or a module of it, imported at the first access to an attribute."""

        def __init__(self, part: str = "") -> None:
            self._part = part

        def __getattr__(self, attribute: str) -> Any:
            module = import_keras()
            return getattr(getattr(module, self._part) if self._part else module, attribute)

    keras, layers, ops = _Lazy(), _Lazy("layers"), _Lazy("ops")
