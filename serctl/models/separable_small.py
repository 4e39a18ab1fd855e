"""separable with one filter a channel, less than half its size: for the smallest devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serctl.models.separable import build_with, separable_convolution

if TYPE_CHECKING:
    import keras

    from serctl.models import ModelSpec


def build(spec: ModelSpec) -> keras.Model:
    """Inputs log_mel (frames, n_mels) and mask (frames,); output the probabilities."""
    return build_with(separable_convolution(1), spec)
