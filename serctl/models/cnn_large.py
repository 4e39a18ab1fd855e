"""The same network as separable with standard convolutions, to measure what separable ones lose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.models.architecture import SPECTROGRAM, Architecture
from serctl.models.lazy import keras, layers
from serctl.models.separable import FILTERS, KERNEL, build_with

if TYPE_CHECKING:
    from serctl.models.architecture import ModelSpec


def build(spec: ModelSpec) -> keras.Model:
    """Build the network: inputs log_mel (frames, n_mels) and mask (frames,); output the probabilities."""
    return build_with(_standard_convolution, spec)


def _standard_convolution(x: Any) -> Any:
    return layers.Conv1D(FILTERS, KERNEL, padding="same", use_bias=False)(x)


ARCHITECTURE = Architecture(
    name="cnn-large",
    build=build,
    inputs=SPECTROGRAM,
)
