"""From samples to features: the full feature set of a window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from serctl.encoders.speech import encode_speech
from serctl.encoders.voice import encode_voices
from serctl.features import spectral
from serctl.features.deep import voice_bands
from serctl.features.descriptors import Frames, compute_descriptors
from serctl.features.functionals import compute_functionals

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from serctl.features.config import FeatureConfig
    from serctl.features.spectral import FloatArray


@dataclass(frozen=True)
class Features:
    """The features of one window of a recording.

    Attributes:
        log_mel: float16, shape (frames, n_mels), dB. The steps of float16, at most 0.06 dB, are far below the change of
            a band from frame to frame, and halve the cache.
        lld: the descriptors, float32, shape (frames, len(lld_names)).
        functionals: float32, shape (len(functional_names),).
        first_frame: number of frames that were trimmed before the first.
        tokens: states of the tokens of its words, float16, shape (tokens, 384); None where there are none.
        states: of the speech encoder, float16, shape (states, 384); None unless they were asked for.
    """

    log_mel: NDArray[np.float16]
    lld: FloatArray
    functionals: FloatArray
    first_frame: int
    tokens: NDArray[np.float16] | None = None
    states: NDArray[np.float16] | None = None


def compute_features(samples: FloatArray, config: FeatureConfig) -> Features:
    """Compute the full feature set of one window, after its constant part (DC) is removed.

    Args:
        samples: float32, shape (n,), n at least 1, mono at config.sample_rate Hz, full scale 1.0, all finite.
        config: analysis parameters.

    Returns:
        The features.
    """
    return compute_windows([samples], config)[0]


def compute_windows(windows: Sequence[FloatArray], config: FeatureConfig) -> list[Features]:
    """Compute the full feature sets of several windows; the voice encoder processes them together.

    Args:
        windows: one or more, each as the samples of compute_features.
        config: analysis parameters.

    Returns:
        The features of each window, in order.
    """
    described = [_describe(samples, config) for samples in windows]
    features = [each for each, _ in described]
    if config.voice_encoder:
        features = _with_deep(features, encode_voices([bands for _, bands in described]))
    if config.speech_encoder:
        encoded = encode_speech(windows)
        features = _with_deep(features, [each.statistics for each in encoded])
        if config.speech_states:
            features = [replace(each, states=found.states) for each, found in zip(features, encoded, strict=True)]
    return features


def _with_deep(features: Sequence[Features], rows: Iterable[FloatArray]) -> list[Features]:
    """Append the deep features of each window, one row each, to its functionals."""
    return [
        replace(each, functionals=np.concatenate([each.functionals, row]))
        for each, row in zip(features, rows, strict=True)
    ]


def _describe(samples: FloatArray, config: FeatureConfig) -> tuple[Features, FloatArray]:
    """Compute the acoustic features of a window, and the input of the voice encoder."""
    samples = samples - samples.mean(dtype=np.float64).astype(np.float32)
    power = spectral.frame_power(samples, config)
    active = spectral.active_frames(power, config)
    frames = Frames(config, spectral.frame_signal(samples, config)[active], power[active])
    lld = compute_descriptors(frames)
    features = Features(
        log_mel=frames.log_mel.astype(np.float16),
        lld=lld,
        functionals=compute_functionals(lld, frames.log_mel, config),
        first_frame=active.start,
    )
    empty = np.empty((0, 0), np.float32)
    return features, voice_bands(frames.spectrum, frames.power, config) if config.voice_encoder else empty
