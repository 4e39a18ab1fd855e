"""Voice descriptors per frame: pitch, periodicity, formants and harmonic levels.

Pitch and formants are computed from autocorrelations. An autocorrelation is the inverse Fourier transform of the power
spectrum, which exists already: one product with a small cosine matrix gives the lags that are needed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serctl.features.spectral import FLOOR, FloatArray, hann, to_db

if TYPE_CHECKING:
    from serctl.features.config import FeatureConfig

RealArray = NDArray[np.floating]

VOICING_THRESHOLD = 0.5
OCTAVE_COST = 0.1
MEDIAN_COST = 0.15
PITCH_BAND_HZ = 4_000
VOICE_LOW_HZ = 50

FORMANT_BAND_HZ = 5_000
LPC_ORDER = 10
PRE_EMPHASIS = 0.97
N_FORMANTS = 3
MIN_FORMANT_HZ = 150
_GRID = 256


class Pitch(NamedTuple):
    """Pitch of each frame.

    Attributes:
        f0_hz: float32, shape (frames,), Hz; NaN when unvoiced.
        periodicity: float32, shape (frames,), 0 to 1.
        voiced: bool, shape (frames,).
    """

    f0_hz: FloatArray
    periodicity: FloatArray
    voiced: NDArray[np.bool_]


def track_pitch(spectrum: FloatArray, audible: NDArray[np.bool_], config: FeatureConfig) -> Pitch:
    """Track the fundamental frequency by the normalised autocorrelation, in two passes.

    The first pass takes the best period of each frame. The second pass lowers the strength of each candidate by its
    distance from the median pitch of the first pass, which removes octave jumps.

    Args:
        spectrum: power spectrum, float32, shape (frames, bins).
        audible: bool, shape (frames,), False where a frame is too quiet to be voiced.
        config: analysis parameters.

    Returns:
        The pitch of each frame.

    Source: Boersma 1993, Proc. Institute of Phonetic Sciences 17; two passes as in De Looze & Hirst 2008.
    """
    correlation = _normalised_autocorrelation(spectrum, config)
    lags = _pitch_lags(config)
    inner = correlation[:, 1:-1]
    peaks = (inner > correlation[:, :-2]) & (inner >= correlation[:, 2:])
    octaves = np.log2(lags[1:-1] / lags[1]).astype(np.float32)
    strength = np.where(peaks, inner - np.float32(OCTAVE_COST) * octaves, np.float32(-1))
    best = np.argmax(strength, axis=1)
    rows = np.arange(len(best))
    clear = audible & (inner[rows, best] > VOICING_THRESHOLD)
    if clear.any():
        away = np.abs(octaves - np.median(octaves[best[clear]]))
        best = np.argmax(strength - np.float32(MEDIAN_COST) * away, axis=1)
    periodicity = np.where(strength[rows, best] > -1, np.clip(inner[rows, best], 0, 1), np.float32(0))
    voiced = audible & (periodicity > VOICING_THRESHOLD)
    offset = _vertex(correlation[rows, best], inner[rows, best], correlation[rows, best + 2])
    f0_hz = 2 * PITCH_BAND_HZ / (lags[1:-1][best] + offset)
    return Pitch(np.where(voiced, f0_hz, np.nan).astype(np.float32), periodicity.astype(np.float32), voiced)


def harmonics_to_noise_db(periodicity: FloatArray) -> FloatArray:
    """Compute the harmonics-to-noise ratio.

    Args:
        periodicity: float32, shape (frames,), 0 to 1.

    Returns:
        float32, shape (frames,), dB, limited to -10 to 30.

    Source: Boersma 1993, Proc. Institute of Phonetic Sciences 17.
    """
    share = np.clip(periodicity, np.float32(0.0909), np.float32(0.999))
    return np.float32(10) * np.log10(share / (1 - share))


def formants(spectrum: FloatArray, config: FeatureConfig) -> tuple[FloatArray, FloatArray]:
    """Estimate the first three formants by selective linear prediction of the band up to 5 kHz.

    Near a resonance the power of the inverse filter is a parabola in frequency, c * ((f - F)^2 + (B / 2)^2), so its
    local minima give frequency F and bandwidth B without a search for roots.

    Args:
        spectrum: power spectrum, float32, shape (frames, bins).
        config: analysis parameters.

    Returns:
        Frequencies and bandwidths in Hz, each float32, shape (frames, 3); NaN if not found.

    Source: Makhoul 1975, doi:10.1109/TASSP.1975.1162685.
    """
    coefficients = _levinson(spectrum[:, : _band_bins(FORMANT_BAND_HZ, config)] @ _formant_cosines(config))
    inverse = np.square(coefficients @ _grid_cosines()) + np.square(coefficients @ _grid_sines())
    before, middle, after = inverse[:, :-2], inverse[:, 1:-1], inverse[:, 2:]
    step_hz = FORMANT_BAND_HZ / (_GRID - 1)
    dips = (middle < before) & (middle <= after)
    dips[:, : int(MIN_FORMANT_HZ / step_hz)] = False
    order = np.cumsum(dips, axis=1)
    rows = np.arange(len(inverse))[:, None]
    found = order[:, -1:] >= np.arange(1, N_FORMANTS + 1)
    index = np.stack([np.argmax(order >= rank, axis=1) for rank in range(1, N_FORMANTS + 1)], axis=1)
    left, centre, right = before[rows, index], middle[rows, index], after[rows, index]
    offset = _vertex(left, centre, right)
    curvature = np.maximum((left - 2 * centre + right) / 2, 1e-12)
    lowest = np.maximum(centre - curvature * np.square(offset), 1e-12)
    frequency = (index + 1 + offset) * step_hz
    bandwidth = np.minimum(2 * step_hz * np.sqrt(lowest / curvature), 1_000)
    return _where_found(found, frequency), _where_found(found, bandwidth)


def level_at(spectrum: FloatArray, hz: FloatArray, config: FeatureConfig) -> FloatArray:
    """Compute the level of the strongest of the three bins around a frequency.

    Args:
        spectrum: power spectrum, float32, shape (frames, bins).
        hz: float32, shape (frames,) or (frames, k).
        config: analysis parameters.

    Returns:
        float32, the shape of hz, dB; NaN where hz is NaN.
    """
    bins = np.nan_to_num(hz) * (config.n_fft / config.sample_rate)
    centre = np.clip(np.rint(bins).astype(np.intp), 1, spectrum.shape[1] - 2)
    rows = np.arange(len(spectrum)).reshape(-1, *([1] * (hz.ndim - 1)))
    strongest = np.maximum.reduce([spectrum[rows, centre + step] for step in (-1, 0, 1)])
    return np.where(np.isnan(hz), np.float32(np.nan), to_db(strongest))


def _where_found(found: NDArray[np.bool_], values: NDArray[np.floating]) -> FloatArray:
    return np.where(found, values, np.nan).astype(np.float32)


def _vertex(left: RealArray, centre: RealArray, right: RealArray) -> RealArray:
    """Find the vertex of the parabola through three points, in steps from the centre point; at most half a step."""
    curvature = left - 2 * centre + right
    safe = np.where(np.abs(curvature) < FLOOR, 1, curvature)
    return np.clip(np.where(np.abs(curvature) < FLOOR, 0, 0.5 * (left - right) / safe), -0.5, 0.5)


def _normalised_autocorrelation(spectrum: FloatArray, config: FeatureConfig) -> FloatArray:
    low, high = int(np.ceil(VOICE_LOW_HZ * config.n_fft / config.sample_rate)), _band_bins(PITCH_BAND_HZ, config)
    products = spectrum[:, low:high] @ _pitch_cosines(config)[low:]
    return products[:, 1:] / np.maximum(products[:, :1], np.float32(FLOOR)) / _window_autocorrelation(config)


def _band_bins(high_hz: float, config: FeatureConfig) -> int:
    return 1 + round(high_hz * config.n_fft / config.sample_rate)


@lru_cache(maxsize=8)
def _pitch_lags(config: FeatureConfig) -> NDArray[np.float64]:
    """Return the lags to search, in samples at twice the pitch band; one more at each end for the interpolation."""
    rate = 2 * PITCH_BAND_HZ
    return np.arange(int(rate / config.f0_high_hz) - 1, int(np.ceil(rate / config.f0_low_hz)) + 2, dtype=np.float64)


@lru_cache(maxsize=8)
def _pitch_cosines(config: FeatureConfig) -> FloatArray:
    lags = np.concatenate([[0], _pitch_lags(config)])
    return _cosines(_band_bins(PITCH_BAND_HZ, config), lags)


@lru_cache(maxsize=8)
def _formant_cosines(config: FeatureConfig) -> FloatArray:
    n_bins = _band_bins(FORMANT_BAND_HZ, config)
    angle = np.pi * np.arange(n_bins) / (n_bins - 1)
    emphasis = 1 - 2 * PRE_EMPHASIS * np.cos(angle) + PRE_EMPHASIS**2
    return (emphasis[:, None] * _cosines(n_bins, np.arange(LPC_ORDER + 1))).astype(np.float32)


def _cosines(n_bins: int, lags: NDArray[np.floating] | NDArray[np.integer]) -> FloatArray:
    """Return weights that turn a one-sided power spectrum into autocorrelations at lags in its own sample rate."""
    weights = np.full(n_bins, 2.0)
    weights[[0, -1]] = 1
    angles = np.pi * np.arange(n_bins)[:, None] * lags[None, :] / (n_bins - 1)
    return (weights[:, None] * np.cos(angles)).astype(np.float32)


@lru_cache(maxsize=8)
def _window_autocorrelation(config: FeatureConfig) -> FloatArray:
    window = hann(config.frame_length).astype(np.float64)
    correlation = np.correlate(window, window, mode="full")[config.frame_length - 1 :]
    lags = _pitch_lags(config) * config.sample_rate / (2 * PITCH_BAND_HZ)
    return (np.interp(lags, np.arange(config.frame_length), correlation) / correlation[0]).astype(np.float32)


def _levinson(autocorrelation: FloatArray) -> NDArray[np.float64]:
    """Compute the prediction-error filters [1, a1, ..., ap] of many frames at once, shape (frames, p + 1).

    Source: Durbin 1960, doi:10.2307/1401322.
    """
    r = autocorrelation.astype(np.float64)
    # A noise floor of -40 dB keeps the recursion stable on frames that are almost sinusoidal.
    error = r[:, 0] * 1.0001 + FLOOR
    filters = np.zeros_like(r)
    filters[:, 0] = 1
    for order in range(1, r.shape[1]):
        reflection = -np.einsum("tk,tk->t", filters[:, :order], r[:, order:0:-1]) / error
        filters[:, 1 : order + 1] += reflection[:, None] * filters[:, order - 1 :: -1][:, :order]
        error = error * (1 - np.square(reflection))
    return filters


@lru_cache(maxsize=1)
def _grid_angles() -> NDArray[np.float64]:
    return np.arange(LPC_ORDER + 1)[:, None] * np.linspace(0, np.pi, _GRID)[None, :]


@lru_cache(maxsize=1)
def _grid_cosines() -> NDArray[np.float64]:
    return np.cos(_grid_angles())


@lru_cache(maxsize=1)
def _grid_sines() -> NDArray[np.float64]:
    return np.sin(_grid_angles())
