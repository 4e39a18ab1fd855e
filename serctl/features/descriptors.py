"""The descriptors of a frame: each name beside the function that computes it, in the order of the columns.

A new descriptor is a row in SPECTRAL_TABLE, or in VOICE_TABLE if it exists in voiced frames only. Raise FEATURE_VERSION
in features/config.py with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from serctl.features import prosody, spectral
from serctl.features.spectral import FloatArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from serctl.features.config import FeatureConfig

AUDIBLE_DB = 45.0
"""Frames that are this much quieter than the loudest one are unvoiced."""

SEMITONE_BASE_HZ = 27.5
"""Pitch of semitone 0."""


@dataclass(frozen=True)
class Frames:
    """The active frames of a window, and what several descriptors share.

    Attributes:
        config: analysis parameters.
        samples: float32, shape (frames, frame_length).
        power: mean square of each frame, float32, shape (frames,).
    """

    config: FeatureConfig
    samples: FloatArray
    power: FloatArray

    @cached_property
    def spectrum(self) -> FloatArray:
        """Power spectrum, float32, shape (frames, bins)."""
        return spectral.power_spectrum(self.samples, self.config)

    @cached_property
    def magnitude(self) -> FloatArray:
        """Magnitude spectrum, float32, shape (frames, bins)."""
        return np.sqrt(self.spectrum)

    @cached_property
    def mel_power(self) -> FloatArray:
        """Power in mel bands, float32, shape (frames, n_mels)."""
        return self.spectrum @ spectral.mel_filterbank(self.config)

    @cached_property
    def log_mel(self) -> FloatArray:
        """Mel bands in dB, float32, shape (frames, n_mels)."""
        return spectral.to_db(self.mel_power)

    @cached_property
    def level_db(self) -> FloatArray:
        """Level in dB, float32, shape (frames,)."""
        return spectral.to_db(self.power)

    @cached_property
    def pitch(self) -> prosody.Pitch:
        """Pitch and voicing of each frame."""
        audible = self.level_db > self.level_db.max() - AUDIBLE_DB
        return prosody.track_pitch(self.spectrum, audible, self.config)


class VoicedFrames:
    """The voiced frames of a window, and what several descriptors share.

    Attributes:
        config: analysis parameters.
        spectrum: power spectrum, float32, shape (voiced frames, bins).
        f0_hz: pitch, float32, shape (voiced frames,).
        periodicity: float32, shape (voiced frames,).
        formant_hz, formant_bandwidth_hz, formant_db: of the first three formants, float32, shape (voiced frames, 3);
            NaN where one is not found.
        first_harmonic_db: level at the pitch, float32, shape (voiced frames,).
    """

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        voiced = frames.pitch.voiced
        self.config = frames.config
        self.spectrum = frames.spectrum[voiced]
        self.f0_hz = frames.pitch.f0_hz[voiced]
        self.periodicity = frames.pitch.periodicity[voiced]
        self.formant_hz, self.formant_bandwidth_hz = prosody.formants(self.spectrum, self.config)
        self.formant_db = self.level_db(self.formant_hz)
        self.first_harmonic_db = self.level_db(self.f0_hz)

    def level_db(self, hz: FloatArray) -> FloatArray:
        """Return the level in dB at frequencies, float32, the shape of hz."""
        return prosody.level_at(self.spectrum, hz, self.config)

    def period_step(self) -> FloatArray:
        """Return the change of the period from each frame to the next in s, NaN at the end of a voiced segment."""
        return self._step_to_next(np.float32(1) / self._frames.pitch.f0_hz)

    def level_step(self) -> FloatArray:
        """Return the change of the level from each frame to the next in dB, NaN at the end of a voiced segment."""
        return self._step_to_next(self._frames.level_db)

    def _step_to_next(self, values: FloatArray) -> FloatArray:
        voiced = self._frames.pitch.voiced
        change = np.abs(np.diff(values, append=np.float32(np.nan)))
        continues = voiced & np.append(voiced[1:], False)
        return np.where(continues, change, np.float32(np.nan))[voiced]


Columns = FloatArray | tuple[FloatArray, ...]
"""One column of shape (frames,), a matrix of columns, or several columns."""

SPECTRAL_TABLE: tuple[tuple[tuple[str, ...], Callable[[Frames], Columns]], ...] = (
    (("level_db",), lambda f: f.level_db),
    (("loudness",), lambda f: spectral.loudness(f.mel_power)),
    (("zcr",), lambda f: spectral.zero_crossing_rate(f.samples)),
    (("centroid_hz", "bandwidth_hz"), lambda f: spectral.moments(f.magnitude, f.config)),
    (("rolloff_hz",), lambda f: spectral.rolloff(f.magnitude, f.config)),
    (("flux",), lambda f: spectral.flux(f.magnitude)),
    (("alpha_ratio_db",), lambda f: spectral.alpha_ratio_db(f.spectrum, f.config)),
    (("hammarberg_db",), lambda f: spectral.hammarberg_db(f.spectrum, f.config)),
    (("slope_low",), lambda f: spectral.level_slope(f.spectrum, 0, 500, f.config)),
    (("slope_mid",), lambda f: spectral.level_slope(f.spectrum, 500, 1500, f.config)),
    (("periodicity",), lambda f: f.pitch.periodicity),
)
"""Descriptors of every frame: the names of the columns, and the function that returns them."""

VOICE_TABLE: tuple[tuple[tuple[str, ...], Callable[[VoicedFrames], Columns]], ...] = (
    (("f0_hz",), lambda v: v.f0_hz),
    (("f0_semitone",), lambda v: 12 * np.log2(v.f0_hz / SEMITONE_BASE_HZ)),
    (("hnr_db",), lambda v: prosody.harmonics_to_noise_db(v.periodicity)),
    (("jitter",), lambda v: v.period_step() * v.f0_hz),
    (("shimmer_db",), lambda v: v.level_step()),
    (("h1_h2_db",), lambda v: v.first_harmonic_db - v.level_db(2 * v.f0_hz)),
    (("h1_a3_db",), lambda v: v.first_harmonic_db - v.formant_db[:, 2]),
    (("f1_hz", "f2_hz", "f3_hz"), lambda v: v.formant_hz),
    (("f1_bandwidth_hz", "f2_bandwidth_hz", "f3_bandwidth_hz"), lambda v: v.formant_bandwidth_hz),
    (("f1_level_db", "f2_level_db", "f3_level_db"), lambda v: v.formant_db - v.first_harmonic_db[:, None]),
)
"""Descriptors of the voice, NaN in unvoiced frames: the names of the columns, and the function that returns them."""

SPECTRAL = tuple(name for names, _ in SPECTRAL_TABLE for name in names)
VOICE = tuple(name for names, _ in VOICE_TABLE for name in names)


@lru_cache(maxsize=8)
def lld_names(config: FeatureConfig) -> tuple[str, ...]:
    """Return the names of the descriptors, in the order of the columns of Features.lld."""
    return (*SPECTRAL, *(f"mfcc_{k:02d}" for k in range(1, config.n_mfcc + 1)), *VOICE)


def compute_descriptors(frames: Frames) -> FloatArray:
    """Compute every descriptor of the frames.

    Args:
        frames: the active frames of a window, at least one.

    Returns:
        float32, shape (frames, len(lld_names(frames.config))); those of the voice are NaN in unvoiced frames.
    """
    columns = [
        *_flatten(compute(frames) for _, compute in SPECTRAL_TABLE),
        spectral.mfcc(frames.log_mel, frames.config),
        _compute_voice(frames),
    ]
    return np.column_stack(columns).astype(np.float32, copy=False)


def _flatten(computed: Iterable[Columns]) -> list[FloatArray]:
    return [column for columns in computed for column in (columns if isinstance(columns, tuple) else (columns,))]


def _compute_voice(frames: Frames) -> FloatArray:
    voiced: NDArray[np.bool_] = frames.pitch.voiced
    columns = np.full((len(voiced), len(VOICE)), np.nan, dtype=np.float32)
    if voiced.any():
        shared = VoicedFrames(frames)
        columns[voiced] = np.column_stack(_flatten(compute(shared) for _, compute in VOICE_TABLE))
    return columns
