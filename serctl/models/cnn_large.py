"""The twin of separable: the same network with standard convolutions, which shows what separating them costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.models.blocks import conv_block
from serctl.models.separable import build_with

if TYPE_CHECKING:
    import keras

    from serctl.models import ModelSpec


def build(spec: ModelSpec) -> keras.Model:
    """Inputs log_mel (frames, n_mels) and mask (frames,); output the probabilities."""
    return build_with(_standard_block, spec)


def _standard_block(x: Any, filters: int, stride: int) -> Any:
    return conv_block(x, filters, strides=(stride, stride))
