"""separable with one filter a channel, less than half its size: for the smallest devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serctl.models.architecture import SPECTROGRAM, Architecture
from serctl.models.separable import build_with, separable_convolution

if TYPE_CHECKING:
    from serctl.models.architecture import ModelSpec
    from serctl.models.lazy import keras


def build(spec: ModelSpec) -> keras.Model:
    """Build the network: inputs log_mel (frames, n_mels) and mask (frames,); output the probabilities."""
    return build_with(separable_convolution(1), spec)


ARCHITECTURE = Architecture(
    name="separable-small",
    build=build,
    inputs=SPECTROGRAM,
)
