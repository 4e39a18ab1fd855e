"""Warp the spectral envelope of speech: formants move, the pitch stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from serctl.transforms.stft import OVERLAP, istft, stft

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW_S = 0.032
_QUEFRENCY_S = 0.002
"""Cepstrum below this is the vocal tract, above it the voice: 2 ms lets through pitches up to 500 Hz."""

_FLOOR = 1e-6


def warp_envelope(samples: NDArray[np.floating], factor: float, sample_rate: int) -> NDArray[np.floating]:
    """Multiply the formants' frequencies by factor and leave the pitch; shape (n,) in and out."""
    length = round(WINDOW_S * sample_rate / OVERLAP) * OVERLAP
    spectrum = stft(samples, length)
    log_envelope = _log_envelope(np.abs(spectrum), round(_QUEFRENCY_S * sample_rate))
    bins = spectrum.shape[1]
    source = np.minimum(np.arange(bins) / factor, bins - 1)
    below = np.minimum(source.astype(int), bins - 2)
    share = source - below
    warped = (1 - share) * log_envelope[:, below] + share * log_envelope[:, below + 1]
    return istft(spectrum * np.exp(np.clip(warped - log_envelope, -6, 6)), length, len(samples))


def _log_envelope(magnitude: NDArray[np.floating], lifter: int) -> NDArray[np.floating]:
    """Cepstrally smoothed logarithm of the magnitude; shape (frames, bins) in and out."""
    floor = _FLOOR * max(float(magnitude.max()), _FLOOR)
    cepstrum = np.fft.irfft(np.log(np.maximum(magnitude, floor)))
    cepstrum[:, lifter : cepstrum.shape[1] - lifter + 1] = 0
    return np.fft.rfft(cepstrum).real
