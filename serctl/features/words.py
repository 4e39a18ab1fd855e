"""The words of a window as a network takes them: states of their tokens, cached like every feature."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from serctl.cache import make_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from serctl.cache import Cache
    from serctl.features.compute import Features
    from serctl.features.spectral import FloatArray

MOST_TOKENS = 64
"""Most tokens of a window; what is longer is cut off."""

TEXT_VERSION = 1
"""Raise it with any change to what the text encoder computes, so that no cache entry is stale."""

UNITS = 384
"""Width of a state."""


def token_states(text: str, cache: Cache | None) -> NDArray[np.float16]:
    """Compute the states of the tokens of a text.

    Args:
        text: English.
        cache: None to compute them anyway.

    Returns:
        float16, shape (tokens, 384), at most MOST_TOKENS.
    """
    key = make_key("text", TEXT_VERSION, text)
    with suppress(KeyError, TypeError, ValueError):
        if cache and (entry := cache.get(key)):
            return _checked(entry["states"])
    from serctl.encoders.text import encode_text

    states = encode_text(text).states[:MOST_TOKENS].astype(np.float16)
    if cache:
        cache.put(key, {"states": states})
    return states


def _checked(states: NDArray[np.float16]) -> NDArray[np.float16]:
    if states.dtype != np.float16 or states.ndim != 2 or states.shape[1] != UNITS or len(states) > MOST_TOKENS:
        raise ValueError(f"expected states of tokens. Received: {states.dtype} of {states.shape}")
    return states


def token_inputs(windows: Sequence[Features]) -> dict[str, FloatArray]:
    """Make the inputs of a network that takes words.

    Args:
        windows: at least one; those without words get zeros.

    Returns:
        tokens (windows, MOST_TOKENS, 384) and token_mask (windows, MOST_TOKENS), 1 for a token, float32.
    """
    tokens = np.zeros((len(windows), MOST_TOKENS, UNITS), np.float32)
    mask = np.zeros((len(windows), MOST_TOKENS), np.float32)
    for row, window in enumerate(windows):
        if window.tokens is not None:
            tokens[row, : len(window.tokens)] = window.tokens
            mask[row, : len(window.tokens)] = 1
    return {"tokens": tokens, "token_mask": mask}
