"""Deep features of a window: the names of the statistics of an encoder, and the input of the encoder."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from serctl.encoders.voice import LEVEL, MEL_HIGH_HZ, N_MELS, PREFIX, STATISTICS, UNITS
from serctl.features import spectral

if TYPE_CHECKING:
    from serctl.features.config import FeatureConfig
    from serctl.features.spectral import FloatArray


@lru_cache(maxsize=1)
def deep_names() -> tuple[str, ...]:
    """Return the names of the deep features, in the order of the columns of encode_voices."""
    return tuple(f"{PREFIX}{unit:03d}_{statistic}" for statistic in STATISTICS for unit in range(UNITS))


def voice_bands(spectrum: FloatArray, power: FloatArray, config: FeatureConfig) -> FloatArray:
    """Compute the input of the voice encoder: mel bands, scaled so that the level of the window does not matter.

    Args:
        spectrum: power spectrum, float32, shape (frames, bins).
        power: mean square of each frame, float32, shape (frames,).
        config: analysis parameters.

    Returns:
        float32, shape (frames, N_MELS).
    """
    level = max(float(power.mean()), spectral.FLOOR)
    return spectrum @ spectral.mel_filterbank(_bands(config)) * np.float32(LEVEL / level)


@lru_cache(maxsize=8)
def _bands(config: FeatureConfig) -> FeatureConfig:
    """Return a config whose mel bands are those of the encoder; its n_mfcc only has to be valid."""
    n_mfcc = min(config.n_mfcc, N_MELS - 1)
    return replace(config, n_mels=N_MELS, n_mfcc=n_mfcc, mel_low_hz=0.0, mel_high_hz=MEL_HIGH_HZ)
