"""From samples to features: the one place that knows the order of the descriptors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from serctl.encoders.voice import encode_voices
from serctl.features import prosody, spectral
from serctl.features.deep import voice_bands
from serctl.features.functionals import compute_functionals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from serctl.features.config import FeatureConfig
    from serctl.features.spectral import FloatArray

AUDIBLE_DB = 45.0
SEMITONE_BASE_HZ = 27.5


@dataclass(frozen=True)
class Features:
    """What is computed from one window of a recording.

    log_mel: float16, shape (frames, n_mels), dB; the steps of float16, at most 0.06 dB, lie far below what a band's
    level varies by from frame to frame, and halve the cache. lld: float32, shape (frames, len(lld_names)).
    functionals: float32, shape (len(functional_names),). first_frame: how many frames were trimmed before the first.
    """

    log_mel: NDArray[np.float16]
    lld: FloatArray
    functionals: FloatArray
    first_frame: int


def compute_features(samples: FloatArray, config: FeatureConfig) -> Features:
    """The full feature set of one window, its constant part (DC) removed.

    samples: float32, shape (n,), n at least 1, mono at config.sample_rate Hz, full scale 1.0, all finite.
    """
    return compute_windows([samples], config)[0]


def compute_windows(windows: Sequence[FloatArray], config: FeatureConfig) -> list[Features]:
    """The full feature sets of windows, one or more; their samples as in compute_features."""
    described = [_describe(samples, config) for samples in windows]
    if not config.voice_encoder:
        return [features for features, _ in described]
    deep = encode_voices([bands for _, bands in described])
    return [
        replace(features, functionals=np.concatenate([features.functionals, row]))
        for (features, _), row in zip(described, deep, strict=True)
    ]


def _describe(samples: FloatArray, config: FeatureConfig) -> tuple[Features, FloatArray]:
    """The hand-made features of a window, and what the voice encoder is to hear of it."""
    samples = samples - samples.mean(dtype=np.float64).astype(np.float32)
    power = spectral.frame_power(samples, config)
    active = spectral.active_frames(power, config)
    frames = spectral.frame_signal(samples, config)[active]
    spectrum = spectral.power_spectrum(frames, config)
    mel_power = spectrum @ spectral.mel_filterbank(config)
    log_mel = spectral.to_db(mel_power)
    magnitude = np.sqrt(spectrum)
    level_db = spectral.to_db(power[active])
    pitch = prosody.track_pitch(spectrum, level_db > level_db.max() - AUDIBLE_DB, config)
    centroid, bandwidth = spectral.moments(magnitude, config)
    lld = np.column_stack(
        [
            level_db,
            spectral.loudness(mel_power),
            spectral.zero_crossing_rate(frames),
            centroid,
            bandwidth,
            spectral.rolloff(magnitude, config),
            spectral.flux(magnitude),
            *spectral.balance(spectrum, config).values(),
            pitch.periodicity,
            spectral.mfcc(log_mel, config),
            _voice(spectrum, level_db, pitch, config),
        ]
    ).astype(np.float32, copy=False)
    features = Features(
        log_mel=log_mel.astype(np.float16),
        lld=lld,
        functionals=compute_functionals(lld, log_mel, config),
        first_frame=active.start,
    )
    bands = voice_bands(spectrum, power[active], config) if config.voice_encoder else np.empty((0, 0), np.float32)
    return features, bands


def _voice(spectrum: FloatArray, level_db: FloatArray, pitch: prosody.Pitch, config: FeatureConfig) -> FloatArray:
    """The descriptors of functionals.VOICE in their order; NaN in unvoiced frames."""
    voiced = pitch.voiced
    columns = np.full((len(voiced), 16), np.nan, dtype=np.float32)
    if voiced.any():
        columns[voiced] = _voiced_columns(spectrum[voiced], level_db, pitch, config)
    return columns


def _voiced_columns(
    spectrum: FloatArray, level_db: FloatArray, pitch: prosody.Pitch, config: FeatureConfig
) -> FloatArray:
    voiced = pitch.voiced
    f0 = pitch.f0_hz[voiced]
    frequency, bandwidth = prosody.formants(spectrum, config)
    formant_db = prosody.level_at(spectrum, frequency, config)
    first_harmonic = prosody.level_at(spectrum, f0, config)
    return np.column_stack(
        [
            f0,
            12 * np.log2(f0 / SEMITONE_BASE_HZ),
            prosody.harmonics_to_noise_db(pitch.periodicity[voiced]),
            _step_to_next(np.float32(1) / pitch.f0_hz, voiced) * f0,
            _step_to_next(level_db, voiced),
            first_harmonic - prosody.level_at(spectrum, 2 * f0, config),
            first_harmonic - formant_db[:, 2],
            frequency,
            bandwidth,
            formant_db - first_harmonic[:, None],
        ]
    )


def _step_to_next(values: FloatArray, voiced: NDArray[np.bool_]) -> FloatArray:
    """Absolute change from each voiced frame to the next one, NaN at the end of a voiced segment."""
    change = np.abs(np.diff(values, append=np.float32(np.nan)))
    continues = voiced & np.append(voiced[1:], False)
    return np.where(continues, change, np.float32(np.nan))[voiced]
