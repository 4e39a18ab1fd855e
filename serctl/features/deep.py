"""Deep features of a window: which encoders a config asks for, and the input of the voice encoder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from serctl.encoders import speech, voice
from serctl.encoders.voice import LEVEL, MEL_HIGH_HZ, N_MELS
from serctl.features import spectral

if TYPE_CHECKING:
    from serctl.features.config import FeatureConfig
    from serctl.features.spectral import FloatArray


@dataclass(frozen=True)
class _Encoder:
    """What is known of an encoder that a config may ask for."""

    names: tuple[str, ...]
    parameters: int
    citation: str


def _encoders(config: FeatureConfig) -> list[_Encoder]:
    """The encoders of a config, in the order of their features."""
    found = []
    if config.voice_encoder:
        found.append(_Encoder(voice.voice_names(), voice.PARAMETERS, voice.CITATION))
    if config.speech_encoder:
        found.append(_Encoder(speech.speech_names(), speech.PARAMETERS, speech.CITATION))
    if config.text_encoder:
        from serctl.encoders import text

        found.append(_Encoder((), text.PARAMETERS, text.CITATION))
    return found


def deep_names(config: FeatureConfig) -> tuple[str, ...]:
    """Return the names of the deep features, in the order of their columns."""
    return tuple(name for encoder in _encoders(config) for name in encoder.names)


def encoder_parameters(config: FeatureConfig) -> int:
    """Return the number of weights in the encoders, to be counted with those of a network that rests on them."""
    return sum(encoder.parameters for encoder in _encoders(config))


def encoder_citations(config: FeatureConfig) -> list[str]:
    """Return the citations of the encoders, with the licences of their weights."""
    return [encoder.citation for encoder in _encoders(config)]


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
