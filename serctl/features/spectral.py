"""Frame-level spectral descriptors, all from one shared power spectrum.

Whatever is a weighted sum over frequency is one matrix product with constant weights, computed once per config.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft
from numpy.typing import NDArray

if TYPE_CHECKING:
    from serctl.features.config import FeatureConfig

FloatArray = NDArray[np.float32]

FLOOR = 1e-10
"""Power below which a level counts as silence: -100 dB re full scale."""

ROLLOFF_SHARE = 0.85
_BLOCK = 16


def frame_signal(samples: FloatArray, config: FeatureConfig) -> FloatArray:
    """Overlapping frames, centred on multiples of the hop, zeros beyond the edges.

    samples: float32, shape (n,), mono at config.sample_rate.
    Returns a float32 view, shape (1 + n // hop_length, frame_length).
    """
    half = config.frame_length // 2
    padded = np.pad(samples, (half, config.frame_length - half))
    frames = np.lib.stride_tricks.sliding_window_view(padded, config.frame_length)
    return frames[:: config.hop_length][: 1 + len(samples) // config.hop_length]


def frame_power(samples: FloatArray, config: FeatureConfig) -> FloatArray:
    """Mean square of every frame, float32, shape (frames,)."""
    half = config.frame_length // 2
    squares = np.zeros(len(samples) + config.frame_length + 1, dtype=np.float64)
    np.cumsum(np.square(samples, dtype=np.float64), out=squares[half + 1 : half + 1 + len(samples)])
    squares[half + 1 + len(samples) :] = squares[half + len(samples)]
    starts = np.arange(1 + len(samples) // config.hop_length) * config.hop_length
    power = (squares[starts + config.frame_length] - squares[starts]) / config.frame_length
    return np.maximum(power, 0).astype(np.float32)


def active_frames(power: FloatArray, config: FeatureConfig) -> slice:
    """From the first to the last frame within config.trim_db of the loudest; all frames of a silent window.

    power: float32, shape (frames,), as frame_power gives it.
    """
    threshold = float(power.max()) * 10 ** (-config.trim_db / 10)
    loud = np.flatnonzero(power >= max(threshold, FLOOR))
    return slice(int(loud[0]), int(loud[-1]) + 1) if loud.size else slice(0, len(power))


def power_spectrum(frames: FloatArray, config: FeatureConfig) -> FloatArray:
    """Power spectrum of Hann-windowed frames.

    frames: float32, shape (frames, frame_length). Returns float32, shape (frames, n_fft // 2 + 1).
    """
    spectrum = scipy.fft.rfft(frames * hann(config.frame_length), n=config.n_fft, axis=-1)
    return np.square(spectrum.real) + np.square(spectrum.imag)


def to_db(power: FloatArray) -> FloatArray:
    """Decibels re 1.0, floored at -100 dB; float32, the shape of power."""
    return np.float32(10) * np.log10(np.maximum(power, np.float32(FLOOR)))


def log_mel(spectrum: FloatArray, config: FeatureConfig) -> FloatArray:
    """Log-mel spectrogram in dB.

    spectrum: float32, shape (frames, bins). Returns float32, shape (frames, config.n_mels).
    Source: Davis & Mermelstein 1980, doi:10.1109/TASSP.1980.1163420; Slaney's mel scale and area normalisation.
    """
    return to_db(spectrum @ mel_filterbank(config))


def mfcc(log_mel_db: FloatArray, config: FeatureConfig) -> FloatArray:
    """Mel-frequency cepstral coefficients 1 to n_mfcc: the orthonormal DCT-II of the log-mel without 0, the level.

    log_mel_db: float32, shape (frames, n_mels). Returns float32, shape (frames, n_mfcc).
    Source: Davis & Mermelstein 1980, doi:10.1109/TASSP.1980.1163420.
    """
    return log_mel_db @ _dct_matrix(config)


def delta(values: FloatArray) -> FloatArray:
    """Slope per frame over nine frames, the edges repeated; float32, shape (frames, descriptors).

    Source: Furui 1986, doi:10.1109/TASSP.1986.1164788.
    """
    reach, n = 4, len(values)
    padded = np.concatenate([values[:1].repeat(reach, axis=0), values, values[-1:].repeat(reach, axis=0)])
    total = np.zeros_like(values)
    for k in range(1, reach + 1):
        total += np.float32(k) * (padded[reach + k : reach + k + n] - padded[reach - k : reach - k + n])
    return total / np.float32(60)


def zero_crossing_rate(frames: FloatArray) -> FloatArray:
    """Share of neighbouring samples of different sign; frames: shape (frames, length); returns shape (frames,)."""
    negative = frames < 0
    return np.mean(negative[:, 1:] != negative[:, :-1], axis=1, dtype=np.float32)


def loudness(mel_power: FloatArray) -> FloatArray:
    """Perceived loudness: the auditory bands compressed by the power 0.33 and summed; shape (frames,).

    mel_power: float32, shape (frames, n_mels).
    Source: Hermansky 1990, doi:10.1121/1.399423; in eGeMAPS: Eyben et al. 2016, doi:10.1109/TAFFC.2015.2457417.
    """
    return np.power(np.maximum(mel_power, np.float32(FLOOR)), np.float32(0.33)).sum(axis=1)


def flux(magnitude: FloatArray) -> FloatArray:
    """Euclidean distance of consecutive magnitude spectra of unit length; 0 for the first frame; shape (frames,).

    magnitude: float32, shape (frames, bins).
    """
    norms = np.sqrt(np.einsum("tb,tb->t", magnitude, magnitude))
    products = np.einsum("tb,tb->t", magnitude[1:], magnitude[:-1])
    similarity = products / np.maximum(norms[1:] * norms[:-1], np.float32(FLOOR))
    silent = (norms[1:] < FLOOR) & (norms[:-1] < FLOOR)
    distance = np.sqrt(np.maximum(2 - 2 * similarity, 0))
    return np.concatenate([[np.float32(0)], np.where(silent, np.float32(0), distance)]).astype(np.float32)


def moments(magnitude: FloatArray, config: FeatureConfig) -> tuple[FloatArray, FloatArray]:
    """Spectral centroid and bandwidth (the standard deviation around it) in Hz, each of shape (frames,).

    magnitude: float32, shape (frames, bins).
    """
    hz = frequencies(config)
    sums = magnitude @ np.stack([np.ones_like(hz), hz / 1000, np.square(hz / 1000)], axis=1)
    mass = np.maximum(sums[:, 0], np.float32(FLOOR))
    centre = sums[:, 1] / mass
    spread = np.sqrt(np.maximum(sums[:, 2] / mass - np.square(centre), 0))
    return 1000 * centre, 1000 * spread


def rolloff(magnitude: FloatArray, config: FeatureConfig) -> FloatArray:
    """Frequency in Hz below which lie 85 % of the magnitudes; shape (frames,).

    magnitude: float32, shape (frames, bins). Found first among blocks of bins, then within one block, for a running sum
    over all bins would take longer than the Fourier transform.
    """
    bins = magnitude.shape[1]
    blocks = np.cumsum(np.add.reduceat(magnitude, np.arange(0, bins, _BLOCK), axis=1), axis=1)
    threshold = np.float32(ROLLOFF_SHARE) * blocks[:, -1:]
    block = np.argmax(blocks >= threshold, axis=1)
    rows = np.arange(len(magnitude))
    below = np.where(block > 0, blocks[rows, block - 1], np.float32(0))
    inside = np.minimum(block[:, None] * _BLOCK + np.arange(_BLOCK), bins - 1)
    reached = below[:, None] + np.cumsum(magnitude[rows[:, None], inside], axis=1) >= threshold
    # Rounding may leave the threshold just above the block's last sum: then it is its last bin.
    offset = np.where(reached.any(axis=1), np.argmax(reached, axis=1), _BLOCK - 1)
    return frequencies(config)[inside[rows, offset]]


def balance(spectrum: FloatArray, config: FeatureConfig) -> dict[str, FloatArray]:
    """Measures of spectral balance as in eGeMAPS, each of shape (frames,).

    alpha_ratio_db: power of 50-1000 Hz over 1-5 kHz; hammarberg_db: strongest peak below 2 kHz over that in 2-5 kHz;
    slope_low, slope_mid: linear slopes of the level over 0-500 and 500-1500 Hz, in dB per kHz.
    spectrum: float32, shape (frames, bins).
    Source: Eyben et al. 2016, doi:10.1109/TAFFC.2015.2457417.
    """
    low, high = _bins(50, 1000, config), _bins(1000, 5000, config)
    peak_low = spectrum[:, _bins(0, 2000, config)].max(axis=1)
    peak_high = spectrum[:, _bins(2000, 5000, config)].max(axis=1)
    return {
        "alpha_ratio_db": to_db(spectrum[:, low].sum(axis=1)) - to_db(spectrum[:, high].sum(axis=1)),
        "hammarberg_db": to_db(peak_low) - to_db(peak_high),
        "slope_low": _level_slope(spectrum, _bins(0, 500, config), config),
        "slope_mid": _level_slope(spectrum, _bins(500, 1500, config), config),
    }


def _level_slope(spectrum: FloatArray, bins: slice, config: FeatureConfig) -> FloatArray:
    khz = frequencies(config)[bins] / 1000
    centred = khz - khz.mean()
    return to_db(spectrum[:, bins]) @ (centred / np.sum(np.square(centred)))


def _bins(low_hz: float, high_hz: float, config: FeatureConfig) -> slice:
    per_bin = config.sample_rate / config.n_fft
    return slice(int(np.ceil(low_hz / per_bin)), int(np.ceil(high_hz / per_bin)))


@lru_cache(maxsize=8)
def frequencies(config: FeatureConfig) -> FloatArray:
    """Centre frequency of every bin of the spectrum in Hz, float32, shape (bins,)."""
    return (np.arange(config.n_fft // 2 + 1) * (config.sample_rate / config.n_fft)).astype(np.float32)


@lru_cache(maxsize=8)
def hann(length: int) -> FloatArray:
    """Periodic Hann window, float32, shape (length,)."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)


@lru_cache(maxsize=8)
def mel_filterbank(config: FeatureConfig) -> FloatArray:
    """Triangular filters on Slaney's mel scale, each of unit area; float32, shape (bins, n_mels).

    Source: Slaney 1998, Auditory Toolbox, Interval Research Technical Report 1998-010.
    """
    mels = np.linspace(_hz_to_mel(config.mel_low_hz), _hz_to_mel(config.mel_high_hz), config.n_mels + 2)
    edges = _mel_to_hz(mels)
    rising = (frequencies(config)[:, None] - edges[None, :-2]) / np.diff(edges)[None, :-1]
    falling = (edges[None, 2:] - frequencies(config)[:, None]) / np.diff(edges)[None, 1:]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * (2 / (edges[2:] - edges[:-2]))).astype(np.float32)


def _hz_to_mel(hz: float) -> float:
    return hz / (200 / 3) if hz < 1000 else 15 + float(np.log(hz / 1000)) / (np.log(6.4) / 27)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel * (200 / 3), 1000 * np.exp((mel - 15) * (np.log(6.4) / 27)))


@lru_cache(maxsize=8)
def _dct_matrix(config: FeatureConfig) -> FloatArray:
    basis = scipy.fft.dct(np.eye(config.n_mels), type=2, norm="ortho", axis=1)
    return np.ascontiguousarray(basis[:, 1 : config.n_mfcc + 1], dtype=np.float32)
